// SPDX-License-Identifier: MIT OR Apache-2.0
//! Machines whose TLBs hold entries of two spaces under two tags, for architectures with one
//! register for table and tag.

use crate::rig::Rig;
use shootdown_machine::{Access, Entry, Outcome, Va};

pub fn touch(rig: &Rig, cpu: u8, va: Va) -> Outcome {
    rig.run(rig.cpu(cpu).access(va, Access::Read))
}

/// The entries of a CPU, leaves and tables: tag and first address; `G` for global ones.
pub fn has(rig: &Rig, cpu: u8) -> Vec<String> {
    let state = rig.machine.state();
    let entries = state.tlb(cpu).entries.iter().filter(|e| e.cpu == cpu);
    let name = |e: &Entry| {
        let kind = match (e.leaf, e.global) {
            (false, _) => "table",
            (true, true) => "G",
            (true, false) => "leaf",
        };
        format!("{kind} {} {:#x}", e.asid, e.va)
    };
    let mut has: Vec<String> = entries.map(name).collect();
    has.sort();
    has
}

/// Of A under tag 1: 0x0, 0x1000 (global), 0x4000 and a table; of B under tag 2: 0x0 and a table.
pub const EVERYTHING: [&str; 6] = [
    "G 1 0x1000",
    "leaf 1 0x0",
    "leaf 1 0x4000",
    "leaf 2 0x0",
    "table 1 0x0",
    "table 2 0x0",
];

pub fn without(gone: &[&str]) -> Vec<&'static str> {
    let left = EVERYTHING.iter().copied();
    left.filter(|e| !gone.contains(e)).collect()
}
