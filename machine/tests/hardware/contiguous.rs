// SPDX-License-Identifier: MIT OR Apache-2.0
//! Contiguous groups: what may be cached as one entry, and what removes it (Arm ARM, D8.7.1).
//! Groups have 2 descriptors here, and it is speculation that caches them whole.

use crate::rig::{A, Rig, by_addr, flush, private};
use shootdown_machine::arm64::{Desc, Kind, Stage, Tlbi, Ttl};
use shootdown_machine::{Access, Bbm, Config, Event, GROUP, Outcome, PAGE, Pick};

/// The pages 0x6000 and 0x7000, of what was a block, are a group.
const FIRST: u64 = 0x6000;
const SECOND: u64 = 0x7000;

fn grouped(config: Config) -> Rig {
    let rig = Rig::new(config);
    rig.split(A, 0x4000, true);
    for va in [FIRST, SECOND] {
        let pte = rig.pte(A, va);
        rig.set(pte, rig.desc(pte).with_contiguous(true));
    }
    rig.run(rig.load(rig.cpu(0), A, 1));
    rig
}

/// Address and size of the leaves in the TLB of CPU 0.
fn leaves(rig: &Rig) -> Vec<(u64, u64)> {
    let state = rig.machine.state();
    let leaves = state.tlb(0).entries.iter().filter(|e| e.leaf);
    leaves.map(|e| (e.va, e.size)).collect()
}

fn read(rig: &Rig, va: u64) -> (Outcome, Option<u64>) {
    rig.take_events();
    let outcome = rig.run(rig.cpu(0).access(va, Access::Read));
    let via = rig.take_events().into_iter().find_map(|e| match e {
        Event::Accessed { via, .. } => via,
        _ => None,
    });
    (outcome, via.map(|e| e.pa + (va - e.va)))
}

#[test]
fn speculation_caches_the_group_and_an_access_the_page() {
    let rig = grouped(private());
    rig.walk(0, SECOND, None);
    assert_eq!(leaves(&rig), [(FIRST, GROUP as u64 * PAGE)]);
    for va in [FIRST, SECOND] {
        assert_eq!(read(&rig, va), (Outcome::Done, Some(rig.pa(A, va))));
    }
    let rig = grouped(private());
    read(&rig, SECOND);
    assert_eq!(leaves(&rig), [(SECOND, PAGE)]);
}

#[test]
fn without_the_bit_there_is_no_group() {
    let rig = grouped(private());
    rig.walk(0, 0x5000, None);
    assert_eq!(leaves(&rig), [(0x5000, PAGE)]);
}

/// Hardware keeps track of its own entries: the group is no conflict with its pages.
#[test]
fn a_group_and_its_pages_never_conflict() {
    for bbm in [Bbm::Level0, Bbm::Level2] {
        let rig = grouped(Config { bbm, ..private() });
        rig.hardware(|state| state.cpus[0].pick = Pick::Abort);
        read(&rig, FIRST);
        read(&rig, SECOND);
        assert_eq!(leaves(&rig), [(FIRST, PAGE), (SECOND, PAGE)]);
        rig.walk(0, FIRST, None);
        assert_eq!(leaves(&rig), [(FIRST, GROUP as u64 * PAGE)]);
        for va in [FIRST, SECOND] {
            assert_eq!(read(&rig, va).0, Outcome::Done);
        }
    }
}

#[test]
fn a_tlbi_for_any_page_of_it_removes_the_group() {
    for (va, want) in [(FIRST, 0), (SECOND, 0), (0x5000, 1)] {
        for ttl in [Ttl::Unknown, Ttl::Level(3)] {
            let rig = grouped(private());
            rig.walk(0, FIRST, None);
            rig.run(flush(rig.cpu(0), Tlbi::addr(Kind::Vale1, va, 1, ttl)));
            assert_eq!(leaves(&rig).len(), want, "{va:#x} {ttl:?}");
        }
    }
    let rig = grouped(private());
    rig.walk(0, FIRST, None);
    let wrong = Tlbi::addr(Kind::Vale1, FIRST, 1, Ttl::Level(2));
    rig.run(flush(rig.cpu(0), wrong));
    assert_eq!(leaves(&rig).len(), 1, "it is of level 3");
}

#[test]
fn a_tlbi_for_any_page_of_it_catches_a_walk_that_has_read_a_descriptor() {
    for (va, want) in [(FIRST, false), (SECOND, false), (0x5000, true)] {
        let rig = grouped(private());
        rig.walk(0, FIRST, Some(3)); // begun, table and leaf read
        rig.run(flush(rig.cpu(1), by_addr(Kind::Vale1is, va)));
        assert_eq!(rig.walking(0), want, "{va:#x}");
    }
}

/// Why a page of a group must not be unmapped alone: without a TLBI for what becomes of the
/// rest, the rest goes on translating it.
#[test]
fn a_group_translates_a_page_that_is_gone() {
    for (flushed, want) in [(None, Outcome::Done), (Some(FIRST), Outcome::Translation)] {
        let rig = grouped(private());
        rig.walk(0, FIRST, None);
        rig.set(rig.pte(A, SECOND), Desc::INVALID);
        if let Some(va) = flushed {
            rig.run(flush(rig.cpu(0), by_addr(Kind::Vale1, va)));
        }
        assert_eq!(read(&rig, SECOND).0, want);
    }
}

/// The descriptors of a group do not belong together: one of them leads elsewhere. What each
/// of them translates to is then open.
fn misprogrammed(bbm: Bbm, pick: Pick) -> Rig {
    let rig = grouped(Config { bbm, ..private() });
    let pte = rig.pte(A, SECOND);
    let other = rig.pa(A, 0x4000);
    let desc = Desc::leaf(Stage::One, 3, other, true).with_contiguous(true);
    rig.set(pte, desc);
    read(&rig, SECOND); // cached by itself
    rig.walk(0, FIRST, None); // and as part of its group
    rig.hardware(|state| state.cpus[0].pick = pick);
    rig
}

#[test]
fn a_group_that_disagrees_is_a_conflict() {
    let group = |rig: &Rig| rig.pa(A, FIRST) + PAGE;
    let alone = |rig: &Rig| rig.pa(A, SECOND);
    let rig = misprogrammed(Bbm::Level2, Pick::Oldest);
    assert_eq!(leaves(&rig).len(), 2);
    assert_eq!(read(&rig, SECOND), (Outcome::Done, Some(alone(&rig))));
    let rig = misprogrammed(Bbm::Level2, Pick::Newest);
    assert_eq!(read(&rig, SECOND), (Outcome::Done, Some(group(&rig))));
    let rig = misprogrammed(Bbm::Level2, Pick::Abort);
    assert_eq!(read(&rig, SECOND).0, Outcome::Conflict);
    let rig = misprogrammed(Bbm::Level0, Pick::Mix);
    let mixed = group(&rig) | alone(&rig);
    assert_eq!(read(&rig, SECOND), (Outcome::Done, Some(mixed)));
}

/// A group of IPAs, of which a guest has the second.
#[test]
fn stage_2_has_groups_too() {
    let rig = Rig::guests(private());
    rig.split(A, 0x4000, true);
    for va in [FIRST, SECOND] {
        let pte = rig.pte(A, va);
        rig.set(pte, rig.desc(pte).with_contiguous(true));
    }
    rig.run(rig.load(rig.cpu(0), A, 7));
    rig.walk(0, SECOND, None);
    let size = GROUP as u64 * PAGE;
    assert_eq!(leaves(&rig), [(FIRST, size), (FIRST, size)]);
    assert_eq!(read(&rig, SECOND).1, Some(rig.pa(A, SECOND)));
    rig.run(rig.aim(rig.cpu(1), A, 7));
    rig.run(flush(rig.cpu(1), by_addr(Kind::Ipas2e1is, FIRST)));
    assert_eq!(rig.leaves(0, Stage::Two), []);
    assert_eq!(rig.leaves(0, Stage::One), [FIRST], "combined");
}

/// A guest's page in a block over which the host has a group.
#[test]
fn a_combined_entry_is_no_larger_than_either() {
    let rig = Rig::nested(private());
    rig.split(A, 0x4000, true);
    for va in [0x4000, 0x5000] {
        let pte = rig.pte(A, va);
        rig.set(pte, rig.desc(pte).with_contiguous(true));
    }
    rig.run(rig.load(rig.cpu(0), A, 7));
    rig.walk(0, 0x1000, None);
    assert_eq!(rig.leaves(0, Stage::Two), [0x0, 0x1000, 0x4000]);
    assert_eq!(rig.leaves(0, Stage::One), [0x1000]);
    assert_eq!(read(&rig, 0x1000).1, Some(rig.pa(A, 0x5000)));
    // Its stage-2 half is used again by another walk.
    rig.run(rig.cpu(0).exit_guest());
    rig.run(flush(rig.cpu(0), Tlbi::all(Kind::Vmalle1)));
    rig.run(rig.load(rig.cpu(0), A, 7));
    assert_eq!(read(&rig, 0x1000).1, Some(rig.pa(A, 0x5000)));
}
