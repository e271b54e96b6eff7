// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a run came to, in a form that two variants' runs can be compared in.
//!
//! Operations on one slot of a table (or one block) are comparable between two runs if none
//! overlapped another and they returned in the same order. Then each must have had the same
//! result, and the pages must be mapped alike at the end. Otherwise nothing can be said: that
//! is not agreement, and counted apart.

use crate::reference::{mapped, slot_of};
use shootdown_machine::{BLOCK_PAGES, Done, Op, PAGE, PAGES, Space, State, Va};

const SLOTS: usize = PAGES / BLOCK_PAGES;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Slot {
    order: u64,
    results: u64,
    in_flight: u8,
    overlapped: bool,
}

/// One run's.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    slots: [[Slot; SLOTS]; 8],
    complete: bool,
}

/// Where two runs differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Disagreement {
    /// The space.
    pub space: Space,
    /// The first page of the slot.
    pub page: usize,
}

fn mix(hash: u64, value: u64) -> u64 {
    (hash ^ value)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(29)
}

/// The slots that an operation works on, each with its space.
fn slots_of(op: Op) -> impl Iterator<Item = (Space, usize)> {
    let slot = |va: Va| slot_of(va) / BLOCK_PAGES..slot_of(va) / BLOCK_PAGES + 1;
    let none = (Space(0), 0..0);
    let (one, two) = match (op, op.space(), op.va()) {
        (Op::Exit(space), ..) => ((space, 0..SLOTS), none),
        (Op::Fork(space, child), ..) => ((space, 0..SLOTS), (child, 0..SLOTS)),
        (Op::Move(space, va, to), ..) if slot(va) != slot(to) => {
            ((space, slot(va)), (space, slot(to)))
        }
        (_, Some(space), Some(va)) => ((space, slot(va)), none),
        _ => (none.clone(), none),
    };
    let each = |(space, slots): (Space, core::ops::Range<usize>)| slots.map(move |s| (space, s));
    each(one).chain(each(two))
}

impl Summary {
    pub(crate) fn reset(&mut self) {
        *self = Summary::default();
    }

    pub(crate) fn begin(&mut self, op: Op) {
        for (space, slot) in slots_of(op) {
            let slot = &mut self.slots[space.0 as usize][slot];
            slot.overlapped |= slot.in_flight > 0;
            slot.in_flight += 1;
        }
    }

    pub(crate) fn end(&mut self, op: Op, cpu: u8, index: u8, done: Done) {
        let result = match op {
            // Whether a page was accessed or written to since, and whether it may be read at
            // once, is no part of what its address maps to: kernels and walkers differ.
            Op::Age(..) | Op::Clean(..) | Op::Hint(..) | Op::Gup(..) => 0,
            _ => done as u64 + 1,
        };
        for (space, slot) in slots_of(op) {
            let slot = &mut self.slots[space.0 as usize][slot];
            slot.in_flight -= 1;
            slot.order = mix(slot.order, (cpu as u64) << 8 | index as u64 | 1 << 16);
            slot.results = mix(slot.results, result);
        }
    }

    /// A fault handler may have changed what a page is mapped to. When, compared with the
    /// operations, is not part of their order.
    pub(crate) fn faulted(&mut self, space: Space, va: Va) {
        self.slots[space.0 as usize][slot_of(va) / BLOCK_PAGES % SLOTS].overlapped = true;
    }

    /// The run is over: adds the final mappings.
    pub fn finish(&mut self, state: &State) {
        self.complete = true;
        for space in (0..state.config.spaces).map(Space) {
            for (i, slot) in self.slots[space.0 as usize].iter_mut().enumerate() {
                for page in i * BLOCK_PAGES..(i + 1) * BLOCK_PAGES {
                    let (page, writable) = mapped(state, space, page as u64 * PAGE);
                    let value = page.map_or(0, |p| (p.0 as u64) << 1 | 1 << 32);
                    slot.results = mix(slot.results, value | writable as u64);
                }
            }
        }
    }

    /// Compares two runs of one scenario: slots that could be compared, and where they differ.
    pub fn compare(&self, other: &Summary) -> (u32, Option<Disagreement>) {
        let mut comparable = 0;
        if !self.complete || !other.complete {
            return (0, None);
        }
        for (space, (ours, theirs)) in (0..).zip(self.slots.iter().zip(&other.slots)) {
            for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
                if a.overlapped || b.overlapped || a.order != b.order {
                    continue;
                }
                comparable += u32::from(a.order != 0);
                if a.results != b.results {
                    let at = Disagreement {
                        space: Space(space),
                        page: i * BLOCK_PAGES,
                    };
                    return (comparable, Some(at));
                }
            }
        }
        (comparable, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::{A, B};
    use shootdown_machine::arm64::{Desc, Stage};
    use shootdown_machine::{Boot, Config, Machine, Page, slot_pa};

    /// What a run did, in order.
    #[derive(Clone, Copy)]
    enum Did {
        Begin(Op),
        End(u8, Op, Done),
    }

    const ONE: Op = Op::Unmap(A, 0x1000);
    const TWO: Op = Op::Remap(A, 0x0);

    fn one_by_one(ops: &[(u8, Op, Done)]) -> Vec<Did> {
        let both = |(cpu, op, done)| [Did::Begin(op), Did::End(cpu, op, done)];
        ops.iter().copied().flat_map(both).collect()
    }

    /// The summary of a run that is not over.
    fn unfinished(did: &[Did]) -> Summary {
        let mut summary = Summary::default();
        for did in did {
            match *did {
                Did::Begin(op) => summary.begin(op),
                Did::End(cpu, op, done) => summary.end(op, cpu, 0, done),
            }
        }
        summary
    }

    fn summary(did: &[Did]) -> Summary {
        let machine = Machine::default();
        machine.reset(Config::default());
        let mut summary = unfinished(did);
        summary.finish(&machine.state());
        summary
    }

    #[test]
    fn equal_order_and_equal_results_agree() {
        let did = one_by_one(&[(0, ONE, Done::Yes), (1, TWO, Done::No)]);
        assert_eq!(summary(&did).compare(&summary(&did)), (1, None));
    }

    #[test]
    fn equal_order_and_different_results_disagree() {
        let yes = summary(&one_by_one(&[(0, ONE, Done::Yes), (1, TWO, Done::Yes)]));
        let no = summary(&one_by_one(&[(0, ONE, Done::Yes), (1, TWO, Done::No)]));
        let at = Disagreement { space: A, page: 0 };
        assert_eq!(yes.compare(&no).1, Some(at));
        let op = Op::Unmap(B, 0x5000);
        let yes = summary(&one_by_one(&[(0, op, Done::Yes)]));
        let no = summary(&one_by_one(&[(0, op, Done::No)]));
        assert_eq!(yes.compare(&no).1, Some(Disagreement { space: B, page: 4 }));
    }

    #[test]
    fn whether_a_page_was_accessed_is_not_compared() {
        for op in [Op::Age(A, 0x1000), Op::Clean(A, 0x1000), Op::Gup(A, 0x1000)] {
            let [yes, no] = [Done::Yes, Done::No].map(|d| summary(&one_by_one(&[(0, op, d)])));
            assert_eq!(yes.compare(&no), (1, None), "{op}");
        }
    }

    #[test]
    fn another_order_is_not_compared() {
        let ours = summary(&one_by_one(&[(0, ONE, Done::Yes), (1, TWO, Done::Yes)]));
        let theirs = summary(&one_by_one(&[(1, TWO, Done::No), (0, ONE, Done::Yes)]));
        assert_eq!(ours.compare(&theirs), (0, None));
    }

    #[test]
    fn order_counts_within_a_slot_only() {
        let far = Op::Unmap(A, 0x4000);
        let ours = summary(&one_by_one(&[(0, ONE, Done::Yes), (1, far, Done::No)]));
        let theirs = summary(&one_by_one(&[(1, far, Done::No), (0, ONE, Done::Yes)]));
        assert_eq!(ours.compare(&theirs), (2, None));
    }

    #[test]
    fn overlapping_operations_are_not_compared() {
        let overlap = |last| {
            summary(&[
                Did::Begin(ONE),
                Did::Begin(TWO),
                Did::End(0, ONE, Done::Yes),
                Did::End(1, TWO, last),
            ])
        };
        let (yes, no) = (overlap(Done::Yes), overlap(Done::No));
        assert_eq!(yes.compare(&no), (0, None));
        let apart = summary(&one_by_one(&[(0, ONE, Done::Yes), (1, TWO, Done::No)]));
        assert_eq!(yes.compare(&apart), (0, None));
        assert_eq!(apart.compare(&yes), (0, None));
    }

    #[test]
    fn what_a_fault_may_have_mapped_is_not_compared() {
        let yes = summary(&one_by_one(&[(0, ONE, Done::Yes)]));
        let mut no = summary(&one_by_one(&[(0, ONE, Done::No)]));
        assert!(yes.compare(&no).1.is_some());
        no.faulted(A, 0x3000);
        assert_eq!(yes.compare(&no), (0, None));
    }

    #[test]
    fn exit_is_an_operation_on_every_slot() {
        let exit = Op::Exit(A);
        let ours = summary(&one_by_one(&[(0, ONE, Done::Yes), (1, exit, Done::Yes)]));
        let theirs = summary(&one_by_one(&[(1, exit, Done::Yes), (0, ONE, Done::Yes)]));
        // Slot 0 saw them in another order; the others saw `exit` only.
        assert_eq!(ours.compare(&theirs), (SLOTS as u32 - 1, None));
    }

    #[test]
    fn where_nothing_was_done_there_is_nothing_to_compare() {
        assert_eq!(summary(&[]).compare(&summary(&[])), (0, None));
    }

    #[test]
    fn a_run_that_was_stopped_is_not_compared() {
        let did = one_by_one(&[(0, ONE, Done::Yes)]);
        assert_eq!(unfinished(&did).compare(&summary(&did)), (0, None));
        assert_eq!(summary(&did).compare(&unfinished(&did)), (0, None));
    }

    #[test]
    fn final_mappings_are_results() {
        let machine = Machine::default();
        machine.reset(Config::default());
        let boot = Boot::new(&machine, None);
        let root = boot.root(A);
        let (mut without, mut with) = (Summary::default(), Summary::default());
        without.finish(&machine.state());
        let pa = boot.block(A, Page(4));
        let desc = Desc::leaf(Stage::One, 2, pa, true);
        boot.set(slot_pa(root, 2, 0x4000), desc);
        with.finish(&machine.state());
        let at = Disagreement { space: A, page: 4 };
        assert_eq!(with.compare(&without).1, Some(at));
    }
}
