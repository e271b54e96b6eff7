// SPDX-License-Identifier: MIT OR Apache-2.0
//! Inter-processor interrupts: their way, their masking, and waiting for them.

use crate::rig::{A, B, Rig, poll, private};
use core::pin::pin;
use shootdown_machine::{Access, Config, Event, Ipi, Space};

fn ipi(from: u8, message: u64) -> Option<Ipi> {
    Some(Ipi {
        from,
        message,
        sent: 0,
    })
}

#[test]
fn an_ipi_is_taken_after_it_has_arrived_and_once() {
    let rig = Rig::new(private());
    rig.run(rig.cpu(0).send_ipi(1, 7));
    assert_eq!(rig.hardware(|s| s.take_ipi(1)), None, "it is on its way");
    assert!(!rig.hardware(|s| s.deliver_ipi(0)), "it goes to CPU 1");
    assert!(rig.hardware(|s| s.deliver_ipi(1)));
    assert!(!rig.hardware(|s| s.deliver_ipi(1)));
    assert_eq!(rig.hardware(|s| s.take_ipi(1)), ipi(0, 7));
    assert_eq!(rig.hardware(|s| s.take_ipi(1)), None);
}

#[test]
fn ipis_arrive_in_order() {
    let rig = Rig::new(private());
    rig.run(rig.cpu(0).send_ipi(1, 7));
    rig.run(rig.cpu(0).send_ipi(1, 8));
    rig.hardware(|s| s.deliver_ipi(1));
    assert_eq!(rig.hardware(|s| s.take_ipi(1)), ipi(0, 7));
    assert_eq!(
        rig.hardware(|s| s.take_ipi(1)),
        None,
        "the other is on its way"
    );
    rig.hardware(|s| s.deliver_ipi(1));
    assert_eq!(rig.hardware(|s| s.take_ipi(1)), ipi(0, 8));
}

#[test]
fn a_cpu_that_masks_interrupts_takes_none() {
    let rig = Rig::new(private());
    let cpu = rig.cpu(1);
    assert!(!rig.run(cpu.local_irq_save()), "they were not masked");
    assert!(rig.run(cpu.local_irq_save()));
    rig.run(rig.cpu(0).send_ipi(1, 7));
    assert!(rig.hardware(|s| s.deliver_ipi(1)), "it does arrive");
    assert_eq!(rig.hardware(|s| s.take_ipi(1)), None);
    rig.run(cpu.local_irq_enable());
    assert_eq!(rig.hardware(|s| s.take_ipi(1)), ipi(0, 7));
}

#[test]
fn a_handler_is_not_interrupted() {
    let rig = Rig::new(private());
    for message in [7, 8] {
        rig.run(rig.cpu(0).send_ipi(1, message));
        rig.hardware(|s| s.deliver_ipi(1));
    }
    assert_eq!(rig.hardware(|s| s.take_ipi(1)), ipi(0, 7));
    rig.hardware(|s| s.set_irqs_off(1, true));
    assert_eq!(rig.hardware(|s| s.take_ipi(1)), None);
    rig.hardware(|s| s.set_irqs_off(1, false));
    assert_eq!(rig.hardware(|s| s.take_ipi(1)), ipi(0, 8));
}

#[test]
fn the_sender_waits_for_every_acknowledgement() {
    let rig = Rig::new(Config {
        cpus: 3,
        ..private()
    });
    rig.run(rig.cpu(0).send_ipi(1, 7));
    rig.run(rig.cpu(0).send_ipi(2, 7));
    let mut wait = pin!(rig.cpu(0).wait_ipis());
    assert_eq!(poll(wait.as_mut(), 1), None);
    for target in [1, 2] {
        assert!(rig.machine.state().blocked(0));
        rig.hardware(|s| s.deliver_ipi(target));
        let ipi = rig.hardware(|s| s.take_ipi(target)).expect("an IPI");
        assert!(rig.machine.state().blocked(0), "taken is not handled");
        rig.hardware(|s| s.acknowledge(target, ipi));
    }
    assert!(!rig.machine.state().blocked(0));
    assert_eq!(poll(wait.as_mut(), 1), Some(()));
}

#[test]
fn who_sent_nothing_does_not_wait() {
    let rig = Rig::new(private());
    rig.run(rig.cpu(0).send_ipi(1, 7));
    let mut wait = pin!(rig.cpu(1).wait_ipis());
    poll(wait.as_mut(), 1);
    assert!(!rig.machine.state().blocked(1));
    assert_eq!(poll(wait.as_mut(), 1), Some(()));
}

/// Whose tables an access of CPU 1 walks at last that has walked A's for so many steps when an
/// IPI comes, whose handler loads B; or, if it does not come, nothing.
fn walked(steps: usize, comes: bool) -> Vec<Space> {
    let rig = Rig::new(private());
    rig.run(rig.load(rig.cpu(1), A, 1));
    let mut access = pin!(rig.cpu(1).access(0x1000, Access::Read));
    // The first poll announces it.
    assert_eq!(poll(access.as_mut(), 1 + steps), None);
    if comes {
        rig.run(rig.cpu(0).send_ipi(1, 7));
        rig.hardware(|s| s.deliver_ipi(1));
        let next = rig.hardware(|s| s.cpus[1].next.take());
        let ipi = rig.hardware(|s| s.take_ipi(1)).expect("an IPI");
        rig.run(rig.load(rig.cpu(1), B, 2));
        rig.hardware(|s| s.acknowledge(1, ipi));
        rig.hardware(|s| s.cpus[1].next = next);
    }
    rig.take_events();
    rig.run(access);
    let events = rig.take_events();
    let owner = |event: &Event| match event {
        Event::Fill { entry, .. } => entry.owner,
        Event::Accessed { via, .. } => via.and_then(|entry| entry.owner),
        _ => None,
    };
    let spaces = events.iter().filter_map(owner).map(|life| life.space);
    spaces.collect()
}

#[test]
fn an_access_that_is_interrupted_begins_anew() {
    for steps in 1..=2 {
        let (new, old) = (walked(steps, true), walked(steps, false));
        assert!(new.len() > 1 && new.iter().all(|space| *space == B));
        assert!(old.len() > 1 && old.iter().all(|space| *space == A));
    }
}
