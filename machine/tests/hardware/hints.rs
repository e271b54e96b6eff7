// SPDX-License-Identifier: MIT OR Apache-2.0
//! Level hints and ranges (machine rules 13 and 14).

use crate::rig::{A, Rig, flush, private};
use shootdown_machine::arm64::{Desc, Kind, Stage, Tlbi, Ttl};
use shootdown_machine::{Config, PAGE, Page, Switch, Switches, Use};

/// CPU 0 has every mapped page of A cached: those at 0x0 to 0x3000, and the block at 0x4000.
fn cached() -> Rig {
    cached_on(private())
}

fn cached_on(config: Config) -> Rig {
    let rig = Rig::new(config);
    let table = rig.pte(A, 0x0);
    for i in 2..4 {
        let pa = rig.hardware(|state| {
            let usage = Use::Page(state.life(A), Page(2));
            state.mem.alloc(usage).expect("a frame")
        });
        rig.set(table + i * 8, Desc::leaf(Stage::One, 3, pa, true));
    }
    rig.run(rig.load(rig.cpu(0), A, 1));
    for va in [0x0, 0x1000, 0x2000, 0x3000, 0x4000] {
        rig.walk(0, va, None);
    }
    rig
}

/// What is left of it.
fn left(op: Tlbi) -> Vec<u64> {
    let rig = cached();
    rig.run(flush(rig.cpu(0), op));
    rig.leaves(0, Stage::One)
}

const ALL: [u64; 5] = [0x0, 0x1000, 0x2000, 0x3000, 0x4000];

#[test]
fn nothing_goes_by_itself() {
    assert_eq!(cached().leaves(0, Stage::One), ALL);
}

#[test]
fn a_hint_must_be_the_leafs_level() {
    let hinted = |va, ttl| left(Tlbi::addr(Kind::Vale1is, va, 1, ttl));
    assert_eq!(hinted(0x1000, Ttl::Level(3)), [0x0, 0x2000, 0x3000, 0x4000]);
    assert_eq!(hinted(0x1000, Ttl::Unknown), [0x0, 0x2000, 0x3000, 0x4000]);
    assert_eq!(hinted(0x1000, Ttl::Level(2)), ALL);
    assert_eq!(hinted(0x1000, Ttl::Level(1)), ALL);
    assert_eq!(hinted(0x6000, Ttl::Level(2)), ALL[..4]);
    assert_eq!(hinted(0x6000, Ttl::Unknown), ALL[..4]);
    assert_eq!(hinted(0x6000, Ttl::Level(3)), ALL);
}

/// B-11: what was no hint is one, of a level that nothing here has.
#[test]
fn level_0_is_a_hint_with_lpa2_only() {
    for (lpa2, want) in [
        (false, vec![0x0, 0x2000, 0x3000, 0x4000]),
        (true, ALL.to_vec()),
    ] {
        let switches = Switches::default().with(Switch::Lpa2, lpa2);
        let config = Config {
            switches,
            ..private()
        };
        let rig = cached_on(config);
        let op = Tlbi::addr(Kind::Vae1is, 0x1000, 1, Ttl::Level(0));
        rig.run(flush(rig.cpu(0), op));
        assert_eq!(rig.leaves(0, Stage::One), want);
        let range = Tlbi::range(Kind::Rvae1is, 0x0, 0, 3, 1, Ttl::Level(0));
        rig.run(flush(rig.cpu(0), range));
        assert_eq!(rig.leaves(0, Stage::One), [0; 0], "a range's 0 is none");
    }
}

#[test]
fn a_hint_spares_the_tables_below_it() {
    for (level, tables) in [(3, 0), (2, 1)] {
        let rig = cached();
        assert_eq!(rig.tables(0), 1);
        let op = Tlbi::addr(Kind::Vae1is, 0x1000, 1, Ttl::Level(level));
        rig.run(flush(rig.cpu(0), op));
        assert_eq!(rig.tables(0), tables, "hint {level}");
    }
}

#[test]
fn a_range_covers_exactly_its_pages() {
    let range = |va, num| left(Tlbi::range(Kind::Rvale1is, va, 0, num, 1, Ttl::Unknown));
    // (num + 1) * 2 pages
    assert_eq!(range(0x0, 0), [0x2000, 0x3000, 0x4000]);
    assert_eq!(range(0x1000, 0), [0x0, 0x3000, 0x4000]);
    assert_eq!(range(0x2000, 0), [0x0, 0x1000, 0x4000]);
    assert_eq!(range(0x0, 1), [0x4000]);
    assert_eq!(
        range(0x3000, 0),
        [0x0, 0x1000, 0x2000],
        "the block begins inside"
    );
    assert_eq!(range(0x7000, 0), ALL[..4], "the block ends inside");
    assert_eq!(range(0x8000, 31), ALL);
    assert_eq!(range(0x0, 2), [0; 0]);
}

#[test]
fn a_range_has_a_scale() {
    let range = |va, scale| left(Tlbi::range(Kind::Rvale1is, va, scale, 0, 1, Ttl::Unknown));
    assert_eq!(range(0x0, 1), [0; 0], "64 pages");
    assert_eq!(range(64 * PAGE, 1), ALL);
    assert_eq!(range(0x3000, 3), [0x0, 0x1000, 0x2000]);
}

#[test]
fn a_range_has_a_hint_too() {
    let range = |ttl| left(Tlbi::range(Kind::Rvale1is, 0x0, 0, 3, 1, ttl));
    assert_eq!(range(Ttl::Unknown), [0; 0]);
    assert_eq!(range(Ttl::Level(3)), [0x4000]);
    assert_eq!(range(Ttl::Level(2)), ALL[..4]);
}

#[test]
fn a_range_has_an_asid() {
    let range = |asid| left(Tlbi::range(Kind::Rvale1is, 0x0, 0, 3, asid, Ttl::Unknown));
    assert_eq!((range(1), range(2)), (vec![], ALL.to_vec()));
}

#[test]
fn a_range_of_ipas_is_of_stage_2() {
    for (ipa, want) in [(0x0, vec![]), (0x2000, vec![0x1000])] {
        let rig = Rig::guests(private());
        rig.run(rig.load(rig.cpu(0), A, 7));
        rig.walk(0, 0x1000, None);
        rig.run(rig.aim(rig.cpu(1), A, 7));
        let op = Tlbi::range(Kind::Ripas2e1is, ipa, 0, 0, 0, Ttl::Unknown);
        rig.run(flush(rig.cpu(1), op));
        assert_eq!(rig.leaves(0, Stage::Two), want);
        assert_eq!(rig.leaves(0, Stage::One), [0x1000], "combined entries stay");
    }
}
