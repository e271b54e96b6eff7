// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two entries for one address: what FEAT_BBM lets hardware answer (machine rules 16, 17).

use crate::rig::{A, Rig, by_addr, flush, private};
use shootdown_machine::arm64::{Desc, Kind, Stage, Tlbi, Ttl};
use shootdown_machine::{Access, Bbm, Boot, Config, Entry, Event, Outcome, Pick};

const LEVELS: [Bbm; 4] = [Bbm::Level0, Bbm::Level1, Bbm::Level2, Bbm::NoAbort];
const BLOCK: u64 = 0x4000;
const PAGE: u64 = 0x1000;

/// A machine whose CPU 0 has a block cached, which is gone, and one page of the table that
/// replaced it, which can be written to if the block cannot.
fn overlapping(bbm: Bbm, pick: Pick, page_writable: bool) -> Rig {
    let rig = Rig::new(Config { bbm, ..private() });
    let pmd = rig.pte(A, 0x4000);
    rig.set(pmd, rig.desc(pmd).with_writable(Stage::One, !page_writable));
    rig.run(rig.load(rig.cpu(0), A, 1));
    rig.walk(0, 0x4000, None);
    rig.split(A, 0x4000, page_writable);
    rig.walk(0, 0x5000, None);
    rig.hardware(|state| state.cpus[0].pick = pick);
    rig
}

fn access(rig: &Rig, va: u64, access: Access) -> (Outcome, Option<Entry>) {
    rig.take_events();
    let outcome = rig.run(rig.cpu(0).access(va, access));
    let via = rig.take_events().into_iter().find_map(|e| match e {
        Event::Accessed { via, .. } => via,
        _ => None,
    });
    (outcome, via)
}

fn size(rig: &Rig, va: u64) -> Option<u64> {
    access(rig, va, Access::Read).1.map(|entry| entry.size)
}

#[test]
fn either_may_answer_at_every_level() {
    for bbm in LEVELS {
        let size = |pick| size(&overlapping(bbm, pick, true), 0x5000);
        assert_eq!(size(Pick::Oldest), Some(BLOCK));
        assert_eq!(size(Pick::Newest), Some(PAGE));
    }
}

#[test]
fn a_conflict_aborts_unless_the_level_rules_it_out() {
    for bbm in LEVELS {
        let rig = overlapping(bbm, Pick::Abort, true);
        let (outcome, via) = access(&rig, 0x5000, Access::Read);
        if bbm == Bbm::NoAbort {
            assert_eq!((outcome, via.map(|e| e.size)), (Outcome::Done, Some(BLOCK)));
        } else {
            assert_eq!((outcome, via.is_none()), (Outcome::Conflict, true));
        }
    }
}

/// The block cannot be written to and the page can, or the other way round.
#[test]
fn a_mix_has_the_permissions_of_both_below_level_2() {
    for page_writable in [true, false] {
        for bbm in LEVELS {
            let rig = overlapping(bbm, Pick::Mix, page_writable);
            let (outcome, _) = access(&rig, 0x5000, Access::Write);
            // Without amalgamation the oldest answers, which is the block.
            let want = bbm < Bbm::Level2 || !page_writable;
            assert_eq!(outcome == Outcome::Done, want, "{bbm:?}");
        }
    }
}

#[test]
fn where_only_one_covers_the_address_it_answers() {
    for bbm in LEVELS {
        for pick in [Pick::Oldest, Pick::Newest, Pick::Abort, Pick::Mix] {
            let rig = overlapping(bbm, pick, true);
            assert_eq!(size(&rig, 0x6000), Some(BLOCK), "{bbm:?} {pick:?}");
        }
    }
}

#[test]
fn a_conflict_goes_away_with_one_of_the_entries() {
    let flushes = [
        (Tlbi::all(Kind::Vmalle1), true),
        (by_addr(Kind::Vale1, 0x5000), true),
        (Tlbi::addr(Kind::Vale1, 0x5000, 1, Ttl::Level(2)), true),
        (Tlbi::addr(Kind::Vale1, 0x5000, 1, Ttl::Level(1)), false),
        (by_addr(Kind::Vale1, 0x8000), false),
    ];
    for (op, resolved) in flushes {
        let rig = overlapping(Bbm::Level2, Pick::Abort, true);
        rig.run(flush(rig.cpu(0), op));
        let (outcome, _) = access(&rig, 0x5000, Access::Read);
        assert_eq!(outcome == Outcome::Done, resolved, "{op}");
    }
}

#[test]
fn entries_under_two_asids_do_not_conflict() {
    let rig = overlapping(Bbm::Level2, Pick::Abort, true);
    rig.run(rig.load(rig.cpu(0), A, 2));
    assert_eq!(size(&rig, 0x5000), Some(PAGE));
}

/// A machine whose CPU 0 has 0x1000 of A cached as it was, and as it is since its output
/// address changed without a break, unless a TLBI came between. The two frames.
fn moved(bbm: Bbm, pick: Pick, flushed: bool) -> (Rig, [u64; 2]) {
    let rig = Rig::new(Config { bbm, ..private() });
    rig.run(rig.load(rig.cpu(0), A, 1));
    rig.walk(0, 0x1000, None);
    let (pte, old) = (rig.pte(A, 0x1000), rig.pa(A, 0x1000));
    let new = rig.pa(A, 0x0);
    rig.set(pte, Desc::leaf(Stage::One, 3, new, true));
    if flushed {
        rig.run(flush(rig.cpu(0), by_addr(Kind::Vale1, 0x1000)));
    }
    rig.walk(0, 0x1000, None);
    rig.hardware(|state| state.cpus[0].pick = pick);
    (rig, [old, new])
}

fn output(rig: &Rig) -> Option<u64> {
    access(rig, 0x1000, Access::Read).1.map(|entry| entry.pa)
}

#[test]
fn a_change_of_output_without_a_break_leaves_both() {
    for bbm in LEVELS {
        let (rig, [old, _]) = moved(bbm, Pick::Oldest, false);
        assert_eq!(output(&rig), Some(old));
        let (rig, [_, new]) = moved(bbm, Pick::Newest, false);
        assert_eq!(output(&rig), Some(new));
        let (rig, [old, _]) = moved(bbm, Pick::Abort, false);
        let want = (bbm == Bbm::NoAbort).then_some(old);
        assert_eq!(output(&rig), want, "{bbm:?}");
    }
}

#[test]
fn with_a_tlbi_between_there_is_one() {
    for pick in [Pick::Oldest, Pick::Newest, Pick::Abort, Pick::Mix] {
        let (rig, [_, new]) = moved(Bbm::Level0, pick, true);
        assert_eq!(output(&rig), Some(new), "{pick:?}");
    }
}

/// Below level 2, the address may be one that neither entry has.
#[test]
fn a_mix_has_bits_of_both_output_addresses() {
    for bbm in LEVELS {
        let (rig, [old, new]) = moved(bbm, Pick::Mix, false);
        assert!(old | new != old && old | new != new, "frames that show it");
        let want = if bbm < Bbm::Level2 { old | new } else { old };
        assert_eq!(output(&rig), Some(want), "{bbm:?}");
    }
}

#[test]
fn a_mix_of_entries_that_agree_has_their_output() {
    let rig = overlapping(Bbm::Level0, Pick::Mix, true);
    let (_, via) = access(&rig, 0x5000, Access::Read);
    let via = via.expect("an entry");
    assert_eq!((via.va, via.size), (0x5000, PAGE));
    assert_eq!(via.pa, rig.pa(A, 0x5000));
}

#[test]
fn one_tlbi_by_address_removes_both() {
    let (rig, _) = moved(Bbm::Level0, Pick::Abort, false);
    assert_eq!(rig.leaves(0, Stage::One), [0x1000, 0x1000]);
    rig.run(flush(rig.cpu(0), by_addr(Kind::Vale1, 0x1000)));
    assert_eq!(rig.leaves(0, Stage::One), []);
}

/// A permission may change without a break: the newer entry takes the older one's place.
#[test]
fn a_change_of_permission_leaves_one() {
    let rig = Rig::new(private());
    rig.run(rig.load(rig.cpu(0), A, 1));
    rig.walk(0, 0x1000, None);
    let pte = rig.pte(A, 0x1000);
    rig.set(pte, rig.desc(pte).with_writable(Stage::One, false));
    rig.walk(0, 0x1000, None);
    assert_eq!(rig.leaves(0, Stage::One), [0x1000]);
    assert_eq!(
        access(&rig, 0x1000, Access::Write).0,
        Outcome::Permission,
        "that of the newer"
    );
}

/// Two pointers to tables. Through which of them the next walk goes is open, too.
#[test]
fn a_table_replaced_without_a_break_may_go_on_being_read() {
    for (pick, want) in [
        (Pick::Oldest, Outcome::Done),
        (Pick::Newest, Outcome::Translation),
    ] {
        let rig = Rig::new(private());
        let empty = Boot::new(&rig.machine, None).table(A);
        rig.run(rig.load(rig.cpu(0), A, 1));
        rig.walk(0, 0x0, Some(1)); // it will begin at the root
        rig.run(rig.cpu(0).access(0x1000, Access::Read));
        rig.set(rig.root(A), Desc::table(empty));
        rig.walk(0, 0x0, Some(2));
        assert_eq!(rig.tables(0), 2);
        rig.hardware(|state| state.cpus[0].pick = pick);
        assert_eq!(access(&rig, 0x0, Access::Read).0, want, "{pick:?}");
    }
}

/// The host has replaced the block of VM A by pages, and CPU 0 has both in its TLB.
fn overlapping_ipas(bbm: Bbm, pick: Pick) -> Rig {
    let rig = Rig::guests(Config { bbm, ..private() });
    rig.run(rig.load(rig.cpu(0), A, 7));
    rig.walk(0, 0x5000, Some(1)); // it has not found the block in the TLB
    rig.run(rig.cpu(0).access(BLOCK, Access::Read));
    rig.split(A, BLOCK, true);
    rig.walk(0, 0x5000, Some(3));
    assert_eq!(rig.leaves(0, Stage::Two), [BLOCK, 0x5000]);
    // Combined entries answer first: without them, stage 2 is asked.
    rig.run(rig.cpu(0).exit_guest());
    rig.run(flush(rig.cpu(0), Tlbi::all(Kind::Vmalle1)));
    rig.run(rig.load(rig.cpu(0), A, 7));
    rig.hardware(|state| state.cpus[0].pick = pick);
    rig
}

#[test]
fn a_conflict_within_stage_2_aborts_the_access_too() {
    for bbm in LEVELS {
        let rig = overlapping_ipas(bbm, Pick::Abort);
        assert_eq!(rig.leaves(0, Stage::One), []);
        let (outcome, _) = access(&rig, 0x5000, Access::Read);
        let aborts = bbm != Bbm::NoAbort;
        assert_eq!(outcome == Outcome::Conflict, aborts, "{bbm:?}");
        assert_eq!(access(&rig, 0x6000, Access::Read).0, Outcome::Done);
    }
}

#[test]
fn a_conflict_within_stage_2_ends_a_speculative_walk() {
    for (pick, want) in [(Pick::Abort, vec![]), (Pick::Oldest, vec![BLOCK])] {
        let rig = overlapping_ipas(Bbm::Level2, pick);
        rig.walk(0, 0x5000, None);
        assert_eq!(rig.leaves(0, Stage::One), want);
    }
}

/// Level 1: a block changes its size by way of nT, and no TLB has two entries for it.
#[test]
fn at_level_1_a_block_with_nt_is_not_cached() {
    for bbm in LEVELS {
        for guests in [false, true] {
            let config = Config { bbm, ..private() };
            let rig = if guests {
                Rig::guests(config)
            } else {
                Rig::new(config)
            };
            let pmd = rig.pte(A, BLOCK);
            rig.set(pmd, rig.desc(pmd).with_transient(true));
            rig.run(rig.load(rig.cpu(0), A, 1));
            rig.walk(0, BLOCK, None);
            let (outcome, via) = access(&rig, 0x5000, Access::Write);
            assert_eq!(outcome, Outcome::Done, "it translates all the same");
            assert_eq!(via.map(|e| (e.va, e.size)), Some((BLOCK, BLOCK)));
            let cached = !rig.leaves(0, Stage::One).is_empty();
            assert_eq!(cached, bbm != Bbm::Level1, "{bbm:?}");
            assert_eq!(!rig.leaves(0, Stage::Two).is_empty(), cached && guests);
        }
    }
}

/// The whole sequence: with nT set and the old entries gone, the size changes without a
/// break, and nothing overlaps. Without nT something does.
#[test]
fn at_level_1_a_split_by_way_of_nt_leaves_no_overlap() {
    for (nt, want) in [(true, Outcome::Done), (false, Outcome::Conflict)] {
        let level1 = Config {
            bbm: Bbm::Level1,
            ..private()
        };
        let rig = Rig::new(level1);
        rig.run(rig.load(rig.cpu(0), A, 1));
        rig.walk(0, BLOCK, None);
        let pmd = rig.pte(A, BLOCK);
        rig.set(pmd, rig.desc(pmd).with_transient(nt));
        rig.run(flush(rig.cpu(0), by_addr(Kind::Vale1, BLOCK)));
        rig.walk(0, BLOCK, None);
        rig.split(A, BLOCK, true);
        rig.walk(0, 0x5000, None);
        rig.hardware(|state| state.cpus[0].pick = Pick::Abort);
        assert_eq!(access(&rig, 0x5000, Access::Read).0, want);
    }
}

/// A page has bit 16 for software: nT is a block's.
#[test]
fn a_page_has_no_nt() {
    let level1 = Config {
        bbm: Bbm::Level1,
        ..private()
    };
    let rig = Rig::new(level1);
    let pte = rig.pte(A, 0x1000);
    rig.set(pte, rig.desc(pte).with_transient(true));
    rig.run(rig.load(rig.cpu(0), A, 1));
    rig.walk(0, 0x1000, None);
    assert_eq!(rig.leaves(0, Stage::One), [0x1000]);
}
