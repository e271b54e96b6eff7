// SPDX-License-Identifier: MIT OR Apache-2.0
//! Virtual CPUs that their host takes off and puts back, and the word that they share.

use crate::rig::{A, Rig, poll};
use crate::x86::x86;
use core::pin::pin;
use shootdown_machine::arm64::{Desc, Stage};
use shootdown_machine::x86::{FLUSH_TLB, PREEMPTED, cr3};
use shootdown_machine::{Access, Boot, Outcome, Shared};

/// A guest of two CPUs. CPU 1 has 0x1000 of A cached.
fn guest(racy: bool) -> (Rig, [Shared<u64>; 4]) {
    let rig = Rig::new(x86());
    let boot = Boot::new(&rig.machine, None);
    let steal = boot.vars("preempted", 0u64);
    boot.steal_time(steal);
    if racy {
        boot.racy_host();
    }
    rig.run(rig.cpu(1).write_cr3(cr3(rig.root(A), 0)));
    rig.run(rig.cpu(1).access(0x1000, Access::Read));
    (rig, steal)
}

fn preempt(rig: &Rig) -> bool {
    rig.hardware(|s| s.preempt(1))
}

fn resume(rig: &Rig) -> bool {
    rig.hardware(|s| s.resume(1))
}

#[test]
fn a_preempted_cpu_stands_still_and_keeps_its_tlb() {
    let (rig, steal) = guest(false);
    rig.walk(1, 0x4000, Some(1));
    assert!(preempt(&rig));
    assert!(!preempt(&rig), "it is off already");
    assert_eq!(rig.run(steal[1].read(rig.cpu(0))), PREEMPTED);
    assert_eq!(rig.run(steal[0].read(rig.cpu(0))), 0);
    assert!(!rig.walking(1), "its walk is given up");
    assert!(!rig.walk(1, 0x0, None), "and none begins");
    let mut step = pin!(rig.cpu(1).access(0x0, Access::Read));
    poll(step.as_mut(), 1);
    assert!(rig.machine.state().blocked(1));
    rig.run(rig.cpu(0).send_ipi(1, 7));
    assert!(rig.hardware(|s| s.deliver_ipi(1)));
    assert_eq!(rig.hardware(|s| s.take_ipi(1)), None);
    assert_eq!(rig.leaves(1, Stage::One), [0x1000]);
    assert!(resume(&rig));
    assert!(!resume(&rig), "it is on");
    assert!(!rig.machine.state().blocked(1));
    assert_eq!(rig.run(steal[1].read(rig.cpu(0))), 0);
    assert!(rig.hardware(|s| s.take_ipi(1)).is_some());
    assert_eq!(
        rig.leaves(1, Stage::One),
        [0x1000],
        "nobody asked for a flush"
    );
}

#[test]
fn without_a_host_nobody_is_preempted() {
    let rig = Rig::new(x86());
    assert!(!preempt(&rig) && !resume(&rig));
    assert!(!rig.machine.state().blocked(1));
}

/// The guest's side of kvm_flush_tlb_multi. Whether CPU 1 needs no IPI.
async fn ask(rig: &Rig, steal: [Shared<u64>; 4]) -> bool {
    let cpu = rig.cpu(0);
    let seen = steal[1].read(cpu).await;
    seen & PREEMPTED != 0 && steal[1].cmpxchg(cpu, seen, seen | FLUSH_TLB).await == seen
}

#[test]
fn a_flush_that_was_asked_for_is_done_before_the_cpu_runs() {
    let (rig, steal) = guest(false);
    assert!(
        !rig.run(ask(&rig, steal)),
        "it runs: it must be interrupted"
    );
    preempt(&rig);
    assert!(rig.run(ask(&rig, steal)));
    rig.set(rig.pte(A, 0x1000), Desc::INVALID);
    assert_eq!(rig.leaves(1, Stage::One), [0x1000]);
    resume(&rig);
    assert_eq!(rig.leaves(1, Stage::One), []);
    assert_eq!(rig.tables(1), 0);
    let outcome = rig.run(rig.cpu(1).access(0x1000, Access::Read));
    assert_eq!(outcome, Outcome::Translation);
}

/// B-41: the host acts on what it read, and overwrites what was asked for since.
#[test]
fn a_host_that_clears_the_word_without_looking_loses_a_flush() {
    for (early, left) in [(true, 0), (false, 1)] {
        let (rig, steal) = guest(true);
        preempt(&rig);
        if early {
            assert!(rig.run(ask(&rig, steal)));
        }
        assert!(resume(&rig));
        assert!(rig.machine.state().blocked(1), "it is not there yet");
        if !early {
            assert!(rig.run(ask(&rig, steal)), "the guest believes in it");
        }
        assert!(resume(&rig));
        assert!(!rig.machine.state().blocked(1));
        assert_eq!(rig.leaves(1, Stage::One).len(), left);
        assert_eq!(rig.run(steal[1].read(rig.cpu(0))), 0);
        // And the same again.
        preempt(&rig);
        assert!(rig.run(ask(&rig, steal)));
        assert!(resume(&rig) && rig.machine.state().blocked(1));
        assert!(resume(&rig) && !rig.machine.state().blocked(1));
        assert_eq!(rig.leaves(1, Stage::One), []);
    }
}

#[test]
fn a_flush_of_one_virtual_cpu_leaves_the_others_alone() {
    let (rig, steal) = guest(false);
    rig.run(rig.cpu(0).write_cr3(cr3(rig.root(A), 0)));
    rig.run(rig.cpu(0).access(0x1000, Access::Read));
    preempt(&rig);
    rig.run(ask(&rig, steal));
    resume(&rig);
    assert_eq!(rig.leaves(0, Stage::One), [0x1000]);
    assert_eq!(rig.leaves(1, Stage::One), []);
}
