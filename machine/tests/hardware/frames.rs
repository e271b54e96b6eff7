// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frames: whose they are, and what for.

use crate::rig::{A, B, Rig, private};
use shootdown_machine::arm64::{Desc, Stage};
use shootdown_machine::{Config, Event, Frame, Life, Memory, PAGE, Page, Use};

fn frame(rig: &Rig, pa: u64) -> Frame {
    rig.machine.state().mem.frame(pa)
}

fn life(rig: &Rig, space: shootdown_machine::Space) -> Life {
    rig.machine.state().life(space)
}

#[test]
fn a_frame_has_an_owner_and_a_type() {
    let rig = Rig::new(private());
    let (cpu, a, b) = (rig.cpu(0), life(&rig, A), life(&rig, B));
    let table = rig.run(cpu.alloc_table(A));
    let page = rig.run(cpu.alloc_page(B, Page(200)));
    let block = rig.run(cpu.alloc_block(A, Page(204)));
    assert_eq!(frame(&rig, table).usage, Use::Table(Some(a)));
    assert_eq!(frame(&rig, page).usage, Use::Page(b, Page(200)));
    for i in 0..4 {
        let usage = frame(&rig, block + i * PAGE).usage;
        assert_eq!(usage, Use::Page(a, Page(204 + i as u16)));
    }
    assert_eq!(frame(&rig, 0).usage, Use::Free, "frame 0 is nobody's");
}

#[test]
fn a_freed_frame_is_handed_out_again_and_shows_it() {
    let rig = Rig::new(private());
    let cpu = rig.cpu(0);
    let page = rig.run(cpu.alloc_page(A, Page(200)));
    let generation = frame(&rig, page).generation;
    rig.run(cpu.free(page));
    assert_eq!(frame(&rig, page).usage, Use::Free);
    assert_eq!(rig.run(cpu.alloc_table(B)), page);
    assert_eq!(frame(&rig, page).usage, Use::Table(Some(life(&rig, B))));
    assert!(frame(&rig, page).generation > generation);
}

#[test]
fn a_table_is_zeroed_when_it_is_handed_out_and_not_when_it_is_freed() {
    let rig = Rig::new(private());
    let cpu = rig.cpu(0);
    let table = rig.run(cpu.alloc_table(A));
    let desc = Desc::leaf(Stage::One, 3, 0x3000, true);
    rig.run(cpu.pte_write(table, desc));
    rig.run(cpu.free(table));
    assert_eq!(rig.desc(table), desc, "a stale path still finds it");
    rig.run(cpu.alloc_table(A));
    assert_eq!(rig.desc(table), Desc::INVALID);
}

#[test]
fn a_second_free_is_told_and_does_nothing() {
    let rig = Rig::new(private());
    let cpu = rig.cpu(0);
    let page = rig.run(cpu.alloc_page(A, Page(200)));
    let twice = |rig: &Rig| {
        let events = rig.take_events();
        events.iter().any(|e| matches!(e, Event::DoubleFree { .. }))
    };
    rig.run(cpu.free(page));
    assert!(!twice(&rig));
    rig.run(cpu.free(page));
    assert!(twice(&rig));
    let (one, two) = (rig.run(cpu.alloc_table(A)), rig.run(cpu.alloc_table(A)));
    assert_ne!(one, two, "it has not two owners");
}

#[test]
fn a_copied_page_is_marked_until_its_frame_changes_hands() {
    let rig = Rig::new(private());
    let cpu = rig.cpu(0);
    let from = rig.run(cpu.alloc_page(A, Page(200)));
    let to = rig.run(cpu.alloc_page(A, Page(201)));
    rig.run(cpu.copy_page(from, to));
    assert!(frame(&rig, from).moved && !frame(&rig, to).moved);
    rig.run(cpu.free(from));
    assert_eq!(rig.run(cpu.alloc_page(A, Page(202))), from);
    assert!(!frame(&rig, from).moved);
}

#[test]
fn a_new_root_begins_a_new_life() {
    let rig = Rig::new(private());
    let (before, root) = (life(&rig, A), rig.root(A));
    let new = rig.run(rig.cpu(0).new_root(A));
    let after = life(&rig, A);
    assert_eq!((after.space, after.nth), (A, before.nth + 1));
    assert_eq!(
        (rig.root(A), frame(&rig, new).usage),
        (new, Use::Table(Some(after)))
    );
    assert_eq!(
        frame(&rig, root).usage,
        Use::Table(Some(before)),
        "its owner is to free it"
    );
    assert_eq!(life(&rig, B).nth, 0);
    assert!(rig.machine.state().translate(A, 0x1000).is_none());
}

#[test]
fn memory_that_runs_out_gives_0() {
    let rig = Rig::new(private());
    let cpu = rig.cpu(0);
    assert_ne!(rig.run(cpu.alloc_table(A)), 0);
    rig.run(async { while cpu.alloc_table(A).await != 0 {} });
    assert_eq!(rig.run(cpu.alloc_page(A, Page(200))), 0);
}

/// A reference is taken by a fully ordered atomic: what was done before the frame was freed, the
/// taker sees. One that takes none may see what was.
#[test]
fn a_reference_is_ordered_after_the_last_change_of_the_count() {
    for takes in [true, false] {
        let rig = Rig::new(Config {
            memory: Memory::Arm,
            ..private()
        });
        let (cpu, other, pte) = (rig.cpu(0), rig.cpu(1), rig.pte(A, 0x1000));
        let (pa, old) = (rig.pa(A, 0x1000), rig.desc(pte));
        let read = rig.run(async {
            other.pte_write(pte, Desc::INVALID).await;
            other.free(pa).await;
            assert_eq!(other.alloc_table(B).await, pa, "the frame freed last");
            if takes {
                assert!(cpu.get_page(pa).await);
            }
            rig.hardware(|s| s.stale(0, 1));
            cpu.pte_read(pte).await
        });
        assert_eq!(read, if takes { Desc::INVALID } else { old });
    }
}
