// SPDX-License-Identifier: MIT OR Apache-2.0
//! Both stages: what a nested walk reads, and which invalidation removes what it leaves
//! (machine rule 10).

use crate::rig::{A, Rig, by_addr, flush, private};
use shootdown_machine::arm64::{Desc, Kind, Stage, Tlbi};
use shootdown_machine::{Access, Outcome, PAGE, slot_pa};

#[test]
fn every_stage_1_read_is_translated_by_stage_2() {
    let rig = Rig::nested(private());
    rig.run(rig.load(rig.cpu(0), A, 7));
    rig.take_events();
    let want: &[&[&str]] = &[
        &[],
        &["read Two 2", "table Two 0x0"],
        &["read Two 3", "leaf Two 0x1000"],
        &["read One 2", "table One 0x0"],
        &["read Two 3", "leaf Two 0x0"],
        &["read One 3"],
        &["read Two 2"],
        &["leaf Two 0x4000", "leaf One 0x1000"],
    ];
    for (i, want) in want.iter().enumerate() {
        assert!(rig.walk(0, 0x1000, Some(1)));
        assert_eq!(rig.seen(), *want, "step {i}");
    }
    assert!(!rig.walking(0));
}

#[test]
fn a_combined_entry_has_the_smaller_size_and_the_last_output() {
    let rig = Rig::nested(private());
    rig.run(rig.load(rig.cpu(0), A, 7));
    rig.walk(0, 0x1000, None);
    let pa = rig.pa(A, 0x5000);
    let state = rig.machine.state();
    let mut entries = state.tlb(0).entries.iter();
    let combined = entries.find(|e| e.leaf && e.stage == Stage::One).unwrap();
    assert_eq!(
        (combined.va, combined.size, combined.pa),
        (0x1000, PAGE, pa)
    );
    assert_eq!((combined.asid, combined.vmid), (1, 7));
}

#[test]
fn a_block_over_pages_is_cached_a_page_at_a_time() {
    let rig = Rig::nested(private());
    let block = Desc::leaf(Stage::One, 2, 0x0, true);
    rig.set(slot_pa(rig.pa(A, 0x1000), 2, 0x4000), block);
    rig.run(rig.load(rig.cpu(0), A, 7));
    rig.walk(0, 0x5000, None);
    let pa = rig.pa(A, 0x1000);
    let state = rig.machine.state();
    let mut entries = state.tlb(0).entries.iter();
    let combined = entries.find(|e| e.leaf && e.stage == Stage::One).unwrap();
    assert_eq!(
        (combined.va, combined.size, combined.pa),
        (0x5000, PAGE, pa)
    );
}

#[test]
fn a_store_needs_the_permission_of_both_stages() {
    for (first, second) in [(true, true), (true, false), (false, true), (false, false)] {
        let rig = Rig::nested(private());
        let stage1 = Desc::leaf(Stage::One, 3, 0x5000, first);
        rig.set(rig.pa(A, 0x0) + 8, stage1);
        let pte = rig.pte(A, 0x5000);
        rig.set(pte, rig.desc(pte).with_writable(Stage::Two, second));
        rig.run(rig.load(rig.cpu(0), A, 7));
        let outcome = rig.run(rig.cpu(0).access(0x1000, Access::Write));
        assert_eq!(outcome == Outcome::Done, first && second);
        let outcome = rig.run(rig.cpu(0).access(0x1000, Access::Read));
        assert_eq!(outcome, Outcome::Done);
    }
}

/// The leaves of CPU 0's TLB, stage 1 and combined ones first, after the host of CPU 1 has
/// invalidated something for the VM.
fn after(op: Tlbi) -> (Vec<u64>, Vec<u64>) {
    let rig = Rig::nested(private());
    rig.run(rig.load(rig.cpu(0), A, 7));
    rig.walk(0, 0x1000, None);
    assert_eq!(rig.leaves(0, Stage::One), [0x1000]);
    assert_eq!(rig.leaves(0, Stage::Two), [0x0, 0x1000, 0x4000]);
    rig.run(rig.aim(rig.cpu(1), A, 7));
    rig.run(flush(rig.cpu(1), op));
    (rig.leaves(0, Stage::One), rig.leaves(0, Stage::Two))
}

#[test]
fn ipas2_removes_stage_2_entries_and_leaves_combined_ones() {
    let left = after(by_addr(Kind::Ipas2e1is, 0x5000));
    assert_eq!(left, (vec![0x1000], vec![0x0, 0x1000]));
}

#[test]
fn vmalle1_removes_combined_entries_and_leaves_stage_2() {
    let left = after(Tlbi::all(Kind::Vmalle1is));
    assert_eq!(left, (vec![], vec![0x0, 0x1000, 0x4000]));
}

#[test]
fn vmalls12_and_alle1_remove_both() {
    for kind in [Kind::Vmalls12e1is, Kind::Alle1is] {
        assert_eq!(after(Tlbi::all(kind)), (vec![], vec![]));
    }
}

#[test]
fn operations_by_va_reach_combined_entries_and_those_by_ipa_go_by_ipa() {
    let left = after(by_addr(Kind::Vae1is, 0x1000));
    assert_eq!(left, (vec![], vec![0x0, 0x1000, 0x4000]));
    let left = after(by_addr(Kind::Vae1is, 0x5000));
    assert_eq!(left.0, [0x1000], "that is its IPA, not its VA");
}

/// Why KVM follows IPAS2 with VMALLE1: the guest goes on through the combined entry.
#[test]
fn a_guest_reaches_an_unmapped_page_until_its_combined_entry_is_gone() {
    for both in [false, true] {
        let rig = Rig::nested(private());
        let cpu = rig.cpu(0);
        rig.run(rig.load(cpu, A, 7));
        assert_eq!(rig.run(cpu.access(0x1000, Access::Read)), Outcome::Done);
        rig.set(rig.pte(A, 0x5000), Desc::INVALID);
        rig.run(rig.aim(rig.cpu(1), A, 7));
        rig.run(flush(rig.cpu(1), by_addr(Kind::Ipas2e1is, 0x5000)));
        if both {
            rig.run(flush(rig.cpu(1), Tlbi::all(Kind::Vmalle1is)));
        }
        let outcome = rig.run(cpu.access(0x1000, Access::Read));
        assert_eq!(outcome == Outcome::Done, !both);
    }
}
