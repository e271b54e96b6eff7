// SPDX-License-Identifier: MIT OR Apache-2.0
//! Operands made for one granule and read by hardware that uses another (Arm ARM, C5.5 and
//! D8.14.5 to D8.14.6), as where a hypervisor invalidates for a guest.

use crate::rig::{A, Rig, flush, private};
use shootdown_machine::arm64::{Granule, Kind, Stage, Tlbi, Ttl};
use shootdown_machine::{Config, PAGE};

fn with(granule: Granule) -> Config {
    Config {
        granule,
        ..private()
    }
}

/// What is left of the pages 0x0 and 0x1000 and the block at 0x4000.
fn left(hardware: Granule, op: Tlbi) -> Vec<u64> {
    let rig = Rig::new(with(hardware));
    rig.run(rig.load(rig.cpu(0), A, 1));
    for va in ALL {
        rig.walk(0, va, None);
    }
    rig.run(flush(rig.cpu(0), op));
    rig.leaves(0, Stage::One)
}

const ALL: [u64; 3] = [0x0, 0x1000, 0x4000];
const TTLS: [Ttl; 2] = [Ttl::Unknown, Ttl::Level(3)];

/// Every pair of what software believes and what hardware uses.
fn pairs() -> impl Iterator<Item = (Granule, Granule)> {
    let all = Granule::ALL.iter();
    all.flat_map(|s| Granule::ALL.iter().map(move |h| (*s, *h)))
}

#[test]
fn an_operand_by_address_names_another_page_to_another_granule() {
    for (software, hardware) in pairs() {
        let op = Tlbi::addr_in(software, Kind::Vale1is, 0x1000, 1, Ttl::Unknown);
        // Page 1 is page 4 of granules a quarter the size, and the block has that.
        let page = (1 << software.shift()) >> hardware.shift();
        let want: &[u64] = match page {
            0 => &[0x1000, 0x4000],
            1 => &[0x0, 0x4000],
            4 => &[0x0, 0x1000],
            _ => &ALL,
        };
        assert_eq!(left(hardware, op), want, "{software:?} on {hardware:?}");
    }
}

#[test]
fn a_hint_for_another_granule_invalidates_nothing() {
    for (software, hardware) in pairs() {
        let op = Tlbi::addr_in(software, Kind::Vale1is, 0x0, 1, Ttl::Level(3));
        let want: &[u64] = if software == hardware {
            &ALL[1..]
        } else {
            &ALL
        };
        assert_eq!(left(hardware, op), want, "{software:?} on {hardware:?}");
    }
}

#[test]
fn a_range_for_another_granule_invalidates_nothing() {
    for (software, hardware) in pairs() {
        for ttl in TTLS {
            let op = Tlbi::range_in(software, Kind::Rvale1is, 0x0, 0, 0, 1, ttl);
            let want: &[u64] = if software == hardware {
                &ALL[2..]
            } else {
                &ALL
            };
            assert_eq!(left(hardware, op), want, "{software:?} on {hardware:?}");
        }
    }
}

/// Hints at levels that have no blocks are reserved, and none.
#[test]
fn a_reserved_hint_is_no_hint() {
    for (granule, level, reserved) in [
        (Granule::K4, 0, true),
        (Granule::K4, 1, false),
        (Granule::K16, 0, true),
        (Granule::K16, 1, true),
        (Granule::K64, 0, true),
        (Granule::K64, 1, false),
    ] {
        let op = Tlbi::addr_in(granule, Kind::Vale1is, 0x1000, 1, Ttl::Level(level));
        let gone = !left(granule, op).contains(&0x1000);
        assert_eq!(gone, reserved, "{granule:?} level {level}");
        let op = Tlbi::range_in(granule, Kind::Rvale1is, 0x0, 0, 0, 1, Ttl::Level(level));
        let gone = !left(granule, op).contains(&0x1000);
        assert_eq!(gone, reserved, "{granule:?} level {level}, by range");
    }
}

/// "The range of addresses invalidated is UNPREDICTABLE" (C5.5, TLBI RVAE1).
#[test]
fn a_range_with_a_hint_begins_at_a_block_of_that_level() {
    let range = |va, ttl| {
        let op = Tlbi::range(Kind::Rvale1is, va, 0, 3, 1, ttl);
        left(Granule::K4, op)
    };
    assert_eq!(range(0x4000, Ttl::Level(2)), ALL[..2]);
    assert_eq!(range(0x1000, Ttl::Level(2)), ALL);
    assert_eq!(range(0x1000, Ttl::Level(3)), [0x0, 0x4000]);
    assert_eq!(range(0x1000, Ttl::Unknown), [0x0]);
}

/// B-12b: what `__TLBI_RANGE_NUM` gave for the largest range was -1 (commit e3ba51ab24fd).
#[test]
fn num_of_minus_one_is_no_range_of_this_granule() {
    for granule in [Granule::K4, Granule::K16] {
        let op = Tlbi::range_in(granule, Kind::Rvale1is, 0x0, 0, -1, 1, Ttl::Unknown);
        assert_eq!(left(granule, op), ALL, "its TG says 64K");
    }
    let op = Tlbi::range_in(Granule::K64, Kind::Rvale1is, 0x0, 0, -1, 1, Ttl::Unknown);
    assert_eq!(op.asid_field(), u16::MAX, "and its ASID is nobody's");
    assert_eq!(left(Granule::K64, op), ALL);
}

/// A simple generator, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}

/// The loop of `__flush_tlb_range_op`: the operations that cover so many pages.
fn operations(granule: Granule, va: u64, pages: u64) -> Vec<Tlbi> {
    let (mut va, mut left, mut scale) = (va, pages, 3u8);
    let mut ops = Vec::new();
    while left > 0 {
        if left == 1 {
            ops.push(Tlbi::addr_in(granule, Kind::Vale1is, va, 1, Ttl::Unknown));
            break;
        }
        let num = (left >> (5 * scale + 1)).min(32) as i64 - 1;
        if num >= 0 {
            let kind = Kind::Rvale1is;
            ops.push(Tlbi::range_in(
                granule,
                kind,
                va,
                scale,
                num,
                1,
                Ttl::Unknown,
            ));
            let done = (num as u64 + 1) << (5 * scale + 1);
            va += done * PAGE;
            left -= done;
        }
        if num < 31 {
            scale = scale.wrapping_sub(1);
        }
    }
    ops
}

#[test]
fn ranges_cover_the_pages_that_a_loop_over_pages_would() {
    let mut numbers = Numbers(1);
    for _ in 0..2_000 {
        let granule = Granule::ALL[numbers.below(3) as usize];
        let first = numbers.below(1 << 20);
        let limit = 1 << numbers.below(22);
        let pages = 1 + numbers.below(limit);
        let ops = operations(granule, first * PAGE, pages);
        // Exactly, and each page once: the spans follow each other.
        let mut next = first * PAGE;
        for op in &ops {
            let (start, len) = op.span();
            assert_eq!(start, next, "{granule:?} {first} {pages}: {op}");
            next = start + len;
        }
        assert_eq!(next, (first + pages) * PAGE, "{granule:?} {first} {pages}");
    }
}

/// The same at the scale of this machine, on the TLB itself.
#[test]
fn a_range_leaves_what_single_operations_leave() {
    for granule in Granule::ALL {
        for first in 0..9 {
            for pages in 1..9 {
                let rig = Rig::new(with(*granule));
                rig.run(rig.load(rig.cpu(0), A, 1));
                let single = |page: u64| {
                    let va = page * PAGE;
                    Tlbi::addr_in(*granule, Kind::Vale1is, va, 1, Ttl::Unknown)
                };
                let singles = (first..first + pages).map(single).collect();
                let ranges = operations(*granule, first * PAGE, pages);
                let outcomes = [singles, ranges].map(|ops: Vec<Tlbi>| {
                    for va in ALL {
                        rig.walk(0, va, None);
                    }
                    for op in ops {
                        rig.run(flush(rig.cpu(0), op));
                    }
                    rig.leaves(0, Stage::One)
                });
                assert_eq!(outcomes[0], outcomes[1], "{granule:?} {first} {pages}");
            }
        }
    }
}

#[test]
fn every_range_kind_does_what_its_single_kind_does() {
    let kinds = [
        (Kind::Rvae1, Kind::Vae1),
        (Kind::Rvae1is, Kind::Vae1is),
        (Kind::Rvale1, Kind::Vale1),
        (Kind::Rvale1is, Kind::Vale1is),
        (Kind::Rvaae1, Kind::Vaae1),
        (Kind::Rvaae1is, Kind::Vaae1is),
        (Kind::Rvaale1, Kind::Vaale1),
        (Kind::Rvaale1is, Kind::Vaale1is),
        (Kind::Ripas2e1, Kind::Ipas2e1),
        (Kind::Ripas2e1is, Kind::Ipas2e1is),
        (Kind::Ripas2le1, Kind::Ipas2le1),
        (Kind::Ripas2le1is, Kind::Ipas2le1is),
    ];
    for (range, single) in kinds {
        for asid in [1, 2] {
            let seen = [
                vec![Tlbi::range(range, 0x0, 0, 0, asid, Ttl::Unknown)],
                vec![
                    Tlbi::addr(single, 0x0, asid, Ttl::Unknown),
                    Tlbi::addr(single, 0x1000, asid, Ttl::Unknown),
                ],
            ]
            .map(|ops| {
                let rig = Rig::nested(private());
                for cpu in 0..2 {
                    rig.run(rig.load(rig.cpu(cpu), A, 7));
                    rig.walk(cpu, 0x1000, None);
                }
                rig.run(rig.aim(rig.cpu(0), A, 7));
                for op in ops {
                    rig.run(flush(rig.cpu(0), op));
                }
                [0, 1].map(|cpu| {
                    let leaves = |stage| rig.leaves(cpu, stage);
                    (leaves(Stage::One), leaves(Stage::Two), rig.tables(cpu))
                })
            });
            assert_eq!(seen[0], seen[1], "{range} and {single}, ASID {asid}");
        }
    }
}
