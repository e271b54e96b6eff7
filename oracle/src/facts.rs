// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the judge knows of a run: who runs where, what is in flight, what is still owed.

use crate::reference::Reference;
use crate::summary::Summary;
use shootdown_machine::arm64::{Desc, Scope, Share, Tlbi, Ttl};
use shootdown_machine::{
    Config, Context, Done, Dsb, Entry, Event, Life, Op, PAGE, Page, Site, Space, State, Use, Va,
    level_size,
};

/// A descriptor that lost something, and what its CPU has done about it since.
#[derive(Clone, Copy, Debug)]
pub struct Debt {
    /// The space.
    pub life: Life,
    /// First address it translated.
    pub va: Va,
    /// Its level.
    pub level: u8,
    /// It was a leaf, so that a level hint can be right or wrong.
    pub leaf: bool,
    /// Where it was changed.
    pub site: Site,
    /// A DSB has followed the store.
    pub dsb: bool,
    /// The best of the TLBIs that cover it.
    pub best: Option<Covering>,
}

/// A TLBI that covers a debt, and what is wrong with it.
#[derive(Clone, Copy, Debug)]
pub struct Covering {
    /// A DSB came between the store and it.
    pub dsb_before: bool,
    /// A DSB has completed it.
    pub dsb_after: bool,
    /// It has no level hint, or the right one.
    pub level: bool,
    /// It reaches every CPU.
    pub broadcast: bool,
    /// Which it was.
    pub op: Tlbi,
    /// Where it was issued.
    pub site: Site,
}

impl Covering {
    fn merit(&self) -> u32 {
        self.dsb_before as u32 * 8 + self.level as u32 * 4 + self.broadcast as u32 * 2
    }
}

/// What one CPU is at.
#[derive(Clone, Debug, Default)]
pub struct Running {
    /// The space that its user (or guest) runs in.
    pub life: Option<Life>,
    /// It is inside the switch code.
    pub switching: bool,
    /// The operation in flight: what, its fresh page, the step it began at.
    pub op: Option<(Op, u16, u32)>,
    /// Another operation on a page that a touch in flight uses has been seen.
    pub disturbed: bool,
    /// What it has yet to make good before its operation returns.
    pub debts: Vec<Debt>,
}

/// Everything.
#[derive(Debug, Default)]
pub struct Facts {
    /// By CPU.
    pub cpus: Vec<Running>,
    /// What each page may be.
    pub reference: Reference,
    /// What each operation came to, to be compared between variants.
    pub summary: Summary,
    /// The variant promises one tag for a space on all CPUs.
    pub global_tags: bool,
    /// A page whose mapping is not what its operations make of it.
    pub wrong: Option<(Va, Option<Page>)>,
}

impl Facts {
    /// Begins a run.
    pub fn reset(&mut self, config: &Config, global_tags: bool) {
        self.cpus.truncate(config.cpus as usize);
        for cpu in &mut self.cpus {
            let mut debts = core::mem::take(&mut cpu.debts);
            debts.clear();
            *cpu = Running {
                debts,
                ..Running::default()
            };
        }
        self.cpus
            .resize_with(config.cpus as usize, Running::default);
        self.reference.reset(config);
        self.summary.reset();
        self.global_tags = global_tags;
        self.wrong = None;
    }

    /// Takes an event in, before the rules see it.
    pub(crate) fn before(&mut self, state: &State, event: &Event) {
        match *event {
            Event::Begin { cpu, op, page, .. } => self.begin(state, cpu, op, page),
            Event::End {
                cpu,
                index,
                op,
                page,
                done,
            } => {
                self.end(state, cpu, index, op, page, done);
            }
            Event::Settled {
                cpu,
                space,
                switching,
            } => {
                let running = &mut self.cpus[cpu as usize];
                running.switching = switching;
                if !switching {
                    running.life = space;
                }
            }
            Event::Root { space, .. } => self.reference.clear(space),
            Event::Pte {
                cpu,
                pa,
                old,
                new,
                site,
            } => self.changed(state, cpu, pa, old, new, site),
            Event::Tlbi { cpu, op, site, .. } => self.covered(state, cpu, op, site),
            Event::Dsb { cpu, kind } => self.barrier(cpu, kind),
            _ => {}
        }
    }

    /// Forgets what was kept for the rules only.
    pub(crate) fn after(&mut self, event: &Event) {
        if let Event::End { cpu, .. } = event {
            self.cpus[*cpu as usize].debts.clear();
            self.wrong = None;
        }
    }

    fn begin(&mut self, state: &State, cpu: u8, op: Op, page: u16) {
        let running = &mut self.cpus[cpu as usize];
        running.op = Some((op, page, state.step));
        running.disturbed = false;
        running.debts.clear();
        let Some(space) = op.space() else {
            // A touch: disturbed if something is in flight where it goes.
            if let Op::Touch(va, _) = op
                && let Some(life) = running.life
                && let Some(cell) = self.reference.cell(life.space, va)
            {
                running.disturbed = !cell.settled();
            }
            return;
        };
        let mut in_flight = [(op, page); 4];
        let mut count = 0;
        for (op, page, _) in self.cpus.iter().filter_map(|c| c.op) {
            if op.space() == Some(space) {
                in_flight[count] = (op, page);
                count += 1;
            }
        }
        self.reference.begin(space, op, &in_flight[..count]);
        self.summary.begin(space, op);
        let pages = crate::reference::pages_of(op);
        for other in &mut self.cpus {
            if let Some((Op::Touch(va, _), ..)) = other.op
                && other.life.is_some_and(|l| l.space == space)
                && pages.contains(&((va / PAGE) as usize))
            {
                other.disturbed = true;
            }
        }
    }

    fn end(&mut self, state: &State, cpu: u8, index: u8, op: Op, page: u16, done: Done) {
        let running = &mut self.cpus[cpu as usize];
        let begun = running.op.take().map_or(0, |(_, _, begun)| begun);
        let Some(space) = op.space() else { return };
        self.wrong = self.reference.end(state, space, op, page, done, begun);
        self.summary.end(space, op, cpu, index, done);
    }

    /// A store that takes something away from a space's live tables is owed a TLBI.
    fn changed(&mut self, state: &State, cpu: u8, pa: u64, old: Desc, new: Desc, site: Site) {
        if !old.valid() {
            return;
        }
        let Use::Table(Some(life)) = state.mem.frame(pa).usage else {
            return;
        };
        if life != state.life(life.space) {
            return;
        }
        let Some((va, level)) = state.locate(life.space, pa) else {
            return;
        };
        let stage = state.stage();
        let leaf = old.is_leaf(level);
        let same = new.valid() && old.addr() == new.addr() && leaf == new.is_leaf(level);
        let restricted = leaf && old.writable(stage) && !new.writable(stage);
        if !same || restricted {
            let debt = Debt {
                life,
                va,
                level,
                leaf,
                site,
                dsb: false,
                best: None,
            };
            self.cpus[cpu as usize].debts.push(debt);
        }
    }

    fn covered(&mut self, state: &State, cpu: u8, op: Tlbi, site: Site) {
        let row = op.kind.row();
        let _ = state;
        for debt in &mut self.cpus[cpu as usize].debts {
            let by_addr = op.by_addr();
            let (start, len) = op.span();
            let inside = start < debt.va + level_size(debt.level) && debt.va < start + len;
            if (by_addr && !inside) || (row.last && !debt.leaf) {
                continue;
            }
            let level = match op.ttl() {
                Ttl::Level(hint) if by_addr && debt.leaf => hint == debt.level,
                _ => true,
            };
            let new = Covering {
                dsb_before: debt.dsb,
                dsb_after: false,
                level,
                broadcast: row.share == Share::Inner,
                op,
                site,
            };
            // One by IPA leaves combined entries: what comes after it decides.
            let better = debt.best.is_none_or(|b| new.merit() >= b.merit());
            if better
                || debt
                    .best
                    .is_some_and(|b| b.op.kind.row().scope == Scope::Ipa)
            {
                debt.best = Some(new);
            }
        }
    }

    fn barrier(&mut self, cpu: u8, kind: Dsb) {
        for debt in &mut self.cpus[cpu as usize].debts {
            debt.dsb = true;
            if let Some(best) = &mut debt.best {
                best.dsb_after |= match kind {
                    Dsb::Ish => true,
                    Dsb::Nsh => !best.broadcast,
                    Dsb::Ishst | Dsb::Nshst => false,
                };
            }
        }
    }

    /// The CPUs that run a space outside of the switch code, with the context of each whose
    /// translations are being used.
    pub fn settled<'a>(
        &'a self,
        state: &'a State,
    ) -> impl Iterator<Item = (u8, Life, Context)> + 'a {
        (0..self.cpus.len() as u8).filter_map(|cpu| {
            let running = &self.cpus[cpu as usize];
            let life = running.life.filter(|_| !running.switching)?;
            Some((cpu, life, state.context(cpu, false)?))
        })
    }

    /// What is wrong with a leaf entry that a space's CPU may use: a page that it may not
    /// reach at that address, or a permission that it has not.
    pub fn stale(&self, state: &State, life: Life, entry: &Entry) -> Option<(Va, &'static str)> {
        let mut va = entry.va;
        while va < entry.va + entry.size {
            let cell = self.reference.cell(life.space, va)?;
            match state.mem.frame(entry.pa + (va - entry.va)).usage {
                Use::Page(owner, page) if owner == life => {
                    if !cell.allows(Some(page)) {
                        return Some((va, "a page that is no longer mapped there"));
                    }
                    if entry.writable && !cell.allows_write(page) {
                        return Some((va, "a permission that has been taken away"));
                    }
                }
                _ => return Some((va, "a frame that has been freed")),
            }
            va += PAGE;
        }
        None
    }

    /// The space's letter for a report.
    pub fn name(life: Option<Life>) -> String {
        life.map_or("nobody".into(), |l| name(l.space, l.nth))
    }
}

fn name(space: Space, nth: u8) -> String {
    if nth == 0 {
        space.to_string()
    } else {
        format!("{space}'{nth}")
    }
}
