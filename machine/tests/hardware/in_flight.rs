// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which invalidations catch a walk in flight (machine rule 10).

use crate::rig::{A, Rig, by_addr, flush, poll, private};
use core::pin::pin;
use shootdown_machine::arm64::{Desc, Kind, Stage, Tlbi, Ttl};
use shootdown_machine::{Access, Config, Outcome};

/// Steps of a walk for 0x1000 after which it has begun, read a table, and read the leaf.
const BEGUN: u8 = 1;
const TABLE: u8 = 2;
const LEAF: u8 = 3;

/// Whether a walk of CPU 1 for 0x1000 under ASID 1 is caught by a TLBI of CPU 0.
fn caught(steps: u8, op: Tlbi) -> bool {
    let rig = Rig::new(private());
    rig.run(rig.load(rig.cpu(1), A, 1));
    rig.walk(1, 0x1000, Some(steps));
    assert!(rig.walking(1));
    rig.run(flush(rig.cpu(0), op));
    let caught = !rig.walking(1);
    if !caught {
        rig.walk(1, 0x1000, Some(3));
    }
    assert_eq!(rig.leaves(1, Stage::One).is_empty(), caught);
    caught
}

#[test]
fn by_address_at_every_step() {
    for steps in [BEGUN, TABLE, LEAF] {
        assert!(caught(steps, by_addr(Kind::Vae1is, 0x1000)));
        assert!(caught(steps, by_addr(Kind::Vaae1is, 0x1000)));
        assert!(!caught(steps, by_addr(Kind::Vae1is, 0x8000)));
        assert!(!caught(steps, by_addr(Kind::Vaae1is, 0x8000)));
    }
    assert!(!caught(LEAF, by_addr(Kind::Vae1is, 0x0)), "its neighbour");
}

#[test]
fn by_asid_exactly() {
    for steps in [BEGUN, TABLE, LEAF] {
        let by_asid = |asid| Tlbi::asid(Kind::Aside1is, asid);
        assert!(caught(steps, by_asid(1)) && !caught(steps, by_asid(2)));
        let other = Tlbi::addr(Kind::Vae1is, 0x1000, 2, Ttl::Unknown);
        assert!(!caught(steps, other));
        let any = Tlbi::addr(Kind::Vaae1is, 0x1000, 2, Ttl::Unknown);
        assert!(caught(steps, any));
    }
}

#[test]
fn last_level_kinds_only_after_the_leaf_is_read() {
    for kind in [Kind::Vale1is, Kind::Vaale1is] {
        assert!(!caught(BEGUN, by_addr(kind, 0x1000)));
        assert!(!caught(TABLE, by_addr(kind, 0x1000)));
        assert!(caught(LEAF, by_addr(kind, 0x1000)));
    }
}

#[test]
fn a_hint_of_another_level_misses_the_leaf() {
    let hinted = |level| Tlbi::addr(Kind::Vae1is, 0x1000, 1, Ttl::Level(level));
    assert!(caught(LEAF, hinted(3)) && !caught(LEAF, hinted(2)));
}

#[test]
fn by_any_address_of_a_block_once_that_is_read() {
    for (steps, want) in [(BEGUN, false), (TABLE, true)] {
        let rig = Rig::new(private());
        rig.run(rig.load(rig.cpu(1), A, 1));
        rig.walk(1, 0x4000, Some(steps));
        rig.run(flush(rig.cpu(0), by_addr(Kind::Vae1is, 0x7000)));
        assert_eq!(!rig.walking(1), want);
    }
}

#[test]
fn by_range() {
    let range = |va| Tlbi::range(Kind::Rvae1is, va, 0, 0, 1, Ttl::Unknown);
    assert!(caught(LEAF, range(0x0)) && caught(LEAF, range(0x1000)));
    assert!(!caught(LEAF, range(0x2000)));
}

#[test]
fn everything_of_its_regime() {
    assert!(caught(BEGUN, Tlbi::all(Kind::Vmalle1is)));
    assert!(caught(BEGUN, Tlbi::all(Kind::Alle1is)));
    assert!(
        !caught(LEAF, by_addr(Kind::Ipas2e1is, 0x1000)),
        "it has no stage 2"
    );
}

#[test]
fn a_local_tlbi_catches_its_own_cpus_walk_only() {
    for (cpu, want) in [(0, false), (1, true)] {
        let rig = Rig::new(private());
        rig.run(rig.load(rig.cpu(1), A, 1));
        rig.walk(1, 0x1000, Some(LEAF));
        rig.run(flush(rig.cpu(cpu), by_addr(Kind::Vae1, 0x1000)));
        assert_eq!(!rig.walking(1), want);
    }
}

#[test]
fn by_vmid_exactly() {
    let ops = [
        Tlbi::all(Kind::Vmalls12e1is),
        Tlbi::all(Kind::Vmalle1is),
        by_addr(Kind::Ipas2e1is, 0x1000),
    ];
    for op in ops {
        for (vmid, want) in [(7, true), (8, false)] {
            let rig = Rig::guests(private());
            rig.run(rig.load(rig.cpu(1), A, 7));
            rig.walk(1, 0x1000, Some(LEAF));
            rig.run(rig.aim(rig.cpu(0), A, vmid));
            rig.run(flush(rig.cpu(0), op));
            assert_eq!(!rig.walking(1), want, "{op} under VMID {vmid}");
        }
    }
}

#[test]
fn by_ipa_of_what_it_reads() {
    for (ipa, want) in [(0x5000, true), (0x8000, false)] {
        let rig = Rig::nested(private());
        rig.run(rig.load(rig.cpu(1), A, 7));
        rig.walk(1, 0x1000, Some(7)); // all but the insert
        rig.run(rig.aim(rig.cpu(0), A, 7));
        rig.run(flush(rig.cpu(0), by_addr(Kind::Ipas2e1is, ipa)));
        assert_eq!(!rig.walking(1), want, "{ipa:#x}");
    }
}

/// A TLBI is as late for walks as it is for entries.
#[test]
fn not_before_it_is_delivered() {
    let rig = Rig::new(private());
    rig.run(rig.load(rig.cpu(1), A, 1));
    rig.walk(1, 0x1000, Some(LEAF));
    rig.run(rig.cpu(0).tlbi(by_addr(Kind::Vae1is, 0x1000)));
    assert!(rig.walking(1));
    assert!(rig.hardware(|state| state.deliver(1, false)));
    assert!(!rig.walking(1));
}

/// An access whose walk was caught begins again, and sees what is there now.
#[test]
fn the_walk_of_an_access_too() {
    for (va, want) in [(0x1000, Outcome::Translation), (0x8000, Outcome::Done)] {
        for levels in [2, 3] {
            let rig = Rig::new(Config {
                levels,
                ..private()
            });
            rig.run(rig.load(rig.cpu(1), A, 1));
            let pte = rig.pte(A, 0x1000);
            let mut access = pin!(rig.cpu(1).access(0x1000, Access::Read));
            // Announced, looked up, and every level read.
            assert_eq!(poll(access.as_mut(), 2 + levels as usize), None);
            rig.run(rig.cpu(0).pte_write(pte, Desc::INVALID));
            rig.run(flush(rig.cpu(0), by_addr(Kind::Vae1is, va)));
            assert_eq!(poll(access.as_mut(), 100), Some(want), "{va:#x}");
        }
    }
}
