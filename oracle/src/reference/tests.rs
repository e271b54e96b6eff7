// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which mappings the reference allows.

use super::Cell;
use crate::script::*;
use shootdown_machine::{OpKind, Outcome, PAGES, Ram, Switch, Switches, Use};

const VA: Va = 0x1000;
/// What maps [`VA`]: page and write permission.
type Mapping = Option<(Page, bool)>;

fn old_page() -> Page {
    initial_page(A, 1)
}

/// The operations that overlap in these tests.
fn ops() -> [Op; 6] {
    [
        Op::Map(A, VA),
        Op::Unmap(A, VA),
        Op::Hint(A, VA),
        Op::Remap(A, VA),
        Op::Protect(A, VA, Prot::Ro),
        Op::Protect(A, VA, Prot::Rw),
    ]
}

fn starts() -> [Mapping; 3] {
    [None, Some((old_page(), true)), Some((old_page(), false))]
}

/// An operation alone, in words of its definition and not of the code under test.
fn alone(was: Mapping, op: Op, fresh: Page) -> (Done, Mapping) {
    let new = match (op, was) {
        (Op::Map(..), None) => Some((fresh, true)),
        (Op::Unmap(..) | Op::Hint(..), Some(_)) => None,
        (Op::Remap(..), Some((_, writable))) => Some((fresh, writable)),
        (Op::Protect(_, _, prot), Some((page, _))) => Some((page, prot == Prot::Rw)),
        _ => was,
    };
    (if new == was { Done::No } else { Done::Yes }, new)
}

/// Two operations, CPU 0's and CPU 1's, in one order.
struct Order {
    done: [Done; 2],
    between: Mapping,
    last: Mapping,
}

fn in_order(was: Mapping, ops: [Op; 2], first: usize) -> Order {
    let pages = [fresh(0), fresh(1)];
    let second = 1 - first;
    let (one, between) = alone(was, ops[first], pages[first]);
    let (two, last) = alone(between, ops[second], pages[second]);
    let done = if first == 0 { [one, two] } else { [two, one] };
    Order {
        done,
        between,
        last,
    }
}

/// Makes the tables say so, by no CPU's step.
fn set(s: &Scene<'_>, pte: u64, to: Mapping) {
    s.hardware(|state| {
        let desc = to.map_or(Desc::INVALID, |(page, writable)| {
            let usage = Use::Page(state.life(A), page);
            let pa = state.mem.alloc(usage).expect("a frame");
            Desc::leaf(Stage::One, 3, pa, writable)
        });
        state.mem.set(Ram::desc_word(pte).expect("a table"), desc.0);
    });
}

/// Brings the reference to know of a first mapping, by operations that overlap nothing.
fn start_with(s: &Scene<'_>, was: Mapping) -> u64 {
    let pte = s.pte(A, VA);
    let op = match was {
        None => Op::Unmap(A, VA),
        Some((_, writable)) => Op::Protect(A, VA, if writable { Prot::Rw } else { Prot::Ro }),
    };
    s.begin(s.c0, op);
    set(s, pte, was);
    s.end(s.c0, op, Done::Yes);
    assert!(exactly(s, was));
    pte
}

fn allows(s: &Scene<'_>, what: Mapping) -> bool {
    s.oracle(|oracle, _| {
        let cell = oracle.facts.reference.cell(A, VA).expect("a page of A");
        match what {
            None => cell.allows(None),
            Some((page, true)) => cell.allows_write(page),
            Some((page, false)) => cell.allows(Some(page)),
        }
    })
}

fn exactly(s: &Scene<'_>, what: Mapping) -> bool {
    s.oracle(|oracle, _| {
        let cell = oracle.facts.reference.cell(A, VA).expect("a page of A");
        let want = (what.map(|w| w.0), what.is_some_and(|w| w.1));
        cell.settled()
            && cell
                .values()
                .iter()
                .map(|v| (v.page, v.writable))
                .eq([want])
    })
}

/// Calls `each` for every pair of operations, every first mapping, every order in which
/// they may take effect, and both orders in which they may return.
fn for_each_pair(mut each: impl FnMut(Mapping, [Op; 2], usize, usize)) {
    for was in starts() {
        for one in ops() {
            for two in ops() {
                for (first, returns) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                    each(was, [one, two], first, returns);
                }
            }
        }
    }
}

#[test]
fn what_some_order_gives_is_allowed() {
    for_each_pair(|was, ops, first, returns| {
        let broken = stage1(private(), async |s| {
            let pte = start_with(s, was);
            let order = in_order(was, ops, first);
            let cpus = [s.c0, s.c1];
            s.begin(cpus[first], ops[first]);
            s.begin(cpus[1 - first], ops[1 - first]);
            for now in [was, order.between, order.last] {
                assert!(allows(s, now), "{ops:?} from {was:?}: {now:?}");
            }
            set(s, pte, order.last);
            s.end(cpus[returns], ops[returns], order.done[returns]);
            assert!(
                allows(s, order.last),
                "{ops:?} from {was:?}: {:?}",
                order.last
            );
            s.end(cpus[1 - returns], ops[1 - returns], order.done[1 - returns]);
            assert!(exactly(s, order.last));
        });
        assert_eq!(broken, None, "{ops:?} from {was:?}");
    });
}

/// Where one operation takes away what the other has made or changed, the set is wider
/// than the orders make it, and a truth that is wrong can pass: such pairs are left out.
fn separable(ops: [Op; 2]) -> bool {
    let [one, two] = ops.map(Op::kind);
    one == two || one == OpKind::Map || two == OpKind::Map
}

#[test]
fn what_no_order_gives_is_not_allowed() {
    let mut seen = 0;
    for_each_pair(|was, ops, first, returns| {
        let orders = [0, 1].map(|first| in_order(was, ops, first));
        let pages = [old_page(), fresh(0), fresh(1)];
        let mapped = pages
            .into_iter()
            .flat_map(|p| [Some((p, true)), Some((p, false))]);
        for wrong in mapped.chain([None]) {
            if !separable(ops) || orders.iter().any(|o| o.last == wrong) {
                continue;
            }
            let broken = stage1(private(), async |s| {
                let pte = start_with(s, was);
                let (cpus, done) = ([s.c0, s.c1], orders[first].done);
                s.begin(s.c0, ops[0]);
                s.begin(s.c1, ops[1]);
                set(s, pte, wrong);
                s.end(cpus[returns], ops[returns], done[returns]);
                s.end(cpus[1 - returns], ops[1 - returns], done[1 - returns]);
            });
            assert_eq!(
                broken,
                Some("matches-reference"),
                "{ops:?} from {was:?}: {wrong:?}"
            );
            seen += 1;
        }
    });
    assert!(seen > 500, "{seen} cases are too few to mean anything");
}

#[test]
fn what_a_returned_operation_took_away_is_gone_while_a_map_goes_on() {
    for op in [Op::Unmap(A, VA), Op::Remap(A, VA)] {
        let broken = stage1(private(), async |s| {
            let pte = s.pte(A, VA);
            s.begin(s.c0, op);
            s.begin(s.c1, Op::Map(A, VA));
            assert!(allows(s, Some((old_page(), true))));
            let (done, new) = alone(Some((old_page(), true)), op, fresh(0));
            set(s, pte, new);
            s.end(s.c0, op, done);
            assert!(!allows(s, Some((old_page(), false))), "{op}");
            assert!(allows(s, new));
        });
        assert_eq!(broken, None);
    }
}

#[test]
fn an_operation_that_did_nothing_made_nothing() {
    let broken = stage1(private(), async |s| {
        s.begin(s.c0, Op::Map(A, VA));
        s.begin(s.c1, Op::Unmap(A, VA));
        assert!(allows(s, Some((fresh(0), true))));
        s.end(s.c0, Op::Map(A, VA), Done::No);
        assert!(!allows(s, Some((fresh(0), true))));
        assert!(allows(s, Some((old_page(), true))) && allows(s, None));
    });
    assert_eq!(broken, None);
}

#[test]
fn a_store_is_allowed_until_the_protection_returns() {
    let op = Op::Protect(A, VA, Prot::Ro);
    let broken = stage1(private(), async |s| {
        let pte = s.pte(A, VA);
        s.begin(s.c0, op);
        assert!(allows(s, Some((old_page(), true))));
        set(s, pte, Some((old_page(), false)));
        assert!(allows(s, Some((old_page(), true))));
        s.end(s.c0, op, Done::Yes);
        assert!(exactly(s, Some((old_page(), false))));
    });
    assert_eq!(broken, None);
}

#[test]
fn operations_on_a_slot_reach_all_its_pages_and_no_others() {
    let settled = |s: &Scene<'_>| -> Vec<bool> {
        let pages = (0..PAGES as u64).map(|i| i * PAGE);
        s.oracle(|o, _| {
            let cells = pages.map(|va| o.facts.reference.cell(A, va).expect("a page"));
            cells.map(Cell::settled).collect()
        })
    };
    for op in [Op::Protect(A, 0x5000, Prot::Ro), Op::Collapse(A, 0x5000)] {
        let broken = stage1(private(), async |s| {
            s.begin(s.c0, op);
            let want = (0..PAGES).map(|page| !(4..8).contains(&page));
            assert!(settled(s).into_iter().eq(want), "{op}");
            s.end(s.c0, op, Done::No);
            assert!(settled(s).into_iter().all(|s| s));
        });
        // The protection says that it has nothing to do, and that is not so.
        let want = matches!(op, Op::Protect(..)).then_some("matches-reference");
        assert_eq!(broken, want, "{op}");
    }
}

/// With DBM, a page that is clean is one that may be written to; that hardware marks it as
/// dirty is nobody's operation.
#[test]
fn clean_and_dirty_are_one_mapping_if_hardware_tells_them_apart() {
    let config = Config {
        switches: Switches::default().with(Switch::HwAfDbm, true),
        ..private()
    };
    for (dbm, store) in [(true, true), (true, false), (false, false)] {
        let broken = stage1(config, async |s| {
            let pte = s.pte(A, VA);
            s.switch(s.c1, A, 1).await;
            let op = Op::Protect(A, VA, Prot::Rw);
            s.begin(s.c0, op);
            let page = s.c0.pte_read(pte).await;
            let clean = page.with_writable(Stage::One, false).with_dirtiable(dbm);
            s.hardware(|state| {
                let word = Ram::desc_word(pte).expect("a table");
                state.mem.set(word, clean.0);
            });
            if store {
                let outcome = s.c1.access(VA, Access::Write).await;
                assert_eq!(outcome, Outcome::Done);
                assert!(s.c0.pte_read(pte).await.writable(Stage::One));
            }
            s.end(s.c0, op, Done::Yes);
        });
        assert_eq!(broken, (!dbm).then_some("matches-reference"), "{store}");
    }
}

#[test]
fn a_page_that_is_reclaimed_or_thrown_away_is_gone() {
    for op in [Op::Reclaim(A, VA), Op::Zap(A, VA)] {
        for (to, want) in [
            (None, None),
            (Some((old_page(), true)), Some("matches-reference")),
        ] {
            let broken = stage1(private(), async |s| {
                let pte = s.pte(A, VA);
                s.begin(s.c0, op);
                assert!(allows(s, None) && allows(s, Some((old_page(), true))));
                set(s, pte, to);
                s.end(s.c0, op, Done::Yes);
            });
            assert_eq!(broken, want, "{op} {to:?}");
        }
    }
}

/// What a move takes from elsewhere is believed when it returns, and only then known.
#[test]
fn a_page_that_moves_is_unknown_until_it_has() {
    let op = Op::Move(A, VA, 0x9000);
    let broken = stage1(private(), async |s| {
        let (from, page) = (s.pte(A, VA), Some((old_page(), true)));
        s.begin(s.c0, op);
        assert!(allows(s, None) && allows(s, page) && allows(s, Some((fresh(1), true))));
        set(s, from, None);
        s.end(s.c0, op, Done::Yes);
        assert!(exactly(s, None));
    });
    assert_eq!(broken, None);
}

#[test]
fn a_fault_handler_may_change_its_page_while_it_runs_and_no_longer() {
    let broken = stage1(private(), async |s| {
        let pte = s.pte(A, VA);
        let fault = |begin| s.fault(s.c0, A, VA, begin);
        fault(true);
        assert!(allows(s, Some((fresh(0), true))));
        set(s, pte, Some((fresh(0), true)));
        fault(false);
        assert!(exactly(s, Some((fresh(0), true))));
        assert!(!allows(s, Some((old_page(), true))));
    });
    assert_eq!(broken, None);
}

#[test]
fn exit_leaves_nothing() {
    let broken = stage1(private(), async |s| {
        s.begin(s.c0, Op::Exit(A));
        assert!(allows(s, Some((old_page(), true))) && !allows(s, None));
        let root = s.oracle(|_, state| state.roots[A.0 as usize]);
        let below = s.c0.pte_read(s.pmd(A, VA)).await.addr();
        s.c0.free(below).await;
        s.c0.free(root).await;
        s.c0.new_root(A).await;
        assert!(exactly(s, None));
        s.end(s.c0, Op::Exit(A), Done::Yes);
        assert!(exactly(s, None));
        s.oracle(|o, _| {
            let other = o.facts.reference.cell(B, VA).expect("a page of B");
            assert!(
                other.allows(Some(initial_page(B, 1))),
                "B has nothing to do with it"
            );
        });
    });
    assert_eq!(broken, None);
}
