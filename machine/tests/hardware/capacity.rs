// SPDX-License-Identifier: MIT OR Apache-2.0
//! Entries that leave with no invalidation: a full TLB, and evictions.

use crate::rig::{A, Rig, private, smt};
use shootdown_machine::Access;
use shootdown_machine::arm64::Stage;

fn entries(rig: &Rig) -> usize {
    rig.machine.state().tlb(0).entries.len()
}

fn ids(rig: &Rig) -> Vec<u32> {
    let state = rig.machine.state();
    state.tlb(0).entries.iter().map(|e| e.id).collect()
}

/// Fills the TLB of CPU 0 by a block under one ASID after another.
fn fill(rig: &Rig, asids: core::ops::RangeInclusive<u16>) {
    for asid in asids {
        rig.run(rig.load(rig.cpu(0), A, asid));
        rig.walk(0, 0x4000, None);
    }
}

#[test]
fn a_full_tlb_loses_its_oldest_entry() {
    let rig = Rig::new(private());
    fill(&rig, 1..=24);
    assert_eq!(ids(&rig), Vec::from_iter(1..=24), "so many fit");
    fill(&rig, 25..=26);
    assert_eq!(ids(&rig), Vec::from_iter(3..=26));
    let state = rig.machine.state();
    assert!(state.tlb(0).entries.iter().all(|e| e.asid > 2));
}

#[test]
fn an_entry_made_again_takes_its_own_place() {
    let rig = Rig::new(private());
    fill(&rig, 1..=24);
    fill(&rig, 24..=24);
    assert_eq!(entries(&rig), 24);
    let state = rig.machine.state();
    assert_eq!(state.tlb(0).entries[0].asid, 1, "and nobody else's");
}

#[test]
fn an_eviction_by_address_takes_leaf_and_tables() {
    let rig = Rig::new(private());
    rig.run(rig.load(rig.cpu(0), A, 1));
    for va in [0x0, 0x1000, 0x4000] {
        rig.walk(0, va, None);
    }
    assert!(rig.hardware(|state| state.evict(0, Some(0x1000))));
    assert_eq!(
        (rig.leaves(0, Stage::One), rig.tables(0)),
        (vec![0x0, 0x4000], 0)
    );
    assert!(
        !rig.hardware(|state| state.evict(0, Some(0x1000))),
        "nothing is left"
    );
    assert!(!rig.hardware(|state| state.evict(0, Some(0x8000))));
    assert_eq!(rig.leaves(0, Stage::One), [0x0, 0x4000]);
    rig.take_events();
    rig.run(rig.cpu(0).access(0x1000, Access::Read));
    assert_eq!(rig.seen().len(), 4, "two reads and two entries");
}

#[test]
fn an_eviction_without_an_address_takes_the_oldest_entry() {
    let rig = Rig::new(private());
    fill(&rig, 1..=3);
    assert!(rig.hardware(|state| state.evict(0, None)));
    assert_eq!(ids(&rig), [2, 3]);
    rig.hardware(|state| state.evict(0, None));
    rig.hardware(|state| state.evict(0, None));
    assert!(!rig.hardware(|state| state.evict(0, None)));
}

#[test]
fn an_eviction_is_of_one_tlb() {
    for (config, want) in [(private(), vec![0x4000]), (smt(), vec![])] {
        let rig = Rig::new(config);
        rig.run(rig.load(rig.cpu(0), A, 1));
        rig.walk(0, 0x4000, None);
        rig.hardware(|state| state.evict(1, None));
        assert_eq!(rig.leaves(0, Stage::One), want);
    }
}
