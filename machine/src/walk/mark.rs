// SPDX-License-Identifier: MIT OR Apache-2.0
//! Walkers that write: the access flag and dirty state.

use super::{For, Leaf, Next, Progress, Walk};
use crate::act::Outcome;
use crate::arch;
use crate::arm64::Stage;
use crate::config::{Arch, Switch};
use crate::machine::State;
use crate::op::Access;

impl Walk {
    pub(super) fn place(&mut self, stage: Stage, what: For) -> &mut Option<Leaf> {
        match (stage, what) {
            (Stage::One, _) => &mut self.leaf1,
            (Stage::Two, For::Data) => &mut self.leaf2,
            (Stage::Two, For::Stage1(_)) => &mut self.table,
        }
    }

    /// Everything is known. A store goes on to mark as dirty what has to be, if with that it is
    /// permitted at all.
    pub(super) fn finish(&mut self, s: &State) {
        self.next = Next::Insert;
        if !self.write || !s.marks() {
            return;
        }
        let leaves = [(Stage::One, self.leaf1), (Stage::Two, self.leaf2)];
        let may = |(stage, leaf): (Stage, Option<Leaf>)| {
            leaf.is_none_or(|l| l.is.writable || l.desc.may_write(stage))
        };
        let clean = |(_, leaf): &(Stage, Option<Leaf>)| leaf.is_some_and(|l| !l.is.writable);
        if leaves.into_iter().all(may)
            && let Some((stage, Some(leaf))) = leaves.into_iter().find(clean)
        {
            self.next = leaf.mark(stage, For::Data);
        }
    }

    /// Marks a leaf as accessed or, if it is that already, as dirty. Where it has changed
    /// since, the walk begins again (Arm ARM, D8.5.4 to D8.5.6).
    pub(super) fn mark(&mut self, s: &mut State, cpu: u8, stage: Stage, what: For) -> Progress {
        // The update is a store to a stage-1 table, and needs the permission of stage 2.
        if stage == Stage::One
            && let Some(table) = self.table.filter(|table| !table.is.writable)
        {
            if !table.desc.may_write(Stage::Two) {
                return Progress::Fault(Outcome::Permission);
            }
            return self.update(s, cpu, Stage::Two, For::Stage1(table.level), true);
        }
        let accessed = self.place(stage, what).is_some_and(|leaf| leaf.is.accessed);
        self.update(s, cpu, stage, what, accessed)
    }

    fn update(&mut self, s: &mut State, cpu: u8, stage: Stage, what: For, dirty: bool) -> Progress {
        let Some(leaf) = *self.place(stage, what) else {
            return Progress::Fault(Outcome::Translation);
        };
        let accessed = leaf.desc.with_accessed(true);
        let new = if dirty {
            accessed.with_writable(stage, true)
        } else {
            accessed
        };
        let Some(time) = s.mark(cpu, leaf.desc_pa, leaf.desc, new) else {
            let write = if self.write {
                Access::Write
            } else {
                Access::Read
            };
            *self = Walk::begin(s, cpu, self.ctx, self.va, self.demand.then_some(write));
            return Progress::More;
        };
        self.after = self.after.max(time);
        let is = arch::Leaf {
            accessed: true,
            writable: leaf.is.writable || dirty,
            ..leaf.is
        };
        let marked = Leaf {
            desc: new,
            is,
            ..leaf
        };
        if dirty {
            *self.place(stage, what) = Some(marked);
            if what == For::Data {
                self.finish(s);
            }
        } else {
            self.leaf(s, cpu, stage, marked, what);
        }
        Progress::More
    }
}

impl State {
    /// Whether walkers mark descriptors as accessed and dirty.
    pub(super) fn marks(&self) -> bool {
        self.config.switches.on(Switch::HwAfDbm) && self.config.arch == Arch::Arm64
    }
}
