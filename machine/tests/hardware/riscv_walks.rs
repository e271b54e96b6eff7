// SPDX-License-Identifier: MIT OR Apache-2.0
//! RISC-V: entries that fault, and invalid ones that are cached (privileged specification, "Virtual
//! Address Translation Process", "Svvptc").

use crate::rig::{A, Rig};
use crate::riscv::{fence, load, riscv};
use crate::tagged::touch;
use shootdown_machine::arm64::{Desc, Stage};
use shootdown_machine::riscv::{self, Fence};
use shootdown_machine::{Access, Config, Domain, Outcome, Pick, Switch, Switches};

fn svvptc(on: bool) -> Config {
    Config {
        switches: Switches::default().with(Switch::Svvptc, on),
        ..riscv()
    }
}

/// Hart 0 has found nothing at 0x1000 of A, and the page is there now.
fn mapped_late(config: Config) -> Rig {
    let rig = Rig::new(config);
    load(&rig, 0, A, 1);
    let pte = rig.pte(A, 0x1000);
    let desc = rig.desc(pte);
    rig.set(pte, Desc::INVALID);
    rig.walk(0, 0x1000, None);
    rig.set(pte, desc);
    rig
}

#[test]
fn an_invalid_entry_may_be_cached_and_faults_until_a_fence() {
    let rig = mapped_late(riscv());
    for _ in 0..2 {
        assert_eq!(touch(&rig, 0, 0x1000), Outcome::Translation);
    }
    assert_eq!(
        touch(&rig, 0, 0x0),
        Outcome::Done,
        "elsewhere it may be valid"
    );
    fence(&rig, 0, Fence::Both(0x1000, 1));
    assert_eq!(touch(&rig, 0, 0x1000), Outcome::Done);
}

#[test]
fn with_svvptc_it_is_not() {
    let rig = mapped_late(svvptc(true));
    assert_eq!(touch(&rig, 0, 0x1000), Outcome::Done);
}

#[test]
fn what_removes_a_cached_invalid_entry() {
    let fences = [
        (Fence::All, true),
        (Fence::Asid(1), true),
        (Fence::Asid(2), false),
        (Fence::Addr(0x1000), true),
        (Fence::Addr(0x0), false),
        (Fence::Both(0x1000, 2), false),
    ];
    for (what, gone) in fences {
        let rig = mapped_late(Config {
            domain: Domain::Smt,
            ..riscv()
        });
        fence(&rig, 1, what);
        assert_eq!(
            touch(&rig, 0, 0x1000),
            Outcome::Translation,
            "on another hart"
        );
        fence(&rig, 0, what);
        assert_eq!(touch(&rig, 0, 0x1000) == Outcome::Done, gone, "{what:?}");
    }
    let rig = mapped_late(riscv());
    assert!(rig.hardware(|s| s.evict(0, Some(0x1000))));
    assert_eq!(
        touch(&rig, 0, 0x1000),
        Outcome::Done,
        "it is evicted like any entry"
    );
}

#[test]
fn a_cached_invalid_entry_is_for_its_asid_and_hart_and_covers_what_its_level_does() {
    let rig = mapped_late(riscv());
    load(&rig, 0, A, 2);
    assert_eq!(touch(&rig, 0, 0x1000), Outcome::Done);
    load(&rig, 1, A, 1);
    assert_eq!(touch(&rig, 1, 0x1000), Outcome::Done);
    let rig = Rig::new(riscv());
    load(&rig, 0, A, 1);
    rig.walk(0, 0x8000, None);
    let pmd = rig.root(A) + 2 * 8;
    rig.set(pmd, riscv::leaf(rig.pa(A, 0x4000), true));
    assert_eq!(touch(&rig, 0, 0x9000), Outcome::Translation);
    fence(&rig, 0, Fence::Addr(0x9000));
    assert_eq!(touch(&rig, 0, 0x9000), Outcome::Done);
}

#[test]
fn of_a_valid_and_an_invalid_entry_either_may_answer() {
    for (pick, want) in [
        (Pick::Oldest, Outcome::Done),
        (Pick::Newest, Outcome::Translation),
    ] {
        let rig = Rig::new(riscv());
        load(&rig, 0, A, 1);
        touch(&rig, 0, 0x1000);
        rig.set(rig.pte(A, 0x1000), Desc::INVALID);
        rig.walk(0, 0x1000, None);
        rig.hardware(|s| s.cpus[0].pick = pick);
        assert_eq!(touch(&rig, 0, 0x1000), want);
    }
}

#[test]
fn a_store_to_a_clean_page_faults() {
    let rig = Rig::new(riscv());
    load(&rig, 0, A, 1);
    let pte = rig.pte(A, 0x1000);
    rig.set(pte, Desc(rig.desc(pte).0 & !riscv::DIRTY));
    assert_eq!(touch(&rig, 0, 0x1000), Outcome::Done);
    let write = rig.run(rig.cpu(0).access(0x1000, Access::Write));
    assert_eq!(write, Outcome::Permission);
    assert_eq!(rig.desc(pte).0 & riscv::DIRTY, 0);
}

#[test]
fn reserved_and_misplaced_entries_fault() {
    let rig = Rig::new(svvptc(true));
    load(&rig, 0, A, 1);
    let (pte, pa) = (rig.pte(A, 0x1000), rig.pa(A, 0x1000));
    let rw = rig.desc(pte);
    let below = Desc(riscv::table(pa).0 | riscv::ACCESSED); // the last level
    for (desc, want) in [
        (Desc(rw.0 & !riscv::READ), Outcome::Translation), // W without R
        (below, Outcome::Translation),
        (Desc(rw.0 & !riscv::ACCESSED), Outcome::Translation),
        (Desc(rw.0 & !riscv::VALID), Outcome::Translation),
        (riscv::with_writable(rw, false), Outcome::Done),
    ] {
        rig.set(pte, desc);
        assert_eq!(touch(&rig, 0, 0x1000), want);
    }
    assert_eq!(rig.leaves(0, Stage::One), [0x1000]);
}
