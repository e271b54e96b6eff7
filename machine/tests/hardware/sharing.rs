// SPDX-License-Identifier: MIT OR Apache-2.0
//! Siblings on one TLB: what CnP lets them share, and what a local TLBI then removes
//! (machine rule 19).

use crate::rig::{A, B, Rig, by_addr, flush, private, smt};
use shootdown_machine::arm64::{Kind, Stage, Tlbi};
use shootdown_machine::{Access, Config, Switch, Switches};

/// Whether an access of the second CPU needs no walk, after the first CPU has made one.
/// `cnp`: of the first and of the second.
fn served(config: Config, cpus: [u8; 2], cnp: [bool; 2]) -> bool {
    let rig = Rig::new(config);
    let [first, second] = cpus;
    rig.run(rig.load_cnp(rig.cpu(first), A, 1, cnp[0]));
    rig.run(rig.load_cnp(rig.cpu(second), A, 1, cnp[1]));
    rig.run(rig.cpu(first).access(0x1000, Access::Read));
    rig.take_events();
    rig.run(rig.cpu(second).access(0x1000, Access::Read));
    rig.seen().is_empty()
}

#[test]
fn entries_are_shared_if_both_say_common() {
    assert!(served(smt(), [0, 1], [true, true]));
    assert!(served(smt(), [1, 0], [true, true]));
    for cnp in [[true, false], [false, true], [false, false]] {
        assert!(!served(smt(), [0, 1], cnp), "{cnp:?}");
    }
}

#[test]
fn a_tlb_of_ones_own_is_never_shared() {
    assert!(!served(private(), [0, 1], [true, true]));
}

#[test]
fn only_siblings_share() {
    let four = Config { cpus: 4, ..smt() };
    assert!(served(four, [2, 3], [true, true]));
    for cpus in [[0, 2], [1, 2], [0, 3]] {
        assert!(!served(four, cpus, [true, true]), "{cpus:?}");
    }
}

#[test]
fn a_shared_tag_must_be_equal() {
    for (asid, want) in [(1, true), (2, false)] {
        let rig = Rig::new(smt());
        rig.run(rig.load(rig.cpu(0), A, 1));
        rig.run(rig.load(rig.cpu(1), A, asid));
        rig.run(rig.cpu(0).access(0x1000, Access::Read));
        rig.take_events();
        rig.run(rig.cpu(1).access(0x1000, Access::Read));
        assert_eq!(rig.seen().is_empty(), want);
    }
}

/// What makes CnP dangerous: the tables behind equal tags are not looked at.
#[test]
fn a_sibling_is_served_from_another_spaces_tables() {
    for (cnp, want) in [(true, A), (false, B)] {
        let rig = Rig::new(smt());
        rig.run(rig.load_cnp(rig.cpu(0), A, 1, cnp));
        rig.run(rig.cpu(0).access(0x4000, Access::Read));
        rig.run(rig.load_cnp(rig.cpu(1), B, 1, cnp));
        rig.take_events();
        rig.run(rig.cpu(1).access(0x4000, Access::Read));
        let via = rig.take_events().into_iter().find_map(|e| match e {
            shootdown_machine::Event::Accessed { via, .. } => via,
            _ => None,
        });
        let owner = via.and_then(|entry| entry.owner);
        assert_eq!(owner.map(|life| life.space), Some(want));
    }
}

#[test]
fn a_local_tlbi_removes_what_its_cpu_sees() {
    for (cnp, want) in [(true, 0), (false, 1)] {
        let rig = Rig::new(smt());
        for cpu in 0..2 {
            rig.run(rig.load_cnp(rig.cpu(cpu), A, 1, cnp));
            rig.run(rig.cpu(cpu).access(0x1000, Access::Read));
        }
        rig.run(flush(rig.cpu(0), by_addr(Kind::Vale1, 0x1000)));
        assert_eq!(rig.leaves(0, Stage::One).len(), want);
    }
}

#[test]
fn a_broadcast_removes_private_entries_of_every_sibling() {
    let rig = Rig::new(smt());
    for cpu in 0..2 {
        rig.run(rig.load_cnp(rig.cpu(cpu), A, 1, false));
        rig.run(rig.cpu(cpu).access(0x1000, Access::Read));
    }
    assert_eq!(rig.leaves(0, Stage::One).len(), 2);
    rig.run(flush(rig.cpu(0), Tlbi::all(Kind::Vmalle1is)));
    assert_eq!(rig.leaves(0, Stage::One), []);
}

fn with_sibling(on: bool) -> Config {
    Config {
        switches: Switches::default().with(Switch::Sibling, on),
        ..smt()
    }
}

#[test]
fn whether_a_local_tlbi_reaches_a_siblings_private_entries_is_a_switch() {
    for (on, want) in [(false, 1), (true, 0)] {
        let rig = Rig::new(with_sibling(on));
        rig.run(rig.load_cnp(rig.cpu(1), A, 1, false));
        rig.run(rig.cpu(1).access(0x1000, Access::Read));
        rig.run(flush(rig.cpu(0), by_addr(Kind::Vale1, 0x1000)));
        assert_eq!(rig.leaves(1, Stage::One).len(), want);
    }
}

/// The sibling's walk has read the leaf. What it inserts is shared, and serves the CPU whose
/// local TLBI is complete.
#[test]
fn whether_a_local_tlbi_reaches_a_siblings_walk_is_a_switch() {
    for (on, want) in [(false, true), (true, false)] {
        let rig = Rig::new(with_sibling(on));
        for cpu in 0..2 {
            rig.run(rig.load(rig.cpu(cpu), A, 1));
        }
        rig.walk(1, 0x1000, Some(3));
        rig.run(flush(rig.cpu(0), by_addr(Kind::Vale1, 0x1000)));
        assert_eq!(rig.walking(1), want);
    }
}

#[test]
fn the_sibling_switch_is_about_siblings_only() {
    let rig = Rig::new(Config {
        cpus: 4,
        ..with_sibling(true)
    });
    rig.run(rig.load(rig.cpu(2), A, 1));
    rig.run(rig.cpu(2).access(0x1000, Access::Read));
    rig.walk(2, 0x4000, Some(2));
    rig.run(flush(rig.cpu(0), Tlbi::all(Kind::Vmalle1)));
    assert_eq!(rig.leaves(2, Stage::One), [0x1000]);
    assert!(rig.walking(2));
}
