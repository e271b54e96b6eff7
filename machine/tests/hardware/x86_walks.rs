// SPDX-License-Identifier: MIT OR Apache-2.0
//! x86: what walks read and mark, what ends them, and what page faults remove.

use crate::rig::Rig;
use crate::rig::{A, B};
use crate::tagged::{has, touch, without};
use crate::x86::{Do, filled, load, rig, x86};
use shootdown_machine::arm64::{Desc, Stage};
use shootdown_machine::x86::{self, NOFLUSH};
use shootdown_machine::{Access, Bbm, Config, Outcome, Pick, Va};

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
