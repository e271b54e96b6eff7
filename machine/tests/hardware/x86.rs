// SPDX-License-Identifier: MIT OR Apache-2.0
//! x86: PCIDs, CR3, CR4, INVLPG, INVPCID, INVLPGB and TLBSYNC (Intel SDM vol. 3, 4.10; AMD APM
//! vol. 3).

use crate::rig::{A, B, Rig, private};
use crate::tagged::{EVERYTHING, has, touch, without};
use shootdown_machine::arm64::Desc;
use shootdown_machine::x86::{self, GLOBAL, Invlpgb, NOFLUSH, PCIDE, PGE};
use shootdown_machine::{Arch, Config, Cpu, Space, Step, Switch, Switches};

pub fn x86() -> Config {
    Config {
        arch: Arch::X86,
        cpus: 2,
        ..private()
    }
}

/// CPUs with PCIDs and global pages.
pub fn rig(config: Config) -> Rig {
    let rig = Rig::new(config);
    let cpus = rig.machine.state().config.cpus;
    for cpu in 0..cpus {
        rig.run(rig.cpu(cpu).write_cr4(PCIDE | PGE));
    }
    rig
}

pub fn load(rig: &Rig, cpu: u8, space: Space, pcid: u16, keep: u64) {
    let cr3 = x86::cr3(rig.root(space), pcid) | keep;
    rig.run(rig.cpu(cpu).write_cr3(cr3));
}

/// CPUs 0 and 1 have, of A under PCID 1: 0x0, 0x1000 (global), 0x4000 and a table; of B under
/// PCID 2: 0x0 and a table. PCID 1 is loaded.
pub fn filled(config: Config) -> Rig {
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

pub type Do = fn(Cpu<'_>) -> Step<'_, ()>;

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
