// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the judge knows of a run: who runs where, what is in flight, what is still owed.

use crate::reference::{Reference, pages_of};
use crate::rules::may_map;
use crate::summary::Summary;
use shootdown_machine::arm64::{Desc, Scope, Share, Stage, Tlbi, Ttl};
use shootdown_machine::{
    Arch, Config, Context, Decoded, Done, Dsb, Entry, Event, Leaf, Life, Op, PAGE, Page, Site,
    Space, State, Use, Va, level_size,
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
    /// Where it lies, and what it was.
    pa: u64,
    was: Decoded,
    /// Where it was changed.
    pub site: Site,
    /// A DSB has followed the store.
    pub dsb: bool,
    /// A DSB has followed the last TLBI by IPA that covers it. Before that, a walker may make
    /// a combined entry out of the stage-2 entry that is still there.
    dsb_stage2: bool,
    /// The best of the TLBIs that cover it: for entries of its own stage and, where that is
    /// stage 2, for combined ones.
    pub best: [Option<Covering>; 2],
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
    /// The last leaf that its operation has made invalid, unless somebody has made it valid since:
    /// where, and what it was.
    pub broke: Option<(u64, Desc)>,
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
    /// The bits of a tag in which, the variant promises, a space has the same on all CPUs.
    pub same_tag: u16,
    /// A page whose mapping is not what its operations make of it.
    pub wrong: Option<(Va, Option<Page>)>,
}

impl Facts {
    /// Begins a run.
    pub fn reset(&mut self, config: &Config, same_tag: u16) {
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
        self.same_tag = same_tag;
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
            Event::Faulting { space, va, .. } => self.reference.begin_fault(space, va),
            Event::Faulted { space, va, .. } => {
                self.reference.end_fault(state, space, va);
                self.summary.faulted(space, va);
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
        match event {
            Event::End { cpu, .. } => {
                self.cpus[*cpu as usize].debts.clear();
                self.wrong = None;
            }
            // It has been made since, by whomever, as it was or not: what comes after is not that
            // break's other half.
            Event::Pte { pa, new, .. } if new.valid() => {
                let made = |running: &&mut Running| running.broke.is_some_and(|(at, _)| at == *pa);
                self.cpus
                    .iter_mut()
                    .filter(made)
                    .for_each(|r| r.broke = None);
            }
            _ => {}
        }
    }

    fn begin(&mut self, state: &State, cpu: u8, op: Op, page: u16) {
        let running = &mut self.cpus[cpu as usize];
        running.op = Some((op, page, state.step));
        running.disturbed = false;
        running.debts.clear();
        running.broke = None;
        if op.space().is_none() {
            // A touch: disturbed if something is in flight where it goes.
            if let Op::Touch(va, _) = op
                && let Some(life) = running.life
                && let Some(cell) = self.reference.cell(life.space, va)
            {
                running.disturbed = !cell.settled();
            }
            return;
        }
        let mut in_flight = [(op, page); 4];
        let mut count = 0;
        for (op, page, _) in self.cpus.iter().filter_map(|c| c.op) {
            if op.space().is_some() {
                in_flight[count] = (op, page);
                count += 1;
            }
        }
        self.reference.begin(op, &in_flight[..count]);
        self.summary.begin(op);
        for other in &mut self.cpus {
            if let Some((Op::Touch(va, _), ..)) = other.op
                && let Some(life) = other.life
                && pages_of(op).any(|at| at == (life.space, (va / PAGE) as usize))
            {
                other.disturbed = true;
            }
        }
    }

    fn end(&mut self, state: &State, cpu: u8, index: u8, op: Op, page: u16, done: Done) {
        let running = &mut self.cpus[cpu as usize];
        let begun = running.op.take().map_or(0, |(_, _, begun)| begun);
        self.wrong = self.reference.end(state, op, page, done, begun);
        self.summary.end(op, cpu, index, done);
    }

    /// A store that takes something away from a space's live tables is owed a TLBI. Of other
    /// architectures than arm64 the protocol differs; there, only what comes of it is judged.
    fn changed(&mut self, state: &State, cpu: u8, pa: u64, old: Desc, new: Desc, site: Site) {
        if state.config.arch != Arch::Arm64 {
            return;
        }
        if !old.valid() {
            return self.restored(state, cpu, pa, new);
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
        let (before, after) = (state.decode(level, old), state.decode(level, new));
        let leaf = before.leaf().is_some();
        let same = before.pa() == after.pa() && leaf == after.leaf().is_some();
        if leaf && !new.valid() {
            self.cpus[cpu as usize].broke = Some((pa, old));
        }
        let writable = |d: Decoded| d.leaf().is_some_and(|leaf| leaf.writable);
        let restricted = writable(before) && !writable(after);
        if !same || restricted {
            let debt = Debt {
                life,
                va,
                level,
                leaf,
                pa,
                was: before,
                site,
                dsb: false,
                dsb_stage2: true,
                best: [None; 2],
            };
            self.cpus[cpu as usize].debts.push(debt);
        }
    }

    fn covered(&mut self, state: &State, cpu: u8, op: Tlbi, site: Site) {
        let row = op.kind.row();
        // Of a stage-2 translation there are two kinds of entry, and TLBIs by IPA reach the
        // one, stage-1 TLBIs the other.
        let (own, combined) = match (state.stage(), row.scope) {
            (Stage::One, Scope::Ipa) => return,
            (Stage::One, _) => (true, false),
            (Stage::Two, Scope::Ipa) => (true, false),
            (Stage::Two, Scope::All | Scope::VmBoth) => (true, true),
            (Stage::Two, _) => (false, true),
        };
        for debt in &mut self.cpus[cpu as usize].debts {
            let by_addr = op.by_addr();
            let inside = by_addr && op.covers(debt.va, level_size(debt.level));
            if (by_addr && !inside) || (row.last() && !debt.leaf) {
                continue;
            }
            let level = match op.ttl() {
                Ttl::Level(hint) if by_addr && debt.leaf => hint == debt.level,
                _ => true,
            };
            let new = Covering {
                dsb_before: debt.dsb && (own || debt.dsb_stage2),
                dsb_after: false,
                level,
                broadcast: row.share == Share::Inner,
                op,
                site,
            };
            for (best, applies) in debt.best.iter_mut().zip([own, combined]) {
                // One that is complete stays; of equals, the later has its DSB to come.
                let better = |b: Covering| {
                    new.merit() > b.merit() || (new.merit() == b.merit() && !b.dsb_after)
                };
                if applies && best.is_none_or(better) {
                    *best = Some(new);
                }
            }
            if row.scope == Scope::Ipa {
                debt.dsb_stage2 = false;
            }
        }
    }

    fn barrier(&mut self, cpu: u8, kind: Dsb) {
        let full = matches!(kind, Dsb::Ish | Dsb::Nsh);
        for debt in &mut self.cpus[cpu as usize].debts {
            debt.dsb = true;
            debt.dsb_stage2 |= full;
            for best in debt.best.iter_mut().flatten() {
                best.dsb_after |= full && (kind == Dsb::Ish || !best.broadcast);
            }
        }
    }

    /// What a CPU took out of a table and has put back with all that it permitted has lost
    /// nothing.
    fn restored(&mut self, state: &State, cpu: u8, pa: u64, new: Desc) {
        let debts = &mut self.cpus[cpu as usize].debts;
        debts.retain(|debt| {
            let leaves = (debt.pa == pa).then(|| {
                let now = state.decode(debt.level, new).leaf();
                debt.was.leaf().zip(now)
            });
            let same =
                |(was, now): (Leaf, Leaf)| was.pa == now.pa && (now.writable || !was.writable);
            !leaves.flatten().is_some_and(same)
        });
    }

    /// The CPUs that run a space outside of the switch code, with the context of each whose
    /// translations are being used.
    pub fn settled<'a>(
        &'a self,
        state: &'a State,
    ) -> impl Iterator<Item = (u8, Life, Context)> + 'a {
        let cpus = 0..self.cpus.len() as u8;
        cpus.filter_map(|cpu| {
            self.settled_on(state, cpu)
                .map(|(life, ctx)| (cpu, life, ctx))
        })
    }

    /// The same for one CPU. A virtual CPU that its host has taken away uses nothing.
    pub fn settled_on(&self, state: &State, cpu: u8) -> Option<(Life, Context)> {
        let running = &self.cpus[cpu as usize];
        if state.cpus[cpu as usize].preempted {
            return None;
        }
        let life = running.life.filter(|_| !running.switching)?;
        Some((life, state.used(cpu)?))
    }

    /// The CPUs outside of the switch code that have a space's own root table in their
    /// registers, whether or not their exception level uses it now.
    ///
    /// Inside the switch code a table may be loaded under a tag that a rollover has given up:
    /// nobody accesses anything through it, and its entries go before the tag is used again.
    pub fn users<'a>(
        &'a self,
        state: &'a State,
        life: Life,
    ) -> impl Iterator<Item = (u8, Context)> + 'a {
        let root = state.roots[life.space.0 as usize];
        (0..self.cpus.len() as u8).filter_map(move |cpu| {
            let running = &self.cpus[cpu as usize];
            let mine = running.life == Some(life) && !running.switching;
            let ctx = state.loaded(cpu)?;
            (mine && ctx.root() == root).then_some((cpu, ctx))
        })
    }

    /// What is wrong with a leaf entry that a space's CPU may use: a page that it may not
    /// reach at that address, or a permission that it has not.
    pub fn stale(&self, state: &State, life: Life, entry: &Entry) -> Option<(Va, &'static str)> {
        let mut va = entry.va;
        while va < entry.va + entry.size {
            let cell = self.reference.cell(life.space, va)?;
            let pa = entry.pa + (va - entry.va);
            match state.mem.frame(pa).usage {
                Use::Page(_, page) if may_map(state, life, pa) => {
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

#[cfg(test)]
mod tests;
