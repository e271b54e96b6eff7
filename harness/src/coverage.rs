// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a run reached, beyond the edges of its code: hand-overs between CPUs, and goals.

use std::collections::BTreeSet;

/// Counters for hand-overs. Power of two.
pub const COUNTERS: usize = 4096;

/// Hand-overs and goals.
pub struct Coverage {
    /// How often a CPU took over from another, by where the two are in their code.
    pub counters: Box<[u8; COUNTERS]>,
    /// Goals, with the variant that reached each.
    pub goals: BTreeSet<(&'static str, &'static str)>,
}

impl Default for Coverage {
    fn default() -> Self {
        Coverage {
            counters: Box::new([0; COUNTERS]),
            goals: BTreeSet::new(),
        }
    }
}

impl Coverage {
    /// Another CPU takes a step: where the last one stands, where this one does.
    pub fn hand_over(&mut self, from: u32, to: u32) {
        let key = from.wrapping_mul(0x9e37_79b1) ^ to.wrapping_mul(0x85eb_ca6b).rotate_left(13);
        let counter = &mut self.counters[(key ^ key >> 15) as usize % COUNTERS];
        *counter = counter.saturating_add(1);
    }

    /// A goal was reached.
    pub fn goal(&mut self, variant: &'static str, goal: &'static str) {
        if self.goals.insert((variant, goal)) {
            // A counter of its own, so that the fuzzer sees it as new.
            let key = variant.bytes().chain(goal.bytes());
            let key = key.fold(0u32, |h, b| (h ^ b as u32).wrapping_mul(0x0100_0193));
            self.counters[(key ^ key >> 15) as usize % COUNTERS] = 255;
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.counters.fill(0);
        self.goals.clear();
    }
}
