// SPDX-License-Identifier: MIT OR Apache-2.0
//! Speculative walks: begin, one read per level, insert (machine rule 4).

use crate::rig::{A, Rig, private};
use shootdown_machine::arm64::{Desc, Stage};
use shootdown_machine::{Access, Config, Event, Outcome};

/// What each step of a walk does: nothing is seen of it before.
fn steps(rig: &Rig, va: u64, want: &[&[&str]]) {
    rig.take_events();
    for (i, want) in want.iter().enumerate() {
        assert_eq!(rig.walking(0), i > 0, "before step {i}");
        assert!(rig.walk(0, va, Some(1)));
        assert_eq!(rig.seen(), *want, "step {i}");
    }
    assert!(!rig.walking(0), "the walk is over");
}

#[test]
fn two_levels_of_stage_1() {
    let rig = Rig::new(private());
    rig.run(rig.load(rig.cpu(0), A, 1));
    let want: &[&[&str]] = &[
        &[],
        &["read One 2", "table One 0x0"],
        &["read One 3"],
        &["leaf One 0x1000"],
    ];
    steps(&rig, 0x1000, want);
}

#[test]
fn three_levels_of_stage_1() {
    let rig = Rig::new(Config {
        levels: 3,
        ..private()
    });
    rig.run(rig.load(rig.cpu(0), A, 1));
    let want: &[&[&str]] = &[
        &[],
        &["read One 1", "table One 0x0"],
        &["read One 2", "table One 0x0"],
        &["read One 3"],
        &["leaf One 0x1000"],
    ];
    steps(&rig, 0x1000, want);
}

#[test]
fn a_block_is_found_a_level_higher() {
    let rig = Rig::new(private());
    rig.run(rig.load(rig.cpu(0), A, 1));
    let want: &[&[&str]] = &[&[], &["read One 2"], &["leaf One 0x4000"]];
    steps(&rig, 0x6000, want);
}

#[test]
fn stage_2_alone_gives_its_leaf_and_a_combined_one() {
    for levels in [2, 3] {
        let rig = Rig::guests(Config {
            levels,
            ..private()
        });
        rig.run(rig.load(rig.cpu(0), A, 1));
        let want: &[&[&str]] = &[
            &[],
            &["read Two 1", "table Two 0x0"],
            &["read Two 2", "table Two 0x0"],
            &["read Two 3"],
            &["leaf Two 0x1000", "leaf One 0x1000"],
        ];
        if levels == 3 {
            steps(&rig, 0x1000, want);
        } else {
            let shorter: Vec<_> = [&want[..1], &want[2..]].concat();
            steps(&rig, 0x1000, &shorter);
        }
    }
}

#[test]
fn a_whole_walk_replaces_the_one_in_flight() {
    let rig = Rig::new(private());
    rig.run(rig.load(rig.cpu(0), A, 1));
    rig.walk(0, 0x1000, Some(2));
    assert!(rig.walk(0, 0x4000, None));
    assert!(!rig.walking(0));
    assert_eq!(rig.leaves(0, Stage::One), [0x4000]);
}

#[test]
fn without_a_loaded_context_there_is_no_walk() {
    let rig = Rig::new(private());
    rig.take_events();
    assert!(!rig.walk(0, 0x1000, None) && !rig.walk(0, 0x1000, Some(1)));
    assert!(!rig.walking(0) && rig.seen().is_empty());
    rig.run(rig.load(rig.cpu(0), A, 1));
    assert!(rig.walk(0, 0x1000, None));
}

#[test]
fn an_access_walks_once_and_then_hits() {
    let rig = Rig::new(private());
    let cpu = rig.cpu(0);
    rig.run(rig.load(cpu, A, 1));
    rig.take_events();
    for first in [true, false] {
        assert_eq!(rig.run(cpu.access(0x1000, Access::Read)), Outcome::Done);
        assert_eq!(!rig.seen().is_empty(), first);
    }
}

#[test]
fn what_a_walk_speculated_serves_an_access() {
    let rig = Rig::new(private());
    let cpu = rig.cpu(0);
    rig.run(rig.load(cpu, A, 1));
    rig.walk(0, 0x1000, None);
    rig.take_events();
    assert_eq!(rig.run(cpu.access(0x1000, Access::Read)), Outcome::Done);
    let reads = |e: &Event| matches!(e, Event::WalkRead { .. });
    assert!(!rig.take_events().iter().any(reads));
}

/// Leaves as walks leave them after a descriptor is what it is.
fn cached(rig: &Rig, va: u64) -> Vec<u64> {
    rig.run(rig.load(rig.cpu(0), A, 1));
    rig.walk(0, va, None);
    rig.leaves(0, Stage::One)
}

#[test]
fn invalid_descriptors_are_never_cached() {
    let rig = Rig::new(private());
    assert_eq!(cached(&rig, 0x2000), [], "level 3");
    assert_eq!(cached(&rig, 0x8000), [], "level 2");
    // So that making one valid needs no invalidation.
    let leaf = rig.desc(rig.pte(A, 0x1000));
    rig.set(rig.pte(A, 0x1000) + 8, leaf);
    let outcome = rig.run(rig.cpu(0).access(0x2000, Access::Read));
    assert_eq!(outcome, Outcome::Done);
}

#[test]
fn busy_and_reserved_descriptors_are_invalid() {
    for desc in [Desc::BUSY, Desc::leaf(Stage::One, 2, 0x3000, true)] {
        let rig = Rig::new(private());
        rig.set(rig.pte(A, 0x1000), desc);
        assert_eq!(cached(&rig, 0x1000), []);
    }
}

#[test]
fn leaves_without_the_access_flag_are_never_cached() {
    let flag = 1 << 10;
    for (va, stage2) in [(0x1000, false), (0x4000, false), (0x1000, true)] {
        let rig = if stage2 {
            Rig::guests(private())
        } else {
            Rig::new(private())
        };
        let pte = rig.pte(A, va);
        let young = rig.desc(pte);
        rig.set(pte, Desc(young.0 & !flag));
        assert_eq!(cached(&rig, va), [], "{va:#x}");
        assert_eq!(rig.leaves(0, Stage::Two), []);
        let outcome = rig.run(rig.cpu(0).access(va, Access::Read));
        assert_eq!(outcome, Outcome::Translation);
        rig.set(pte, young);
        assert_eq!(cached(&rig, va), [va]);
    }
}
