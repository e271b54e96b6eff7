// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a walk leaves in the TLB.

use super::{Leaf, Progress, Walk};
use crate::arm64::Stage;
use crate::config::{Arch, Bbm, Switch};
use crate::context::{Context, El, level_size};
use crate::machine::State;
use crate::mem::GROUP;
use crate::tlb::{Entry, Tags};
use crate::x86;

impl Walk {
    /// The tags of what it inserts: those that it began with or, by a switch, those of the
    /// context that has replaced its own since, and is synchronized.
    fn tags(&self, s: &State, cpu: u8) -> Tags {
        let late = s.config.switches.on(Switch::LateTag);
        if !late || !s.cpus[cpu as usize].unsynced.is_empty() {
            return self.ctx.tags;
        }
        let regs = s.regs(cpu, true);
        Context::of(&regs, El::Guest, true).map_or(self.ctx.tags, |ctx| ctx.tags)
    }

    pub(super) fn entry(&self, s: &State, cpu: u8, stage: Stage, leaf: bool, from: Leaf) -> Entry {
        let group = leaf && from.desc.contiguous() && s.config.arch == Arch::Arm64;
        // That a group is cached as one is a choice of hardware: here, that of speculation.
        let mut size = level_size(from.level);
        let mut pa = from.is.pa;
        if group && !self.demand {
            size *= GROUP as u64;
            pa = pa / size * size;
        }
        let tags = self.tags(s, cpu);
        let clean = leaf && s.config.arch == Arch::X86 && from.desc.0 & x86::DIRTY == 0;
        Entry {
            id: 0,
            va: from.input / size * size,
            size,
            level: from.level,
            stage,
            leaf,
            global: stage == Stage::Two || from.is.global,
            asid: tags.asid,
            vmid: tags.vmid,
            cnp: tags.cnp,
            cpu,
            pa,
            writable: from.is.writable && !clean,
            group,
            dirtiable: (leaf && s.marks() && from.desc.dirtiable()) || (clean && from.is.writable),
            desc: from.desc,
            desc_pa: from.desc_pa,
            owner: self.owner,
            time: self.after,
            filled: s.step,
        }
    }

    /// Stage 1 alone gives its own leaf; with stage 2, that stage's leaf and a combined
    /// entry of the smaller of the two sizes, which IPAS2 operations do not reach.
    pub(super) fn insert(&mut self, s: &mut State, cpu: u8) -> Progress {
        let first = self
            .leaf1
            .map(|leaf| self.entry(s, cpu, Stage::One, true, leaf));
        let second = self
            .leaf2
            .map(|leaf| self.entry(s, cpu, Stage::Two, true, leaf));
        let combined = match (first, second) {
            (Some(only), None) => only,
            (None, Some(second)) => Entry {
                stage: Stage::One,
                ..second
            },
            (Some(first), Some(second)) => self.combined(first, second),
            (None, None) => return Progress::Filled,
        };
        let leaves = [self.leaf1, self.leaf2];
        if leaves.iter().flatten().any(|leaf| s.transient(leaf)) {
            return Progress::Uncached(combined);
        }
        if let Some(second) = second {
            s.insert(cpu, second, self.demand);
        }
        s.insert(cpu, combined, self.demand);
        Progress::Filled
    }

    fn combined(&self, first: Entry, second: Entry) -> Entry {
        let size = first.size.min(second.size);
        let ipa = self.leaf2.map_or(0, |leaf| leaf.input) / size * size;
        let may = |e: &Entry| e.writable || e.dirtiable;
        Entry {
            stage: Stage::One,
            va: self.va / size * size,
            size,
            // A level hint means stage 1 where there is one.
            level: first.level,
            global: first.global,
            pa: second.pa + ipa % second.size,
            writable: first.writable && second.writable,
            dirtiable: may(&first) && may(&second),
            group: first.group || second.group,
            ..second
        }
    }
}

impl State {
    /// Whether a leaf is one that must not be cached (FEAT_BBM level 1).
    pub(super) fn transient(&self, leaf: &Leaf) -> bool {
        self.config.bbm == Bbm::Level1
            && self.config.arch == Arch::Arm64
            && leaf.level < 3
            && leaf.desc.transient()
    }
}
