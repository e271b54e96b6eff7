// SPDX-License-Identifier: MIT OR Apache-2.0
//! When stores are seen, and how old what a load gives may be, under each memory model.

use crate::rig::{A, Rig, flush, poll, private};
use core::pin::pin;
use shootdown_machine::arm64::{Desc, Kind, Stage, Tlbi};
use shootdown_machine::{Boot, Config, Cpu, Dsb, Memory, Shared, slot_pa};

const MODELS: [Memory; 3] = [Memory::Sc, Memory::Tso, Memory::Arm];

fn rig(memory: Memory) -> Rig {
    Rig::new(Config {
        memory,
        ..private()
    })
}

fn vars(rig: &Rig) -> (Shared<u64>, Shared<u64>) {
    let boot = Boot::new(&rig.machine, None);
    (boot.var("x", 0), boot.var("y", 0))
}

fn drain(rig: &Rig, cpu: u8, last: bool) -> bool {
    rig.hardware(|s| s.drain(cpu, last))
}

#[test]
fn a_store_waits_under_the_weak_models() {
    for memory in MODELS {
        let rig = rig(memory);
        let (x, _) = vars(&rig);
        rig.run(x.write(rig.cpu(0), 1));
        assert_eq!(rig.run(x.read(rig.cpu(0))), 1, "its own CPU sees it");
        let early = rig.run(x.read(rig.cpu(1)));
        assert_eq!(early == 1, memory == Memory::Sc, "{memory:?}");
        assert_eq!(drain(&rig, 0, false), memory != Memory::Sc);
        assert_eq!(rig.run(x.read(rig.cpu(1))), 1);
    }
}

/// Store buffering: what each of two CPUs reads of the other's variable after writing its
/// own. B-33 (page table and cpumask) and B-37 (loaded_mm and tlb_gen) are this shape.
fn store_buffering(memory: Memory, barrier: bool) -> (u64, u64) {
    let rig = rig(memory);
    let (x, y) = vars(&rig);
    let go = async |own: Shared<u64>, other: Shared<u64>, cpu| {
        own.write(cpu, 1).await;
        if barrier {
            cpu.smp_mb().await;
        }
        other.read(cpu).await
    };
    let (mut a, mut b) = (pin!(go(x, y, rig.cpu(0))), pin!(go(y, x, rig.cpu(1))));
    // Both write before either reads.
    let steps = if barrier { 3 } else { 2 };
    let (first, second) = (poll(a.as_mut(), steps), poll(b.as_mut(), steps));
    let done = |r: Option<u64>, f| r.unwrap_or_else(|| poll(f, 9).expect("an end"));
    (done(first, a), done(second, b))
}

#[test]
fn bugs_33_and_37_two_stores_that_the_other_does_not_see() {
    for memory in MODELS {
        let both_old = store_buffering(memory, false) == (0, 0);
        assert_eq!(both_old, memory != Memory::Sc, "{memory:?}");
        assert_eq!(store_buffering(memory, true), (1, 1), "{memory:?}");
    }
}

#[test]
fn a_full_atomic_is_a_barrier_and_a_relaxed_one_is_not() {
    for (full, seen) in [(true, 1), (false, 0)] {
        let rig = rig(Memory::Arm);
        let (x, y) = vars(&rig);
        rig.run(x.write(rig.cpu(0), 1));
        rig.run(if full {
            y.xchg(rig.cpu(0), 1)
        } else {
            y.xchg_relaxed(rig.cpu(0), 1)
        });
        assert_eq!(rig.run(y.read(rig.cpu(1))), 1, "an atomic does not wait");
        assert_eq!(rig.run(x.read(rig.cpu(1))), seen);
    }
}

#[test]
fn a_cmpxchg_that_fails_orders_no_loads() {
    for (expected, stale) in [(0, false), (7, true)] {
        let rig = rig(Memory::Arm);
        let (x, y) = vars(&rig);
        rig.run(x.write_release(rig.cpu(1), 1));
        rig.run(rig.cpu(1).smp_mb());
        rig.run(y.xchg(rig.cpu(1), 0)); // stored after x: whoever is ordered behind it sees x
        rig.run(y.cmpxchg(rig.cpu(0), expected, 1));
        rig.hardware(|s| s.stale(0, 1));
        assert_eq!(rig.run(x.read(rig.cpu(0))) == 0, stale);
    }
}

/// Two stores, and what the other CPU has of the first when it has the second, if they drain
/// as far out of order as they may.
fn two_stores(memory: Memory, middle: &str) -> u64 {
    let rig = rig(memory);
    let (x, y) = vars(&rig);
    let cpu = rig.cpu(0);
    rig.run(x.write(cpu, 1));
    if middle == "wmb" {
        rig.run(cpu.smp_wmb());
    }
    rig.run(if middle == "release" {
        y.write_release(cpu, 1)
    } else {
        y.write(cpu, 1)
    });
    while rig.run(y.read(rig.cpu(1))) == 0 {
        assert!(drain(&rig, 0, true));
    }
    rig.run(x.read(rig.cpu(1)))
}

#[test]
fn stores_drain_out_of_order_under_arm_unless_something_forbids() {
    assert_eq!(two_stores(Memory::Arm, ""), 0);
    assert_eq!(two_stores(Memory::Arm, "wmb"), 1);
    assert_eq!(two_stores(Memory::Arm, "release"), 1);
    assert_eq!(two_stores(Memory::Tso, ""), 1);
}

/// What a load of x gives after a load of y has seen what was stored after x, if it is as
/// stale as it may be.
fn two_loads(memory: Memory, middle: &str) -> u64 {
    let rig = rig(memory);
    let (x, y) = vars(&rig);
    for var in [x, y] {
        rig.run(var.write(rig.cpu(0), 1));
        rig.run(rig.cpu(0).smp_mb());
    }
    let cpu = rig.cpu(1);
    let seen = rig.run(if middle == "acquire" {
        y.read_acquire(cpu)
    } else {
        y.read(cpu)
    });
    assert_eq!(seen, 1);
    match middle {
        "rmb" => rig.run(cpu.smp_rmb()),
        "isb" => rig.run(cpu.isb()),
        "dsb" => rig.run(cpu.dsb(Dsb::Ish)),
        _ => {}
    }
    rig.hardware(|s| s.stale(1, 9));
    rig.run(x.read(cpu))
}

#[test]
fn loads_are_reordered_under_arm_unless_something_forbids() {
    assert_eq!(two_loads(Memory::Arm, ""), 0);
    for middle in ["rmb", "acquire", "isb", "dsb"] {
        assert_eq!(two_loads(Memory::Arm, middle), 1, "{middle}");
    }
    for memory in [Memory::Sc, Memory::Tso] {
        assert_eq!(two_loads(memory, ""), 1);
    }
}

#[test]
fn reads_of_one_variable_do_not_go_back() {
    let rig = rig(Memory::Arm);
    let (x, _) = vars(&rig);
    for value in 1..=2 {
        rig.run(x.write(rig.cpu(0), value));
        rig.run(rig.cpu(0).smp_mb());
    }
    let read = |by| {
        rig.hardware(|s| s.stale(1, by));
        rig.run(x.read(rig.cpu(1)))
    };
    assert_eq!([read(1), read(9), read(0), read(1)], [1, 1, 2, 2]);
}

/// A frame was a table with an entry in it; the CPU that clears it for another table reads no
/// older value there, one that is told of it by nobody may.
#[test]
fn a_new_table_is_clear_for_its_own_cpu() {
    let rig = rig(Memory::Arm);
    let [mine, other] = [rig.cpu(0), rig.cpu(1)];
    let table = rig.run(mine.alloc_table(A));
    rig.run(mine.pte_write(table, Desc::leaf(Stage::One, 3, 0x1000, true)));
    rig.run(mine.smp_mb());
    rig.run(mine.free(table));
    assert_eq!(rig.run(mine.alloc_table(A)), table);
    let read = |cpu: Cpu<'_>| {
        rig.hardware(|s| s.stale(cpu.id(), 1));
        rig.run(cpu.pte_read(table)).valid()
    };
    assert_eq!([read(mine), read(other)], [false, true]);
}

#[test]
fn a_pointer_leads_to_what_was_stored_before_it() {
    let rig = rig(Memory::Arm);
    let (x, _) = vars(&rig);
    let pte = rig.pte(A, 0x1000);
    rig.run(rig.cpu(0).pte_write(pte, Desc::INVALID));
    rig.run(rig.cpu(0).smp_mb());
    rig.run(x.write(rig.cpu(0), 1));
    rig.run(rig.cpu(0).smp_mb());
    let old = rig.desc(pte);
    assert!(!old.valid());
    assert_eq!(rig.run(x.read(rig.cpu(1))), 1);
    rig.hardware(|s| s.stale(1, 9));
    assert_eq!(rig.run(rig.cpu(1).pte_read(pte)), Desc::INVALID);
}

#[test]
fn a_lock_hands_over_what_was_stored_under_it() {
    let rig = rig(Memory::Arm);
    let boot = Boot::new(&rig.machine, None);
    let (lock, (x, _)) = (boot.lock("lock"), vars(&rig));
    rig.run(lock.lock(rig.cpu(0)));
    rig.run(x.write(rig.cpu(0), 1));
    rig.run(lock.unlock(rig.cpu(0)));
    rig.run(lock.lock(rig.cpu(1)));
    rig.hardware(|s| s.stale(1, 9));
    assert_eq!(rig.run(x.read(rig.cpu(1))), 1);
}

#[test]
fn an_ipi_and_its_acknowledgement_hand_over_too() {
    let rig = rig(Memory::Arm);
    let (x, y) = vars(&rig);
    rig.run(x.write(rig.cpu(0), 1));
    rig.run(rig.cpu(0).send_ipi(1, 7));
    rig.hardware(|s| s.deliver_ipi(1));
    let ipi = rig.hardware(|s| s.take_ipi(1)).expect("an IPI");
    rig.hardware(|s| s.stale(1, 9));
    assert_eq!(rig.run(x.read(rig.cpu(1))), 1);
    rig.run(y.write(rig.cpu(1), 1));
    rig.hardware(|s| s.acknowledge(1, ipi));
    rig.hardware(|s| s.stale(0, 9));
    assert_eq!(rig.run(y.read(rig.cpu(0))), 1);
}

#[test]
fn a_walker_does_not_see_what_its_cpu_has_not_stored_yet() {
    for memory in MODELS {
        let rig = rig(memory);
        rig.run(rig.load(rig.cpu(0), A, 1));
        rig.run(rig.cpu(0).pte_write(rig.pte(A, 0x1000), Desc::INVALID));
        rig.walk(0, 0x1000, None);
        let filled = !rig.leaves(0, Stage::One).is_empty();
        assert_eq!(filled, memory != Memory::Sc, "{memory:?}");
    }
}

/// Machine rule 6: without the first DSB, the TLBI may be over before the store is seen.
#[test]
fn a_tlbi_without_a_dsb_before_it_is_too_early() {
    for (dsb, stale) in [(false, true), (true, false)] {
        let rig = rig(Memory::Arm);
        rig.run(rig.load(rig.cpu(1), A, 1));
        rig.walk(1, 0x1000, None);
        let cpu = rig.cpu(0);
        rig.run(cpu.pte_write(rig.pte(A, 0x1000), Desc::INVALID));
        if dsb {
            rig.run(cpu.dsb(Dsb::Ishst));
        }
        rig.run(cpu.tlbi(Tlbi::all(Kind::Vmalle1is)));
        rig.hardware(|s| s.deliver(1, false));
        rig.walk(1, 0x1000, None);
        rig.run(cpu.dsb(Dsb::Ish));
        assert_eq!(!rig.leaves(1, Stage::One).is_empty(), stale);
    }
}

/// B-20 (release): a table that is linked by a plain store may be seen before what is in it.
#[test]
fn bug_20_a_table_without_a_release_is_seen_before_its_contents() {
    for (release, found) in [(false, false), (true, true)] {
        let rig = rig(Memory::Arm);
        rig.run(rig.load(rig.cpu(1), A, 1));
        let cpu = rig.cpu(0);
        let (pmd, page) = (slot_pa(rig.root(A), 2, 0x8000), rig.pa(A, 0x1000));
        let table = rig.run(cpu.alloc_table(A));
        let leaf = Desc::leaf(Stage::One, 3, page, true);
        rig.run(cpu.pte_write(slot_pa(table, 3, 0x8000), leaf));
        let link = Desc::table(table);
        rig.run(if release {
            cpu.pte_write_release(pmd, link)
        } else {
            cpu.pte_write(pmd, link)
        });
        while !rig.desc(pmd).valid() {
            drain(&rig, 0, true);
        }
        rig.walk(1, 0x8000, None);
        assert_eq!(!rig.leaves(1, Stage::One).is_empty(), found);
    }
}

#[test]
fn a_grace_period_is_a_barrier_for_every_cpu() {
    let rig = rig(Memory::Arm);
    let (x, y) = vars(&rig);
    let table = rig.run(rig.cpu(0).alloc_table(A));
    rig.run(rig.cpu(1).local_irq_save());
    rig.run(y.write(rig.cpu(1), 1));
    rig.run(x.write(rig.cpu(0), 1));
    rig.run(rig.cpu(0).tlb_remove_table(table));
    rig.run(rig.cpu(1).local_irq_enable());
    rig.hardware(|s| s.stale(1, 9));
    assert_eq!(rig.run(x.read(rig.cpu(1))), 1);
    assert_eq!(rig.run(y.read(rig.cpu(0))), 1);
}

#[test]
fn the_buffer_holds_so_many_stores_and_no_more() {
    let rig = rig(Memory::Tso);
    let (x, y) = vars(&rig);
    rig.run(x.write(rig.cpu(0), 1));
    for value in 1..=8 {
        assert_eq!(rig.run(x.read(rig.cpu(1))), 0);
        rig.run(y.write(rig.cpu(0), value));
    }
    assert_eq!(rig.run(x.read(rig.cpu(1))), 1);
}

#[test]
fn a_flush_that_is_complete_needs_no_more_than_its_own_barriers() {
    let rig = rig(Memory::Arm);
    rig.run(rig.load(rig.cpu(1), A, 1));
    rig.walk(1, 0x1000, None);
    let cpu = rig.cpu(0);
    rig.run(cpu.pte_write(rig.pte(A, 0x1000), Desc::INVALID));
    rig.run(cpu.dsb(Dsb::Ishst));
    rig.run(flush(cpu, Tlbi::all(Kind::Vmalle1is)));
    assert!(rig.leaves(1, Stage::One).is_empty());
    rig.walk(1, 0x1000, None);
    assert!(rig.leaves(1, Stage::One).is_empty(), "nothing to find");
}
