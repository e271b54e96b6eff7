// SPDX-License-Identifier: MIT OR Apache-2.0
//! RISC-V: satp, SFENCE.VMA, Svinval and remote fences (privileged specification, "Supervisor
//! Memory-Management Fence Instruction", "Svinval"; SBI specification, "RFENCE Extension").

use crate::rig::{A, B, Rig, poll, private};
use crate::tagged::{EVERYTHING, has, touch, without};
use core::pin::pin;
use shootdown_machine::arm64::Desc;
use shootdown_machine::riscv::{Fence, GLOBAL, satp};
use shootdown_machine::{Arch, Boot, Config, Memory, Outcome, PAGE, Space, Switch, Switches};

pub fn riscv() -> Config {
    Config {
        arch: Arch::Riscv,
        ..private()
    }
}

pub fn load(rig: &Rig, cpu: u8, space: Space, asid: u16) {
    rig.run(rig.cpu(cpu).write_satp(satp(rig.root(space), asid)));
}

pub fn fence(rig: &Rig, cpu: u8, what: Fence) {
    rig.run(rig.cpu(cpu).sfence_vma(what));
}

/// Harts that have, of A under ASID 1: 0x0, 0x1000 (global), 0x4000 and a table; of B under
/// ASID 2: 0x0 and a table. ASID 1 is loaded.
fn filled(config: Config) -> Rig {
    let rig = Rig::new(config);
    let pte = rig.pte(A, 0x1000);
    rig.set(pte, Desc(rig.desc(pte).0 | GLOBAL));
    for cpu in 0..config.cpus {
        load(&rig, cpu, B, 2);
        touch(&rig, cpu, 0x0);
        load(&rig, cpu, A, 1);
        for va in [0x0, 0x1000, 0x4000] {
            touch(&rig, cpu, va);
        }
        assert_eq!(has(&rig, cpu), EVERYTHING);
    }
    rig
}

/// What each fence removes. Those with an address leave table pointers alone.
const FENCES: &[(Fence, &[&str])] = &[
    (Fence::All, &EVERYTHING),
    (
        Fence::Asid(1),
        &["leaf 1 0x0", "leaf 1 0x4000", "table 1 0x0"],
    ),
    (Fence::Asid(2), &["leaf 2 0x0", "table 2 0x0"]),
    (Fence::Addr(0x0), &["leaf 1 0x0", "leaf 2 0x0"]),
    (Fence::Addr(0x1000), &["G 1 0x1000"]),
    (Fence::Both(0x0, 1), &["leaf 1 0x0"]),
    (Fence::Both(0x1000, 1), &[]),
    (Fence::Both(0x5000, 1), &["leaf 1 0x4000"]),
];

#[test]
fn every_fence_removes_what_it_names_and_nothing_else() {
    for (what, gone) in FENCES {
        let rig = filled(riscv());
        fence(&rig, 0, *what);
        assert_eq!(has(&rig, 0), without(gone), "{what:?}");
        assert_eq!(has(&rig, 1), EVERYTHING, "{what:?} is local");
    }
}

#[test]
fn satp_changes_table_and_asid_at_once_and_removes_nothing() {
    let rig = filled(riscv());
    load(&rig, 0, B, 2);
    assert_eq!(has(&rig, 0), EVERYTHING);
    let ctx = rig.machine.state().context(0, false).expect("a context");
    assert_eq!((ctx.stage1, ctx.tags.asid), (rig.root(B), 2));
    rig.run(rig.cpu(0).write_satp(0));
    assert_eq!(rig.machine.state().context(0, false), None, "mode Bare");
    assert!(!rig.walk(0, 0x1000, None));
}

#[test]
fn with_the_switch_a_walk_outlives_the_context_that_it_began_under() {
    for outlives in [false, true] {
        let rig = Rig::new(Config {
            switches: Switches::default().with(Switch::Inflight, outlives),
            ..riscv()
        });
        load(&rig, 0, A, 1);
        rig.walk(0, 0x1000, Some(1));
        load(&rig, 0, B, 2);
        touch(&rig, 0, 0x4000);
        assert_eq!(rig.walking(0), outlives);
        rig.walk(0, 0x1000, Some(9));
        let of_a = has(&rig, 0).contains(&"leaf 1 0x1000".to_owned());
        assert_eq!(of_a, outlives);
    }
}

#[test]
fn a_fence_ends_the_walks_that_it_covers() {
    let rows = [
        (Fence::All, true),
        (Fence::Asid(1), true),
        (Fence::Asid(2), false),
        (Fence::Addr(0x1000), true),
        (Fence::Addr(0x0), false),
        (Fence::Both(0x1000, 1), true),
        (Fence::Both(0x1000, 2), false),
    ];
    for (what, ends) in rows {
        let rig = Rig::new(riscv());
        load(&rig, 0, A, 1);
        rig.walk(0, 0x1000, Some(3)); // it has read the leaf
        fence(&rig, 0, what);
        assert_eq!(rig.walking(0), !ends, "{what:?}");
    }
}

/// H1 and H2 of the RISC-V allocator: only a fence orders a store before a walk.
#[test]
fn a_fence_orders_stores_before_walks_and_satp_does_not() {
    for (fenced, want) in [(false, Outcome::Done), (true, Outcome::Translation)] {
        let rig = Rig::new(Config {
            memory: Memory::Arm,
            ..riscv()
        });
        let pte = rig.pte(A, 0x1000);
        rig.run(rig.cpu(0).pte_write(pte, Desc::INVALID));
        load(&rig, 0, A, 1);
        if fenced {
            fence(&rig, 0, Fence::Both(0x4000, 7)); // whatever it is about
        }
        assert_eq!(touch(&rig, 0, 0x1000), want);
    }
}

/// H1: the bit in the mask is set by an atomic that orders nothing, and seen by nobody who has
/// a store of a page-table entry on its way.
#[test]
fn a_mask_and_a_walk_are_not_ordered_without_a_fence() {
    for (fenced, missed) in [(false, true), (true, false)] {
        let rig = Rig::new(Config {
            memory: Memory::Arm,
            ..riscv()
        });
        let mask = Boot::new(&rig.machine, None).var("mm_cpumask", 0u64);
        let pte = rig.pte(A, 0x1000);
        rig.run(rig.cpu(0).pte_write(pte, Desc::INVALID));
        if fenced {
            rig.run(rig.cpu(0).smp_mb());
        }
        let seen = rig.run(mask.read(rig.cpu(0)));
        rig.run(mask.xchg_relaxed(rig.cpu(1), 2));
        load(&rig, 1, A, 1);
        let stale = touch(&rig, 1, 0x1000) == Outcome::Done;
        assert_eq!(seen == 0 && stale, missed);
    }
}

#[test]
fn sinval_takes_effect_at_the_latest_at_sfence_inval_ir() {
    for (what, gone) in FENCES {
        for early in [false, true] {
            let rig = filled(riscv());
            let cpu = rig.cpu(0);
            rig.run(cpu.sfence_w_inval());
            rig.run(cpu.sinval_vma(*what));
            assert_eq!(has(&rig, 0), EVERYTHING, "it is on its way");
            assert!(!rig.hardware(|s| s.deliver(1, false)), "it is local");
            if early {
                assert!(rig.hardware(|s| s.deliver(0, false)));
                assert_eq!(has(&rig, 0), without(gone), "{what:?}");
            }
            rig.run(rig.cpu(1).sfence_inval_ir());
            rig.run(cpu.sfence_inval_ir());
            assert_eq!(has(&rig, 0), without(gone), "{what:?}");
            assert_eq!(has(&rig, 1), EVERYTHING);
        }
    }
}

#[test]
fn sfence_w_inval_orders_stores_before_sinval() {
    for ordered in [false, true] {
        let rig = Rig::new(Config {
            memory: Memory::Arm,
            ..riscv()
        });
        let cpu = rig.cpu(0);
        load(&rig, 0, A, 1);
        touch(&rig, 0, 0x1000);
        let pte = rig.pte(A, 0x1000);
        rig.run(cpu.pte_write(pte, Desc::INVALID));
        if ordered {
            rig.run(cpu.sfence_w_inval());
        }
        rig.run(cpu.sinval_vma(Fence::Both(0x1000, 1)));
        rig.run(cpu.sfence_inval_ir());
        assert_eq!(rig.desc(pte) == Desc::INVALID, ordered);
        let gone = touch(&rig, 0, 0x1000) == Outcome::Translation;
        assert_eq!(gone, ordered, "else it is cached again");
    }
}

#[test]
fn a_remote_fence_arrives_at_the_harts_of_its_mask_and_is_waited_for() {
    let ranges: &[(Fence, &[&str])] = &[
        (Fence::All, &EVERYTHING),
        (Fence::Asid(2), &["leaf 2 0x0", "table 2 0x0"]),
        (
            Fence::Addr(0x0),
            &["leaf 1 0x0", "leaf 2 0x0", "leaf 1 0x4000", "G 1 0x1000"],
        ),
        (Fence::Both(0x0, 1), &["leaf 1 0x0", "leaf 1 0x4000"]),
    ];
    for (what, gone) in ranges {
        let rig = filled(Config { cpus: 3, ..riscv() });
        let mut call = pin!(rig.cpu(0).sbi_remote_sfence_vma(0b110, *what, 5 * PAGE));
        assert_eq!(poll(call.as_mut(), 2), None);
        assert_eq!(has(&rig, 1), EVERYTHING);
        assert!(rig.hardware(|s| s.deliver(1, false)));
        assert_eq!(has(&rig, 1), without(gone), "{what:?}");
        assert_eq!(has(&rig, 2), EVERYTHING, "in a time of its own");
        assert_eq!(poll(call.as_mut(), 1), Some(true));
        assert_eq!(has(&rig, 2), without(gone));
        assert_eq!(has(&rig, 0), EVERYTHING, "it is not of the mask");
    }
}

#[test]
fn a_remote_fence_is_after_the_stores_of_its_caller() {
    let rig = Rig::new(Config {
        memory: Memory::Arm,
        ..riscv()
    });
    let pte = rig.pte(A, 0x1000);
    load(&rig, 1, A, 1);
    touch(&rig, 1, 0x1000);
    rig.run(rig.cpu(0).pte_write(pte, Desc::INVALID));
    let what = Fence::Both(0x1000, 1);
    assert!(rig.run(rig.cpu(0).sbi_remote_sfence_vma(0b10, what, PAGE)));
    assert_eq!(touch(&rig, 1, 0x1000), Outcome::Translation);
}

/// The hart that it arrives at executes an SFENCE.VMA.
#[test]
fn a_remote_fence_orders_the_stores_of_the_harts_that_it_reaches() {
    for (mask, want) in [(0b10, Outcome::Translation), (0b01, Outcome::Done)] {
        let rig = Rig::new(Config {
            memory: Memory::Arm,
            ..riscv()
        });
        let pte = rig.pte(A, 0x1000);
        load(&rig, 1, A, 1);
        rig.run(rig.cpu(1).pte_write(pte, Desc::INVALID));
        let what = Fence::Both(0x4000, 7);
        assert!(rig.run(rig.cpu(0).sbi_remote_sfence_vma(mask, what, PAGE)));
        assert_eq!(touch(&rig, 1, 0x1000), want);
    }
}

/// B-46.
#[test]
fn a_remote_fence_of_a_hart_that_is_not_there_is_an_error() {
    for (offline, mask, want) in [
        (false, 0b11, true),
        (true, 0b11, false),
        (true, 0b01, true),
        (false, 0b101, false),
    ] {
        let rig = filled(riscv());
        rig.hardware(|s| s.set_offline(1, offline));
        let call = rig.cpu(0).sbi_remote_sfence_vma(mask, Fence::All, 0);
        assert_eq!(rig.run(call), want);
        let left: &[&str] = if want { &[] } else { &EVERYTHING };
        assert_eq!(has(&rig, 0), left, "no hart, or all");
    }
}

#[test]
fn a_hart_that_is_stopped_walks_nothing_and_starts_bare_with_what_it_had() {
    let rig = filled(riscv());
    rig.run(rig.cpu(0).hart_stop());
    assert!(!rig.hardware(|s| s.walk(0, 0x1000, false, None)));
    rig.run(rig.cpu(0).hart_start());
    assert_eq!(has(&rig, 0), EVERYTHING);
    assert_eq!(touch(&rig, 0, 0x1000), Outcome::Translation, "Bare");
}
