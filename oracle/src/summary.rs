// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a run came to, in a form that two variants' runs can be compared in.
//!
//! Operations on one slot of a table (or one block) are comparable between two runs if none
//! overlapped another and they returned in the same order. Then each must have had the same
//! result, and the pages must be mapped alike at the end. Otherwise nothing can be said: that
//! is not agreement, and counted apart.

use crate::reference::{mapped, slot_of};
use shootdown_machine::{BLOCK_PAGES, Done, Op, PAGE, PAGES, Space, State};

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

fn slots_of(op: Op) -> core::ops::Range<usize> {
    match op {
        Op::Map(_, va)
        | Op::Unmap(_, va)
        | Op::Protect(_, va, _)
        | Op::Remap(_, va)
        | Op::Split(_, va)
        | Op::Collapse(_, va) => {
            let slot = slot_of(va) / BLOCK_PAGES;
            slot..slot + 1
        }
        Op::Exit(_) => 0..SLOTS,
        _ => 0..0,
    }
}

impl Summary {
    pub(crate) fn reset(&mut self) {
        *self = Summary::default();
    }

    pub(crate) fn begin(&mut self, space: Space, op: Op) {
        for slot in &mut self.slots[space.0 as usize][slots_of(op)] {
            slot.overlapped |= slot.in_flight > 0;
            slot.in_flight += 1;
        }
    }

    pub(crate) fn end(&mut self, space: Space, op: Op, cpu: u8, index: u8, done: Done) {
        for slot in &mut self.slots[space.0 as usize][slots_of(op)] {
            slot.in_flight -= 1;
            slot.order = mix(slot.order, (cpu as u64) << 8 | index as u64 | 1 << 16);
            slot.results = mix(slot.results, done as u64 + 1);
        }
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
                comparable += 1;
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
