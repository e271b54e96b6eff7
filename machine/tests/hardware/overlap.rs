// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two entries for one address: what FEAT_BBM lets hardware answer (machine rules 16, 17).

use crate::rig::{A, Rig, by_addr, flush, private};
use shootdown_machine::arm64::{Kind, Tlbi, Ttl};
use shootdown_machine::{Access, Bbm, Config, Entry, Event, Outcome, Pick};

const LEVELS: [Bbm; 4] = [Bbm::Level0, Bbm::Level1, Bbm::Level2, Bbm::NoAbort];
const BLOCK: u64 = 0x4000;
const PAGE: u64 = 0x1000;

/// A machine whose CPU 0 has a block cached, which is gone, and one page of the table that
/// replaced it, which can be written to if the block cannot.
fn overlapping(bbm: Bbm, pick: Pick, page_writable: bool) -> Rig {
    let rig = Rig::new(Config { bbm, ..private() });
    let pmd = rig.pte(A, 0x4000);
    let stage = shootdown_machine::arm64::Stage::One;
    rig.set(pmd, rig.desc(pmd).with_writable(stage, !page_writable));
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
