// SPDX-License-Identifier: MIT OR Apache-2.0
//! x86: what drains the store buffer, and what a CPU refuses.

use crate::rig::{A, Rig, private};
use crate::tagged::touch;
use crate::x86::{Do, load, rig, x86};
use shootdown_machine::arm64::Desc;
use shootdown_machine::x86::{self, Invlpgb, NOFLUSH, PCIDE, PGE};
use shootdown_machine::{Arch, Boot, Config, Event, Memory, Outcome};

/// What a CPU refuses: how often, among the events.
fn refused(rig: &Rig) -> usize {
    let events = rig.take_events();
    let illegal = |e: &&Event| matches!(e, Event::Illegal { .. });
    events.iter().filter(illegal).count()
}

/// B-39.
#[test]
fn a_pcid_without_pcids_is_refused() {
    let rows: &[(Do, bool)] = &[
        (|c| c.invpcid_addr(1, 0x0), true),
        (|c| c.invpcid_addr(0, 0x0), false),
        (|c| c.invpcid_single(1), true),
        (|c| c.invpcid_single(0), false),
        (|c| c.invpcid_all(), false),
        (|c| c.invlpgb(Invlpgb::Pcid(1)), true),
        (|c| c.invlpgb(Invlpgb::Pcid(0)), false),
        (|c| c.invlpgb(Invlpgb::Every(0x0, 1)), false),
        (|c| c.invlpgb(Invlpgb::NonGlobal), false),
        (|c| c.write_cr3(NOFLUSH | 0x1000), true),
        (|c| c.write_cr3(0x1000), false),
    ];
    for (i, (act, illegal)) in rows.iter().enumerate() {
        for pcids in [false, true] {
            let rig = Rig::new(x86());
            rig.run(rig.cpu(0).write_cr4(if pcids { PCIDE } else { 0 }));
            rig.run(act(rig.cpu(0)));
            assert_eq!(refused(&rig) == 1, *illegal && !pcids, "row {i}");
        }
    }
    let rig = Rig::new(x86());
    rig.run(rig.cpu(0).write_cr3(x86::cr3(rig.root(A), 3)));
    rig.run(rig.cpu(0).write_cr4(PCIDE));
    assert_eq!(refused(&rig), 1, "bits 11:0 of CR3 must be clear");
}

/// Which steps of a CPU put what it has stored into memory.
#[test]
fn serializing_instructions_drain_the_store_buffer() {
    let rows: &[(Do, bool)] = &[
        (|c| c.write_cr3(0x1000), true),
        (|c| c.invlpg(0x0), true),
        (|c| c.invpcid_single(1), true),
        (|c| c.write_cr4(PCIDE | PGE), true),
        (|c| c.tlbsync(), true),
        (|c| c.invlpgb(Invlpgb::All), false),
    ];
    for (i, (act, drains)) in rows.iter().enumerate() {
        let rig = rig(Config {
            memory: Memory::Tso,
            ..x86()
        });
        load(&rig, 0, A, 1, 0);
        let pte = rig.pte(A, 0x1000);
        rig.run(rig.cpu(0).pte_write(pte, Desc::INVALID));
        assert_ne!(rig.desc(pte), Desc::INVALID, "it waits");
        rig.run(act(rig.cpu(0)));
        assert_eq!(rig.desc(pte) == Desc::INVALID, *drains, "row {i}");
    }
}

/// B-33: a CPU says that it uses a space, and walks; another takes a page away, and looks who
/// uses the space. With plain stores, neither sees the other's.
#[test]
fn a_mask_and_a_walk_are_ordered_by_locked_operations_only() {
    for (locked, missed) in [(false, true), (true, false)] {
        let rig = rig(Config {
            memory: Memory::Tso,
            ..x86()
        });
        let mask = Boot::new(&rig.machine, None).var("mm_cpumask", 0u64);
        let pte = rig.pte(A, 0x1000);
        let cr3 = x86::cr3(rig.root(A), 1) | NOFLUSH;
        rig.run(rig.cpu(1).write_cr3(cr3));
        if locked {
            rig.run(mask.fetch_or(rig.cpu(1), 2));
        } else {
            rig.run(mask.write(rig.cpu(1), 2));
        }
        rig.run(rig.cpu(0).pte_write(pte, Desc::INVALID));
        if locked {
            rig.run(rig.cpu(0).smp_mb());
        }
        let seen = rig.run(mask.read(rig.cpu(0)));
        let stale = touch(&rig, 1, 0x1000) == Outcome::Done;
        assert_eq!(seen == 0 && stale, missed);
    }
}

#[test]
fn an_interrupt_and_a_page_fault_drain_the_store_buffer() {
    let rig = rig(Config {
        memory: Memory::Tso,
        ..x86()
    });
    load(&rig, 0, A, 1, 0);
    let (one, two) = (rig.pte(A, 0x1000), rig.pte(A, 0x0));
    rig.run(rig.cpu(1).send_ipi(0, 7));
    rig.hardware(|s| s.deliver_ipi(0));
    rig.run(rig.cpu(0).pte_write(one, Desc::INVALID));
    assert_ne!(rig.desc(one), Desc::INVALID);
    rig.hardware(|s| s.take_ipi(0));
    assert_eq!(rig.desc(one), Desc::INVALID);
    rig.run(rig.cpu(0).pte_write(two, Desc::INVALID));
    assert_eq!(
        touch(&rig, 0, 0x0),
        Outcome::Done,
        "the walker does not see it"
    );
    assert_ne!(rig.desc(two), Desc::INVALID);
    assert_eq!(touch(&rig, 0, 0x1000), Outcome::Translation);
    assert_eq!(rig.desc(two), Desc::INVALID);
}

/// A machine of this architecture has no weaker memory than TSO.
#[test]
fn memory_is_at_most_tso() {
    let memory = |arch| {
        let config = Config {
            arch,
            memory: Memory::Arm,
            ..private()
        };
        Rig::new(config).machine.state().config.memory
    };
    assert_eq!(memory(Arch::X86), Memory::Tso);
    assert_eq!(memory(Arch::Riscv), Memory::Arm);
}
