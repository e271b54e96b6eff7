// SPDX-License-Identifier: MIT OR Apache-2.0
//! A thread that is moved to another CPU in the middle of an invalidation: a DSB completes the
//! TLBIs of the CPU that executes it, whoever issued them (machine rule 12).

use crate::rig::{A, Rig, by_addr, private};
use shootdown_machine::arm64::{Desc, Kind, Stage};
use shootdown_machine::{Access, Config, Dsb, Outcome};

/// The CPUs that a thread runs on, and the one that has what it unmaps cached.
const OLD: u8 = 0;
const NEW: u8 = 1;
const OTHER: u8 = 2;

/// A thread has unmapped 0x1000 of A and issued the TLBI on [`OLD`]; [`OTHER`] has it cached.
fn unmapping() -> Rig {
    let rig = Rig::new(Config {
        cpus: 3,
        ..private()
    });
    rig.run(rig.load(rig.cpu(OTHER), A, 1));
    rig.walk(OTHER, 0x1000, None);
    let cpu = rig.cpu(OLD);
    let pte = rig.pte(A, 0x1000);
    rig.run(cpu.pte_write(pte, Desc::INVALID));
    rig.run(cpu.dsb(Dsb::Ishst));
    rig.run(cpu.tlbi(by_addr(Kind::Vale1is, 0x1000)));
    rig
}

/// How an access by another thread of A ends.
fn access(rig: &Rig) -> Outcome {
    rig.run(rig.cpu(OTHER).access(0x1000, Access::Read))
}

#[test]
fn the_dsb_of_the_new_cpu_completes_nothing() {
    let rig = unmapping();
    rig.run(rig.cpu(NEW).dsb(Dsb::Ish));
    assert_eq!(rig.leaves(OTHER, Stage::One), [0x1000]);
    assert_eq!(access(&rig), Outcome::Done, "the page may have been freed");
}

/// `__switch_to` of arm64 has an unconditional `dsb ish` for this.
#[test]
fn the_dsb_in_the_old_cpus_switch_code_completes_it() {
    let rig = unmapping();
    rig.run(rig.cpu(OLD).dsb(Dsb::Ish));
    assert_eq!(rig.leaves(OTHER, Stage::One), []);
    rig.run(rig.cpu(NEW).dsb(Dsb::Ish));
    assert_eq!(access(&rig), Outcome::Translation);
}

#[test]
fn only_a_dsb_of_the_domain_for_loads_and_stores_does() {
    for kind in [Dsb::Nsh, Dsb::Ishst, Dsb::Nshst] {
        let rig = unmapping();
        rig.run(rig.cpu(OLD).dsb(kind));
        assert_eq!(access(&rig), Outcome::Done, "dsb {}", kind.name());
    }
}

/// B-10: reclaim on one CPU has issued TLBIs, and the CPU that must see them complete
/// executes a DSB only. What closes the race is a TLBI of its own (commit 4b634918384c).
#[test]
fn to_wait_for_anothers_tlbi_one_must_issue_it_again() {
    for (again, want) in [(false, Outcome::Done), (true, Outcome::Translation)] {
        let rig = unmapping();
        let cpu = rig.cpu(NEW);
        if again {
            rig.run(cpu.tlbi(by_addr(Kind::Vale1is, 0x1000)));
        }
        rig.run(cpu.dsb(Dsb::Ish));
        assert_eq!(access(&rig), want);
    }
}
