// SPDX-License-Identifier: MIT OR Apache-2.0
//! Locks: who waits, and who goes first.

use crate::rig::{Rig, poll, private};
use core::pin::pin;
use shootdown_machine::{Boot, Config};

/// Which of these CPUs, each of which has announced a step, cannot take it.
fn blocked(rig: &Rig, cpus: &[u8]) -> Vec<u8> {
    let state = rig.machine.state();
    let cpus = cpus.iter().copied();
    cpus.filter(|cpu| state.blocked(*cpu)).collect()
}

#[test]
fn a_taken_lock_blocks_others_until_it_is_given_back() {
    let rig = Rig::new(private());
    let lock = Boot::new(&rig.machine, None).lock("lock");
    rig.run(lock.lock(rig.cpu(0)));
    let mut other = pin!(lock.lock(rig.cpu(1)));
    assert_eq!(poll(other.as_mut(), 1), None, "announced");
    assert_eq!(blocked(&rig, &[1]), [1]);
    rig.run(lock.unlock(rig.cpu(0)));
    assert_eq!(blocked(&rig, &[1]), []);
    assert_eq!(poll(other.as_mut(), 1), Some(()));
}

#[test]
fn a_free_lock_or_another_one_blocks_nobody() {
    let rig = Rig::new(private());
    let [one, two] = Boot::new(&rig.machine, None).locks("locks");
    let mut first = pin!(one.lock(rig.cpu(0)));
    poll(first.as_mut(), 1);
    assert_eq!(blocked(&rig, &[0]), []);
    assert_eq!(poll(first.as_mut(), 1), Some(()));
    let mut second = pin!(two.lock(rig.cpu(1)));
    poll(second.as_mut(), 1);
    assert_eq!(blocked(&rig, &[1]), []);
}

#[test]
fn the_last_to_come_may_be_the_first_to_go() {
    let three = Config {
        cpus: 3,
        ..private()
    };
    for winner in [1, 2] {
        let rig = Rig::new(three);
        let lock = Boot::new(&rig.machine, None).lock("lock");
        rig.run(lock.lock(rig.cpu(0)));
        let mut waiting = [1, 2].map(|cpu| Box::pin(lock.lock(rig.cpu(cpu))));
        for w in &mut waiting {
            poll(w.as_mut(), 1);
        }
        assert_eq!(blocked(&rig, &[1, 2]), [1, 2]);
        rig.run(lock.unlock(rig.cpu(0)));
        assert_eq!(poll(waiting[winner - 1].as_mut(), 1), Some(()));
        let loser = 3 - winner as u8;
        assert_eq!(blocked(&rig, &[loser]), [loser]);
    }
}
