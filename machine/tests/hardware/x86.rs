// SPDX-License-Identifier: MIT OR Apache-2.0
//! x86: PCIDs, CR3, INVLPG, INVPCID, INVLPGB and TLBSYNC (Intel SDM vol. 3, 4.10; AMD APM
//! vol. 2 and 3).

use crate::rig::{A, B, Rig, private};
use shootdown_machine::arm64::{Desc, Stage};
use shootdown_machine::x86::{self, GLOBAL, Invlpgb, NOFLUSH, PCIDE, PGE};
use shootdown_machine::{
    Access, Arch, Bbm, Boot, Config, Cpu, Event, Memory, Outcome, Pick, Space, Step, Switch,
    Switches, Va,
};

pub fn x86() -> Config {
    Config {
        arch: Arch::X86,
        cpus: 2,
        ..private()
    }
}

/// CPUs with PCIDs and global pages.
fn rig(config: Config) -> Rig {
    let rig = Rig::new(config);
    let cpus = rig.machine.state().config.cpus;
    for cpu in 0..cpus {
        rig.run(rig.cpu(cpu).write_cr4(PCIDE | PGE));
    }
    rig
}

fn load(rig: &Rig, cpu: u8, space: Space, pcid: u16, keep: u64) {
    let cr3 = x86::cr3(rig.root(space), pcid) | keep;
    rig.run(rig.cpu(cpu).write_cr3(cr3));
}

fn touch(rig: &Rig, cpu: u8, va: Va) -> Outcome {
    rig.run(rig.cpu(cpu).access(va, Access::Read))
}

/// The entries of a CPU, leaves and tables: PCID and first address; `G` for global ones.
fn has(rig: &Rig, cpu: u8) -> Vec<String> {
    let state = rig.machine.state();
    let entries = state.tlb(cpu).entries.iter().filter(|e| e.cpu == cpu);
    let name = |e: &shootdown_machine::Entry| {
        let kind = match (e.leaf, e.global) {
            (false, _) => "table",
            (true, true) => "G",
            (true, false) => "leaf",
        };
        format!("{kind} {} {:#x}", e.asid, e.va)
    };
    let mut has: Vec<String> = entries.map(name).collect();
    has.sort();
    has
}

/// CPUs 0 and 1 have, of A under PCID 1: 0x0, 0x1000 (global), 0x4000 and a table; of B under
/// PCID 2: 0x0 and a table. PCID 1 is loaded.
fn filled(config: Config) -> Rig {
    let rig = rig(config);
    let pte = rig.pte(A, 0x1000);
    rig.set(pte, Desc(rig.desc(pte).0 | GLOBAL));
    for cpu in 0..2 {
        load(&rig, cpu, B, 2, 0);
        touch(&rig, cpu, 0x0);
        load(&rig, cpu, A, 1, 0);
        for va in [0x0, 0x1000, 0x4000] {
            touch(&rig, cpu, va);
        }
        assert_eq!(has(&rig, cpu), EVERYTHING);
    }
    rig
}

const EVERYTHING: [&str; 6] = [
    "G 1 0x1000",
    "leaf 1 0x0",
    "leaf 1 0x4000",
    "leaf 2 0x0",
    "table 1 0x0",
    "table 2 0x0",
];

fn without(gone: &[&str]) -> Vec<&'static str> {
    let left = EVERYTHING.iter().copied();
    left.filter(|e| !gone.contains(e)).collect()
}

#[test]
fn entries_are_used_under_their_pcid_only_and_global_ones_under_any() {
    let rig = filled(x86());
    rig.take_events();
    load(&rig, 0, B, 2, NOFLUSH);
    rig.take_events();
    touch(&rig, 0, 0x0);
    touch(&rig, 0, 0x1000);
    assert_eq!(rig.seen(), [""; 0], "both hit");
    touch(&rig, 0, 0x4000);
    assert_ne!(rig.seen(), [""; 0], "that one is of PCID 1");
}

#[test]
fn without_pge_nothing_is_global() {
    for (cr4, want) in [(PCIDE | PGE, true), (PCIDE, false)] {
        let rig = rig(x86());
        rig.run(rig.cpu(0).write_cr4(cr4));
        let pte = rig.pte(A, 0x1000);
        rig.set(pte, Desc(rig.desc(pte).0 | GLOBAL));
        load(&rig, 0, A, 1, 0);
        touch(&rig, 0, 0x1000);
        assert_eq!(has(&rig, 0).contains(&"G 1 0x1000".to_owned()), want);
    }
}

type Do = fn(Cpu<'_>) -> Step<'_, ()>;

/// What each instruction removes on the CPU that executes it.
#[test]
fn every_instruction_removes_what_it_names_and_nothing_else() {
    const OWN: &[&str] = &["leaf 1 0x0", "leaf 1 0x4000", "table 1 0x0"];
    const OTHER: &[&str] = &["leaf 2 0x0", "table 2 0x0"];
    const LOCALS: &[&str] = &[
        "leaf 1 0x0",
        "leaf 1 0x4000",
        "leaf 2 0x0",
        "table 1 0x0",
        "table 2 0x0",
    ];
    let rows: &[(&str, Do, &[&str])] = &[
        ("invlpg", |c| c.invlpg(0x0), &["leaf 1 0x0", "table 1 0x0"]),
        // For an address, every table pointer of the PCID goes.
        (
            "invlpg",
            |c| c.invlpg(0x5000),
            &["leaf 1 0x4000", "table 1 0x0"],
        ),
        (
            "invlpg",
            |c| c.invlpg(0x1000),
            &["G 1 0x1000", "table 1 0x0"],
        ),
        ("type 0", |c| c.invpcid_addr(2, 0x0), OTHER),
        ("type 0", |c| c.invpcid_addr(1, 0x5000), &["leaf 1 0x4000"]),
        ("type 0", |c| c.invpcid_addr(1, 0x1000), &["table 1 0x0"]),
        ("type 1", |c| c.invpcid_single(1), OWN),
        ("type 1", |c| c.invpcid_single(2), OTHER),
        ("type 2", |c| c.invpcid_all(), &EVERYTHING),
        ("type 3", |c| c.invpcid_all_nonglobals(), LOCALS),
        ("PGE", |c| c.write_cr4(PCIDE), &EVERYTHING),
        ("cr4", |c| c.write_cr4(PCIDE | PGE), &[]),
        ("PCIDE", |c| c.write_cr4(PGE), &EVERYTHING),
    ];
    for (name, act, gone) in rows {
        let rig = filled(x86());
        rig.run(act(rig.cpu(0)));
        assert_eq!(has(&rig, 0), without(gone), "{name}");
        assert_eq!(has(&rig, 1), EVERYTHING, "{name} is local");
    }
}

#[test]
fn mov_cr3_removes_what_is_of_the_pcid_that_it_loads() {
    for (keep, gone) in [(0, &["leaf 2 0x0", "table 2 0x0"][..]), (NOFLUSH, &[])] {
        let rig = filled(x86());
        load(&rig, 0, B, 2, keep);
        let cr3 = rig.machine.state().cpus[0].regs.cr3;
        assert_eq!(cr3, x86::cr3(rig.root(B), 2), "without the bit");
        assert_eq!(has(&rig, 0), without(gone));
        assert_eq!(has(&rig, 1), EVERYTHING);
    }
}

#[test]
fn without_pcids_mov_cr3_removes_all_but_global_entries() {
    let rig = Rig::new(x86());
    rig.run(rig.cpu(0).write_cr4(PGE));
    let pte = rig.pte(A, 0x1000);
    rig.set(pte, Desc(rig.desc(pte).0 | GLOBAL));
    load(&rig, 0, A, 0, 0);
    touch(&rig, 0, 0x0);
    touch(&rig, 0, 0x1000);
    load(&rig, 0, B, 0, 0);
    assert_eq!(has(&rig, 0), ["G 0 0x1000"]);
}

/// B-43.
#[test]
fn an_erratum_keeps_global_entries_from_invlpg_while_there_are_pcids() {
    for (erratum, pcids, kept) in [
        (true, true, true),
        (true, false, false),
        (false, true, false),
    ] {
        let rig = Rig::new(Config {
            switches: Switches::default().with(Switch::KeepGlobal, erratum),
            ..x86()
        });
        let cr4 = if pcids { PCIDE | PGE } else { PGE };
        rig.run(rig.cpu(0).write_cr4(cr4));
        let pte = rig.pte(A, 0x1000);
        rig.set(pte, Desc(rig.desc(pte).0 | GLOBAL));
        load(&rig, 0, A, 0, 0);
        touch(&rig, 0, 0x0);
        touch(&rig, 0, 0x1000);
        rig.run(rig.cpu(0).invlpg(0x1000));
        assert_eq!(has(&rig, 0).contains(&"G 0 0x1000".to_owned()), kept);
        rig.run(rig.cpu(0).invlpg(0x0));
        assert!(!has(&rig, 0).contains(&"leaf 0 0x0".to_owned()));
    }
}

#[test]
fn what_is_not_present_is_not_cached() {
    let rig = rig(x86());
    load(&rig, 0, A, 1, 0);
    let pte = rig.pte(A, 0x1000);
    let desc = rig.desc(pte);
    rig.set(pte, Desc::INVALID);
    rig.walk(0, 0x1000, None);
    assert_eq!(touch(&rig, 0, 0x1000), Outcome::Translation);
    rig.set(pte, desc);
    assert_eq!(touch(&rig, 0, 0x1000), Outcome::Done, "without any flush");
}

#[test]
fn the_walker_marks_what_it_uses_as_accessed() {
    let rig = rig(x86());
    load(&rig, 0, A, 1, 0);
    for pa in [rig.root(A), rig.pte(A, 0x1000)] {
        rig.set(pa, Desc(rig.desc(pa).0 & !x86::ACCESSED));
    }
    assert_eq!(touch(&rig, 0, 0x1000), Outcome::Done);
    for pa in [rig.root(A), rig.pte(A, 0x1000)] {
        assert_ne!(rig.desc(pa).0 & x86::ACCESSED, 0);
    }
    let other = rig.pte(A, 0x0);
    rig.set(other, Desc(rig.desc(other).0 & !x86::ACCESSED));
    touch(&rig, 0, 0x1000);
    assert_eq!(rig.desc(other).0 & x86::ACCESSED, 0, "nobody used it");
}

fn dirty(rig: &Rig, va: Va) -> bool {
    rig.desc(rig.pte(A, va)).0 & x86::DIRTY != 0
}

#[test]
fn a_store_marks_its_page_as_dirty_and_no_other_access_does() {
    let rig = rig(x86());
    load(&rig, 0, A, 1, 0);
    let clean = |va| {
        let pte = rig.pte(A, va);
        rig.set(pte, Desc(rig.desc(pte).0 & !x86::DIRTY));
    };
    let write = |va| rig.run(rig.cpu(0).access(va, Access::Write));
    for va in [0x1000, 0x4000] {
        clean(va);
        rig.walk(0, va, None);
        touch(&rig, 0, va);
        assert!(!dirty(&rig, va));
        assert_eq!(write(va), Outcome::Done, "it was cached as clean");
        assert!(dirty(&rig, va));
    }
    rig.run(rig.cpu(0).invlpg(0x0));
    rig.set(rig.root(A), Desc(rig.desc(rig.root(A)).0 & !x86::DIRTY));
    assert_eq!(write(0x0), Outcome::Done);
    assert_eq!(rig.desc(rig.root(A)).0 & x86::DIRTY, 0, "tables are not");
    // Once it is cached as dirty, the walker does not look again.
    clean(0x1000);
    assert_eq!(write(0x1000), Outcome::Done);
    assert!(!dirty(&rig, 0x1000));
}

/// Kernels rely on it: the exchange that takes a page away tells whether it was dirty.
#[test]
fn a_page_that_is_not_there_or_read_only_is_not_marked_as_dirty() {
    for (there, want) in [(false, Outcome::Translation), (true, Outcome::Permission)] {
        let rig = rig(x86());
        load(&rig, 0, A, 1, 0);
        let pte = rig.pte(A, 0x1000);
        let clean = Desc(rig.desc(pte).0 & !x86::DIRTY);
        rig.set(pte, clean);
        touch(&rig, 0, 0x1000);
        let now = if there {
            x86::with_writable(clean, false)
        } else {
            Desc::INVALID
        };
        rig.set(pte, now);
        assert_eq!(rig.run(rig.cpu(0).access(0x1000, Access::Write)), want);
        assert_eq!(rig.desc(pte), now);
    }
}

/// Why a permission may be relaxed without a flush: the fault does not come again.
#[test]
fn a_page_fault_removes_what_is_cached_for_its_address() {
    let rig = filled(x86());
    let pte = rig.pte(A, 0x0);
    let rw = rig.desc(pte);
    rig.set(pte, x86::with_writable(rw, false));
    rig.run(rig.cpu(0).invlpg(0x0));
    touch(&rig, 0, 0x0);
    rig.set(pte, rw);
    let write = || rig.run(rig.cpu(0).access(0x0, Access::Write));
    assert_eq!(write(), Outcome::Permission);
    assert_eq!(has(&rig, 0), without(&["leaf 1 0x0", "table 1 0x0"]));
    assert_eq!(write(), Outcome::Done);
}

#[test]
fn several_entries_never_conflict() {
    for pick in [Pick::Abort, Pick::Mix, Pick::Oldest, Pick::Newest] {
        let rig = rig(Config {
            bbm: Bbm::Level0,
            ..x86()
        });
        load(&rig, 0, A, 1, 0);
        touch(&rig, 0, 0x4000);
        let (pmd, ptes) = (rig.pte(A, 0x4000), rig.root(B));
        let small = x86::leaf(3, rig.pa(A, 0x4000), false);
        rig.set(ptes, small);
        rig.set(pmd, x86::table(ptes));
        rig.walk(0, 0x4000, None);
        assert_eq!(rig.leaves(0, Stage::One), [0x4000, 0x4000]);
        rig.hardware(|s| s.cpus[0].pick = pick);
        let outcome = rig.run(rig.cpu(0).access(0x4000, Access::Write));
        let newest = pick == Pick::Newest;
        let want = if newest {
            Outcome::Permission
        } else {
            Outcome::Done
        };
        assert_eq!(outcome, want, "{pick:?}");
    }
}

#[test]
fn a_switch_ends_the_walk_of_the_context_that_it_leaves() {
    for (space, pcid, goes_on) in [(B, 2, false), (A, 1, true)] {
        let rig = rig(x86());
        load(&rig, 0, A, 1, 0);
        rig.walk(0, 0x1000, Some(1));
        load(&rig, 0, space, pcid, NOFLUSH);
        assert_eq!(rig.walking(0), goes_on);
    }
}

#[test]
fn an_invalidation_ends_the_walks_that_it_covers() {
    let rows: &[(Do, bool)] = &[
        (|c| c.invlpg(0x1000), true),
        (|c| c.invlpg(0x8000), true), // table pointers go, whatever the address
        (|c| c.invpcid_single(1), true),
        (|c| c.invpcid_single(2), false),
        (|c| c.invpcid_addr(1, 0x1000), true),
        (|c| c.invpcid_addr(1, 0x8000), false),
        (|c| c.invpcid_all_nonglobals(), true),
    ];
    for (act, ends) in rows {
        let rig = rig(x86());
        load(&rig, 0, A, 1, 0);
        rig.walk(0, 0x1000, Some(1));
        rig.run(act(rig.cpu(0)));
        assert_eq!(rig.walking(0), !ends);
    }
}

/// A kernel thread keeps the tables of the space before it: the walker goes on.
#[test]
fn a_lazy_cpu_walks_a_table_that_has_been_freed() {
    let rig = rig(x86());
    load(&rig, 0, A, 1, 0);
    let ptes = rig.pte(A, 0x0) & !0xfff;
    touch(&rig, 0, 0x0);
    rig.set(rig.root(A), Desc::INVALID);
    rig.run(rig.cpu(1).free(ptes));
    rig.take_events();
    assert!(rig.walk(0, 0x1000, None), "no user runs there");
    assert_eq!(rig.seen(), ["read One 3", "leaf One 0x1000"]);
    rig.run(rig.cpu(0).write_cr3(x86::cr3(rig.root(B), 0)));
    rig.set(rig.root(B), Desc::INVALID);
    rig.take_events();
    rig.walk(0, 0x1000, None);
    assert_eq!(rig.seen(), ["read One 2"], "it has been left");
}

#[test]
fn invlpgb_arrives_everywhere_and_tlbsync_waits_for_it() {
    let rig = filled(x86());
    rig.run(rig.cpu(0).invlpgb(Invlpgb::Pcid(2)));
    assert_eq!(
        has(&rig, 0),
        EVERYTHING,
        "not even on the CPU that issued it"
    );
    assert!(rig.hardware(|s| s.deliver(1, false)));
    let left = without(&["leaf 2 0x0", "table 2 0x0"]);
    assert_eq!(has(&rig, 1), left);
    rig.run(rig.cpu(1).tlbsync());
    assert_eq!(has(&rig, 0), EVERYTHING, "it is not CPU 1's");
    rig.run(rig.cpu(0).tlbsync());
    assert_eq!(has(&rig, 0), left);
}

#[test]
fn every_invlpgb_removes_what_it_names_and_nothing_else() {
    let addr = |pcid, va, pages, last| Invlpgb::Addr {
        pcid,
        va,
        pages,
        last,
    };
    const LOCALS: &[&str] = &[
        "leaf 1 0x0",
        "leaf 1 0x4000",
        "leaf 2 0x0",
        "table 1 0x0",
        "table 2 0x0",
    ];
    let rows: &[(Invlpgb, &[&str])] = &[
        (addr(1, 0x0, 1, false), &["leaf 1 0x0", "table 1 0x0"]),
        (addr(1, 0x0, 1, true), &["leaf 1 0x0"]),
        (addr(1, 0x0, 5, true), &["leaf 1 0x0", "leaf 1 0x4000"]),
        (addr(1, 0x1000, 1, true), &[]),
        (Invlpgb::Pcid(2), &["leaf 2 0x0", "table 2 0x0"]),
        (
            Invlpgb::Every(0x1000, 1),
            &["G 1 0x1000", "table 1 0x0", "table 2 0x0"],
        ),
        (Invlpgb::All, &EVERYTHING),
        (Invlpgb::NonGlobal, LOCALS),
    ];
    for (what, gone) in rows {
        let rig = filled(x86());
        rig.run(rig.cpu(1).invlpgb(*what));
        rig.run(rig.cpu(1).tlbsync());
        for cpu in 0..2 {
            assert_eq!(has(&rig, cpu), without(gone), "{what:?}");
        }
    }
}

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
