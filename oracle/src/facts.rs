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
    /// The last leaf that its operation has made invalid: where, and what it was.
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
mod tests {
    use crate::script::*;

    /// The debts of CPU 0: level, whether a leaf, and the TLBI that covers its own stage best.
    fn debts(s: &Scene<'_>) -> Vec<(u8, bool, Option<Kind>)> {
        s.oracle(|o, _| {
            let debts = &o.facts.cpus[0].debts;
            let brief = debts
                .iter()
                .map(|d| (d.level, d.leaf, d.best[0].map(|b| b.op.kind)));
            brief.collect()
        })
    }

    fn best(s: &Scene<'_>) -> Option<Kind> {
        debts(s)[0].2
    }

    #[test]
    fn what_takes_something_away_is_a_debt_until_the_operation_returns() {
        let broken = stage1(private(), async |s| {
            let op = Op::Unmap(A, 0x1000);
            s.begin(s.c0, op);
            s.c0.pte_xchg(s.pte(A, 0x1000), Desc::INVALID).await;
            assert_eq!(debts(s), [(3, true, None)]);
            flush(s.c0, by_addr(Kind::Vale1is, 0x1000)).await;
            assert_eq!(best(s), Some(Kind::Vale1is));
            s.end(s.c0, op, Done::Yes);
            assert_eq!(debts(s), []);
        });
        assert_eq!(broken, None);
    }

    #[test]
    fn a_restriction_is_a_debt_and_a_relaxation_is_none() {
        let broken = stage1(private(), async |s| {
            let pte = s.pte(A, 0x1000);
            let rw = s.c0.pte_read(pte).await;
            let ro = rw.with_writable(Stage::One, false);
            s.c0.pte_write(pte, ro).await;
            assert_eq!(debts(s).len(), 1);
            s.c0.pte_write(pte, rw).await;
            assert_eq!(debts(s).len(), 1, "write permission came back");
        });
        assert_eq!(broken, None);
    }

    #[test]
    fn what_was_not_valid_or_not_linked_is_no_debt() {
        let broken = stage1(private(), async |s| {
            let table = s.split_table(s.c0, A, 0x4000).await;
            s.c0.pte_write(table, Desc::INVALID).await;
            assert_eq!(debts(s), [], "no walker has ever seen that table");
            s.c0.pte_write(s.pmd(A, 0x8000), Desc::table(table)).await;
            assert_eq!(debts(s), [], "from invalid to valid");
            s.c0.pte_write(s.pmd(A, 0x8000), Desc::INVALID).await;
            assert_eq!(debts(s), [(2, false, None)]);
        });
        assert_eq!(broken, None);
    }

    #[test]
    fn a_last_level_tlbi_does_not_cover_a_table() {
        let broken = stage1(private(), async |s| {
            s.c0.pte_xchg(s.pmd(A, 0x0), Desc::INVALID).await;
            s.c0.tlbi(by_addr(Kind::Vale1is, 0x0)).await;
            assert_eq!(best(s), None);
            s.c0.tlbi(by_addr(Kind::Vae1is, 0x1000)).await;
            assert_eq!(
                best(s),
                Some(Kind::Vae1is),
                "any address under the table does"
            );
        });
        assert_eq!(broken, None);
    }

    #[test]
    fn an_address_elsewhere_covers_nothing() {
        let broken = stage1(private(), async |s| {
            s.c0.pte_xchg(s.pmd(A, 0x4000), Desc::INVALID).await;
            for va in [0x3000, 0x8000] {
                s.c0.tlbi(by_addr(Kind::Vale1is, va)).await;
            }
            assert_eq!(best(s), None);
            s.c0.tlbi(by_addr(Kind::Vale1is, 0x7000)).await;
            assert_eq!(best(s), Some(Kind::Vale1is), "the block reaches so far");
        });
        assert_eq!(broken, None);
    }

    #[test]
    fn the_best_tlbi_counts_whichever_came_last() {
        let broken = stage1(private(), async |s| {
            s.c0.pte_xchg(s.pte(A, 0x1000), Desc::INVALID).await;
            s.c0.dsb(Dsb::Ishst).await;
            s.c0.tlbi(by_addr(Kind::Vale1, 0x1000)).await;
            assert_eq!(best(s), Some(Kind::Vale1));
            s.c0.tlbi(by_addr(Kind::Vale1is, 0x1000)).await;
            assert_eq!(best(s), Some(Kind::Vale1is), "it reaches more");
            s.c0.tlbi(by_addr(Kind::Vale1, 0x1000)).await;
            assert_eq!(best(s), Some(Kind::Vale1is));
        });
        assert_eq!(broken, None);
    }

    /// Of a stage-2 translation there are two kinds of entry, and each has to be covered.
    #[test]
    fn a_stage_2_debt_is_covered_twice() {
        let best = |s: &Scene<'_>| {
            s.oracle(|o, _| o.facts.cpus[0].debts[0].best.map(|b| b.map(|b| b.op.kind)))
        };
        let broken = stage2(private(), async |s| {
            s.c0.pte_xchg(s.pte(A, 0x1000), Desc::INVALID).await;
            flush(s.c0, by_addr(Kind::Ipas2e1is, 0x1000)).await;
            assert_eq!(best(s), [Some(Kind::Ipas2e1is), None]);
            flush(s.c0, Tlbi::all(Kind::Vmalle1is)).await;
            assert_eq!(best(s), [Some(Kind::Ipas2e1is), Some(Kind::Vmalle1is)]);
        });
        assert_eq!(broken, None);
        let broken = stage2(private(), async |s| {
            s.c0.pte_xchg(s.pte(A, 0x1000), Desc::INVALID).await;
            flush(s.c0, Tlbi::all(Kind::Vmalls12e1is)).await;
            assert_eq!(
                best(s),
                [Some(Kind::Vmalls12e1is); 2],
                "by one that means both"
            );
        });
        assert_eq!(broken, None);
    }

    /// A walker makes a combined entry out of the stage-2 entry as long as that is there.
    #[test]
    fn combined_entries_go_after_those_they_are_made_of() {
        for (dsb, want) in [(true, true), (false, false)] {
            let broken = stage2(private(), async |s| {
                s.c0.pte_xchg(s.pte(A, 0x1000), Desc::INVALID).await;
                s.c0.dsb(Dsb::Ishst).await;
                s.c0.tlbi(by_addr(Kind::Ipas2e1is, 0x1000)).await;
                if dsb {
                    s.c0.dsb(Dsb::Ish).await;
                }
                s.c0.tlbi(Tlbi::all(Kind::Vmalle1is)).await;
                let before =
                    s.oracle(|o, _| o.facts.cpus[0].debts[0].best[1].map(|b| b.dsb_before));
                assert_eq!(before, Some(want));
            });
            assert_eq!(broken, None);
        }
    }

    #[test]
    fn a_touch_is_disturbed_by_operations_on_its_page() {
        let touch = Op::Touch(0x1000, Access::Read);
        let disturbed = |op: Op, before: bool| {
            let mut disturbed = false;
            let broken = stage1(private(), async |s| {
                s.switch(s.c1, A, 1).await;
                if before {
                    s.begin(s.c0, op);
                }
                s.begin(s.c1, touch);
                if !before {
                    s.begin(s.c0, op);
                }
                disturbed = s.oracle(|o, _| o.facts.cpus[1].disturbed);
            });
            assert_eq!(broken, None);
            disturbed
        };
        for before in [true, false] {
            assert!(disturbed(Op::Unmap(A, 0x1000), before));
            assert!(!disturbed(Op::Unmap(A, 0x0), before), "another page");
            assert!(!disturbed(Op::Unmap(B, 0x1000), before), "another space");
        }
    }
}
