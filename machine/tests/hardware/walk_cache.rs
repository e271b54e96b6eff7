// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cached table pointers: where walks begin, and what removes them.

use crate::rig::{A, Rig, by_addr, flush, private};
use shootdown_machine::arm64::{Desc, Kind, Stage, Tlbi, Ttl};
use shootdown_machine::{Access, Config, Outcome};

/// A machine whose CPU 0 has walked 0x0, and so knows the table that maps 0x1000.
fn walked(levels: u8) -> Rig {
    let rig = Rig::new(Config {
        levels,
        ..private()
    });
    rig.run(rig.load(rig.cpu(0), A, 1));
    rig.walk(0, 0x0, None);
    rig.take_events();
    rig
}

/// The levels that a walk for 0x1000 reads now.
fn reads(rig: &Rig) -> Vec<String> {
    rig.take_events();
    rig.walk(0, 0x1000, None);
    let seen = rig.seen();
    seen.into_iter().filter(|s| s.starts_with("read")).collect()
}

#[test]
fn a_later_walk_begins_below() {
    assert_eq!(reads(&walked(2)), ["read One 3"]);
    assert_eq!(reads(&walked(3)), ["read One 3"], "from the deepest");
}

#[test]
fn a_walk_elsewhere_begins_at_the_root() {
    let rig = walked(2);
    rig.walk(0, 0x8000, None);
    assert_eq!(rig.seen(), ["read One 2"]);
}

#[test]
fn a_walk_under_another_asid_begins_at_the_root() {
    let rig = walked(2);
    rig.run(rig.load(rig.cpu(0), A, 2));
    assert_eq!(reads(&rig), ["read One 2", "read One 3"]);
}

#[test]
fn vae1is_removes_them() {
    for levels in [2, 3] {
        let rig = walked(levels);
        rig.run(flush(rig.cpu(0), by_addr(Kind::Vae1is, 0x0)));
        assert_eq!((rig.tables(0), reads(&rig).len()), (0, levels as usize));
    }
}

#[test]
fn vale1is_keeps_them() {
    for levels in [2, 3] {
        let rig = walked(levels);
        rig.run(flush(rig.cpu(0), by_addr(Kind::Vale1is, 0x0)));
        assert_eq!(rig.leaves(0, Stage::One), [], "the leaf is gone");
        assert_eq!(reads(&rig), ["read One 3"]);
    }
}

#[test]
fn range_and_stage_2_kinds_have_last_level_forms_too() {
    let range = |kind| Tlbi::range(kind, 0x0, 0, 0, 1, Ttl::Unknown);
    for (op, want) in [(range(Kind::Rvae1is), 0), (range(Kind::Rvale1is), 1)] {
        let rig = walked(2);
        rig.run(flush(rig.cpu(0), op));
        assert_eq!((rig.leaves(0, Stage::One).len(), rig.tables(0)), (0, want));
    }
    for (kind, want) in [(Kind::Ipas2e1is, 0), (Kind::Ipas2le1is, 1)] {
        let rig = Rig::guests(private());
        rig.run(rig.load(rig.cpu(0), A, 7));
        rig.walk(0, 0x0, None);
        rig.run(rig.aim(rig.cpu(1), A, 7));
        rig.run(flush(rig.cpu(1), by_addr(kind, 0x0)));
        assert_eq!((rig.leaves(0, Stage::Two).len(), rig.tables(0)), (0, want));
    }
}

/// Why unlinking a table needs an invalidation that is not of the last level only.
#[test]
fn an_unlinked_table_is_read_until_its_pointer_is_gone() {
    for (kind, want) in [
        (Kind::Vale1is, Outcome::Done),
        (Kind::Vae1is, Outcome::Translation),
    ] {
        let rig = walked(2);
        rig.set(rig.root(A), Desc::INVALID);
        rig.run(flush(rig.cpu(0), by_addr(kind, 0x0)));
        let outcome = rig.run(rig.cpu(0).access(0x1000, Access::Read));
        assert_eq!(outcome, want);
    }
}
