// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hardware management of the access flag and of dirty state (FEAT_HAFDBS; Arm ARM, D8.5.4
//! to D8.5.6): what walkers write to the tables, when, and what they must not overwrite.

use crate::rig::{A, Rig, by_addr, flush, poll, private};
use core::pin::pin;
use shootdown_machine::arm64::{Desc, Kind, Stage};
use shootdown_machine::{Access, Config, Event, Outcome, Switch, Switches};

const VA: u64 = 0x1000;

fn config(on: bool) -> Config {
    Config {
        switches: Switches::default().with(Switch::HwAfDbm, on),
        ..private()
    }
}

fn managed(stage: Stage) -> Rig {
    let rig = match stage {
        Stage::One => Rig::new(config(true)),
        Stage::Two => Rig::guests(config(true)),
    };
    rig.run(rig.load(rig.cpu(0), A, 1));
    rig
}

/// Changes the descriptor of [`VA`].
fn edit(rig: &Rig, change: impl Fn(Desc) -> Desc) {
    let pte = rig.pte(A, VA);
    rig.set(pte, change(rig.desc(pte)));
}

fn now(rig: &Rig) -> Desc {
    rig.desc(rig.pte(A, VA))
}

/// A page that a store may make dirty, and that is clean.
fn clean(stage: Stage) -> impl Fn(Desc) -> Desc {
    move |desc| desc.with_writable(stage, false).with_dirtiable(true)
}

fn access(rig: &Rig, access: Access) -> Outcome {
    rig.run(rig.cpu(0).access(VA, access))
}

/// Descriptors that hardware has changed since events were last taken: from what to what.
fn marked(rig: &Rig) -> Vec<(Desc, Desc)> {
    let events = rig.take_events().into_iter();
    let of = |event| match event {
        Event::Marked { old, new, .. } => Some((old, new)),
        Event::Pte { .. } => panic!("no program has changed a descriptor"),
        _ => None,
    };
    events.filter_map(of).collect()
}

#[test]
fn a_walk_sets_the_access_flag_if_the_switch_is_on() {
    for (on, want) in [(true, Outcome::Done), (false, Outcome::Translation)] {
        let rig = Rig::new(config(on));
        rig.run(rig.load(rig.cpu(0), A, 1));
        edit(&rig, |desc| desc.with_accessed(false));
        rig.take_events();
        assert_eq!(access(&rig, Access::Read), want);
        assert_eq!(now(&rig).accessed(), on);
        assert_eq!(marked(&rig).len(), on as usize);
    }
}

#[test]
fn speculation_sets_it_too_before_anything_is_cached() {
    for stage in [Stage::One, Stage::Two] {
        let rig = managed(stage);
        edit(&rig, |desc| desc.with_accessed(false));
        let young = now(&rig);
        rig.walk(0, VA, Some(3)); // begun, table and leaf read
        assert_eq!(now(&rig), young, "that is a step of its own");
        rig.walk(0, VA, Some(1));
        assert_eq!(now(&rig), young.with_accessed(true));
        assert_eq!(rig.leaves(0, Stage::One), []);
        rig.walk(0, VA, Some(1));
        assert_eq!(rig.leaves(0, Stage::One), [VA]);
        let state = rig.machine.state();
        let leaves = state.tlb(0).entries.iter().filter(|e| e.leaf);
        assert!(leaves.into_iter().all(|e| e.desc.accessed()));
    }
}

#[test]
fn a_store_makes_a_clean_page_dirty_and_nothing_else_does() {
    for stage in [Stage::One, Stage::Two] {
        let rig = managed(stage);
        edit(&rig, clean(stage));
        let before = now(&rig);
        rig.walk(0, VA, None);
        assert_eq!(access(&rig, Access::Read), Outcome::Done);
        assert_eq!(now(&rig), before);
        rig.take_events();
        assert_eq!(access(&rig, Access::Write), Outcome::Done);
        let dirty = before.with_writable(stage, true);
        assert_eq!(marked(&rig), [(before, dirty)]);
        assert_eq!(now(&rig), dirty);
        assert_eq!(access(&rig, Access::Write), Outcome::Done);
        assert_eq!(marked(&rig), [], "once");
    }
}

#[test]
fn a_store_that_misses_the_tlb_does_so_too() {
    let rig = managed(Stage::One);
    edit(&rig, |desc| clean(Stage::One)(desc).with_accessed(false));
    assert_eq!(access(&rig, Access::Write), Outcome::Done);
    assert!(now(&rig).accessed() && now(&rig).writable(Stage::One));
}

#[test]
fn without_dbm_or_without_the_switch_a_clean_page_faults() {
    for (on, dbm) in [(true, false), (false, true)] {
        let rig = Rig::new(config(on));
        rig.run(rig.load(rig.cpu(0), A, 1));
        edit(&rig, |desc| clean(Stage::One)(desc).with_dirtiable(dbm));
        let before = now(&rig);
        assert_eq!(access(&rig, Access::Write), Outcome::Permission);
        assert_eq!(now(&rig), before);
    }
}

/// Hardware updates only what is still what it has read: software's exchange is not lost.
#[test]
fn a_descriptor_that_has_changed_since_is_not_overwritten() {
    let rig = managed(Stage::One);
    edit(&rig, |desc| desc.with_accessed(false));
    rig.walk(0, VA, Some(3)); // begun, table and leaf read
    let pte = rig.pte(A, VA);
    rig.run(rig.cpu(1).pte_xchg(pte, Desc::INVALID));
    rig.walk(0, VA, Some(1));
    assert_eq!(rig.desc(pte), Desc::INVALID);
    rig.walk(0, VA, Some(5));
    assert_eq!(rig.leaves(0, Stage::One), []);
}

/// And the other way round: what software compares with is what hardware has made of it.
#[test]
fn a_cmpxchg_fails_if_hardware_was_faster() {
    for (store, want) in [(false, true), (true, false)] {
        let rig = managed(Stage::One);
        edit(&rig, clean(Stage::One));
        let cpu = rig.cpu(1);
        let pte = rig.pte(A, VA);
        let old = rig.run(cpu.pte_read(pte));
        if store {
            access(&rig, Access::Write);
        }
        let was = rig.run(cpu.pte_cmpxchg(pte, old, Desc::INVALID));
        assert_eq!(was == old, want);
        assert_eq!(rig.desc(pte) == Desc::INVALID, want);
    }
}

/// Why `ptep_set_wrprotect` is a loop: a plain store loses that the page is dirty.
#[test]
fn a_plain_store_after_a_load_loses_the_dirty_state() {
    let rig = managed(Stage::One);
    edit(&rig, clean(Stage::One));
    let cpu = rig.cpu(1);
    let pte = rig.pte(A, VA);
    let old = rig.run(cpu.pte_read(pte));
    assert_eq!(access(&rig, Access::Write), Outcome::Done);
    rig.run(cpu.pte_write(pte, old.with_accessed(false)));
    assert!(!rig.desc(pte).writable(Stage::One));
}

/// The entry says clean, but the descriptor is gone: there is nothing to mark.
#[test]
fn a_stale_clean_entry_does_not_bring_a_descriptor_back() {
    let rig = managed(Stage::One);
    edit(&rig, clean(Stage::One));
    rig.walk(0, VA, None);
    let pte = rig.pte(A, VA);
    rig.set(pte, Desc::INVALID);
    assert_eq!(access(&rig, Access::Write), Outcome::Translation);
    assert_eq!(rig.desc(pte), Desc::INVALID);
}

/// Making a page clean needs a TLBI, or stores go on unnoticed.
#[test]
fn a_stale_dirty_entry_hides_stores() {
    for (flushed, want) in [(false, false), (true, true)] {
        let rig = managed(Stage::One);
        edit(&rig, |desc| desc.with_dirtiable(true));
        assert_eq!(access(&rig, Access::Write), Outcome::Done);
        edit(&rig, clean(Stage::One));
        if flushed {
            rig.run(flush(rig.cpu(1), by_addr(Kind::Vale1is, VA)));
        }
        assert_eq!(access(&rig, Access::Write), Outcome::Done);
        assert_eq!(now(&rig).writable(Stage::One), want, "seen in the table");
    }
}

#[test]
fn a_tlbi_ends_a_walk_that_was_about_to_mark() {
    let rig = managed(Stage::One);
    edit(&rig, clean(Stage::One));
    let before = now(&rig);
    let mut store = pin!(rig.cpu(0).access(VA, Access::Write));
    // Announced, looked up, table and leaf read; the mark is next.
    assert!(poll(store.as_mut(), 4).is_none());
    rig.run(flush(rig.cpu(1), by_addr(Kind::Vale1is, VA)));
    assert_eq!(now(&rig), before);
    assert_eq!(poll(store.as_mut(), 100), Some(Outcome::Done));
    assert!(now(&rig).writable(Stage::One));
}

/// Setting the flag in a stage-1 table is a store to the page that the table is in.
#[test]
fn a_stage_1_mark_needs_the_permission_of_stage_2() {
    let table = 0x0; // the IPA of the guest's last table
    for (change, want) in [
        (None, Outcome::Done),
        (Some(false), Outcome::Permission),
        (Some(true), Outcome::Done),
    ] {
        let rig = Rig::nested(config(true));
        let at = rig.pa(A, table) + 8;
        rig.set(at, rig.desc(at).with_accessed(false));
        let pte = rig.pte(A, table);
        if let Some(dbm) = change {
            let desc = rig.desc(pte).with_writable(Stage::Two, false);
            rig.set(pte, desc.with_dirtiable(dbm));
        }
        rig.run(rig.load(rig.cpu(0), A, 7));
        assert_eq!(access(&rig, Access::Read), want, "{change:?}");
        assert_eq!(rig.desc(at).accessed(), want == Outcome::Done);
        let dirty = rig.desc(pte).writable(Stage::Two);
        assert_eq!(dirty, want == Outcome::Done);
    }
}

#[test]
fn a_store_marks_both_stages_or_none() {
    for (second, want) in [(true, true), (false, false)] {
        let rig = Rig::nested(config(true));
        let first = rig.pa(A, 0x0) + 8;
        rig.set(first, clean(Stage::One)(rig.desc(first)));
        let pte = rig.pte(A, 0x5000);
        let desc = rig.desc(pte).with_writable(Stage::Two, false);
        rig.set(pte, desc.with_dirtiable(second));
        rig.run(rig.load(rig.cpu(0), A, 7));
        rig.walk(0, VA, None);
        assert_eq!(access(&rig, Access::Write) == Outcome::Done, want);
        assert_eq!(rig.desc(first).writable(Stage::One), want);
        assert_eq!(rig.desc(pte).writable(Stage::Two), want);
    }
}
