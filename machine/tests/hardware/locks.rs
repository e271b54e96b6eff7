// SPDX-License-Identifier: MIT OR Apache-2.0
//! Locks: who waits, and who goes first.

use crate::rig::{A, Rig, flush, poll, private};
use core::pin::pin;
use shootdown_machine::arm64::{Desc, Kind, Tlbi};
use shootdown_machine::{Boot, Config, Memory};

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

/// A machine with a reader/writer lock, CPUs that have it (true: to write), and whether CPU 2
/// may take it.
fn taken(held: &[(u8, bool)], write: bool) -> bool {
    let rig = Rig::new(Config {
        cpus: 3,
        ..private()
    });
    let lock = Boot::new(&rig.machine, None).rw_locks::<1>("lock")[0];
    for (cpu, write) in held {
        let cpu = rig.cpu(*cpu);
        rig.run(async {
            if *write {
                lock.write_lock(cpu).await;
            } else {
                lock.read_lock(cpu).await;
            }
        });
    }
    let mut third = pin!(async {
        if write {
            lock.write_lock(rig.cpu(2)).await;
        } else {
            lock.read_lock(rig.cpu(2)).await;
        }
    });
    assert_eq!(poll(third.as_mut(), 1), None, "announced");
    let free = blocked(&rig, &[2]).is_empty();
    for (cpu, write) in held {
        let cpu = rig.cpu(*cpu);
        rig.run(async {
            if *write {
                lock.write_unlock(cpu).await;
            } else {
                lock.read_unlock(cpu).await;
            }
        });
    }
    assert_eq!(blocked(&rig, &[2]), [], "everybody has given it back");
    assert_eq!(poll(third.as_mut(), 1), Some(()));
    free
}

#[test]
fn readers_exclude_writers_only_and_a_writer_everybody() {
    assert!(taken(&[], false) && taken(&[], true));
    assert!(taken(&[(0, false), (1, false)], false));
    assert!(!taken(&[(0, false), (1, false)], true));
    assert!(!taken(&[(0, true)], false));
    assert!(!taken(&[(0, true)], true));
}

/// What a reader has stored is there for the writer that comes after it.
#[test]
fn a_writer_sees_what_readers_have_done() {
    let rig = Rig::new(Config {
        memory: Memory::Arm,
        ..private()
    });
    let boot = Boot::new(&rig.machine, None);
    let (lock, x) = (boot.rw_locks::<1>("lock")[0], boot.var("x", 0));
    let (c0, c1) = (rig.cpu(0), rig.cpu(1));
    rig.run(async {
        lock.read_lock(c0).await;
        x.write(c0, 1u64).await;
        lock.read_unlock(c0).await;
        lock.write_lock(c1).await;
    });
    rig.hardware(|s| s.stale(1, 9));
    assert_eq!(rig.run(x.read(c1)), 1);
}

#[test]
fn a_cpu_waits_for_a_descriptor_to_change() {
    let rig = Rig::new(private());
    let (cpu, pte) = (rig.cpu(0), rig.pte(A, 0x1000));
    let seen = cpu.changes();
    let mut waiting = pin!(cpu.await_change(seen));
    assert_eq!(poll(waiting.as_mut(), 1), None, "announced");
    assert_eq!(blocked(&rig, &[0]), [0]);
    rig.run(rig.cpu(1).pte_write(pte, Desc::BUSY));
    assert_eq!(blocked(&rig, &[0]), []);
    assert_eq!(poll(waiting.as_mut(), 1), Some(()));
    // One that has changed since it was looked at is not waited for.
    let mut late = pin!(cpu.await_change(seen));
    poll(late.as_mut(), 1);
    assert_eq!(blocked(&rig, &[0]), []);
}

/// What was waited for came before, and was not seen: looking again will show it. A CPU that has
/// seen the newest value waits for a change, as before.
#[test]
fn a_cpu_does_not_wait_for_what_it_read_too_late() {
    for (by, waits) in [(1, false), (0, true)] {
        let rig = Rig::new(Config {
            memory: Memory::Arm,
            ..private()
        });
        let (cpu, other, pte) = (rig.cpu(0), rig.cpu(1), rig.pte(A, 0x1000));
        rig.run(async {
            other.pte_write(pte, Desc::BUSY).await;
            other.smp_mb().await;
            other.pte_write(pte, Desc::INVALID).await;
            other.smp_mb().await;
        });
        let seen = cpu.changes();
        rig.hardware(|s| s.stale(0, by));
        let read = rig.run(cpu.pte_read(pte));
        assert_eq!(read, if by > 0 { Desc::BUSY } else { Desc::INVALID });
        let mut waiting = pin!(cpu.await_change(seen));
        assert_eq!(poll(waiting.as_mut(), 1), None, "announced");
        assert_eq!(!blocked(&rig, &[0]).is_empty(), waits);
    }
}

#[test]
fn a_frame_that_can_hold_a_table_has_a_count_that_is_no_descriptor() {
    let rig = Rig::new(private());
    let cpu = rig.cpu(0);
    let (one, other) = (cpu.page_count(0x5000), cpu.page_count(0x6000));
    let before = rig.machine.state().pte_changes;
    rig.run(one.write(cpu, 1));
    assert_eq!(rig.run(one.add_return(cpu, 2)), 3);
    assert_eq!(rig.run(one.add_return(cpu, u64::MAX)), 2);
    assert_eq!(rig.run(other.read(cpu)), 0);
    let state = rig.machine.state();
    assert_eq!(state.pte_changes, before);
    let word = state.mem.count_word(0x5000).expect("a count");
    assert_eq!(state.mem.name(word).map(|n| n.name), Some("page_count"));
    assert_eq!(state.mem.desc_pa(word), None);
}

/// Who waits for others waits for one that can go on, and for nobody who waits in turn.
#[test]
fn a_cpu_waits_for_what_others_are_in_the_middle_of() {
    // Whether cpu0 waits, while cpu1 is about to do this.
    async fn nothing() {}
    fn waits(rig: &Rig, other: impl Future<Output = ()>) -> bool {
        let mut waiting = pin!(rig.cpu(0).await_others());
        assert_eq!(poll(waiting.as_mut(), 1), None, "announced");
        let mut other = pin!(other);
        poll(other.as_mut(), 1);
        !blocked(rig, &[0]).is_empty()
    }
    let rig = Rig::new(private());
    let lock = Boot::new(&rig.machine, None).lock("lock");
    assert!(!waits(&rig, nothing()));
    assert!(waits(&rig, rig.cpu(1).isb()));
    assert!(waits(&rig, lock.lock(rig.cpu(1))));
    rig.run(lock.lock(rig.cpu(0)));
    assert!(!waits(&rig, lock.lock(rig.cpu(1))), "cpu0 has it");
    assert!(!waits(&rig, rig.cpu(1).await_others()));
}

/// What may end a fault of cpu0: a change of a descriptor, or a TLBI of another CPU that takes
/// something away.
#[test]
fn an_access_may_come_out_otherwise_after_a_change_or_a_tlbi_of_another_cpu() {
    let rig = Rig::new(private());
    let changes = || rig.machine.state().changes_for_access(0);
    rig.run(rig.load(rig.cpu(0), A, 1));
    let page = Tlbi::all(Kind::Vmalle1is);
    let mut before = changes();
    let mut grown = |by: u32, what: &str| {
        assert_eq!(changes(), before + by, "{what}");
        before = changes();
    };
    rig.run(flush(rig.cpu(1), page));
    grown(0, "there was nothing to take away");
    assert!(rig.walk(0, 0x1000, None));
    rig.run(flush(rig.cpu(0), page));
    grown(0, "its own");
    assert!(rig.walk(0, 0x1000, None));
    rig.run(flush(rig.cpu(1), page));
    grown(1, "an entry is gone");
    rig.run(rig.cpu(1).pte_write(rig.pte(A, 0x1000), Desc::INVALID));
    grown(1, "a descriptor has changed");
}
