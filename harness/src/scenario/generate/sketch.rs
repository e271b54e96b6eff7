// SPDX-License-Identifier: MIT OR Apache-2.0
//! What programs may expect of spaces, so that most of their operations have something to do.

use shootdown_machine::{BLOCK_PAGES, Op, PAGE, PAGES, Space, Va};

/// The tables of one space.
#[derive(Clone, Copy)]
struct Tables {
    /// A bit for each page that is mapped.
    mapped: u16,
    /// A bit for each block: `BLOCK_PAGES` pages that one descriptor maps.
    blocks: u8,
    /// A bit for each table, which may be empty.
    tables: u8,
}

/// What every space begins with: two pages, and a block.
const FIRST: Tables = Tables {
    mapped: 0b1111_0011,
    blocks: 0b10,
    tables: 0b01,
};

const EMPTY: Tables = Tables {
    mapped: 0,
    blocks: 0,
    tables: 0,
};

/// The pages of a block.
const WHOLE: u16 = (1 << BLOCK_PAGES) - 1;

/// A guess: operations one after the other, as they are added to the programs. The schedule may
/// run them in another order, and a variant may lack one.
#[derive(Clone, Copy)]
pub(super) struct Sketch {
    spaces: [Tables; 8],
    /// What each CPU has loaded.
    loaded: [Option<Space>; 4],
    /// Whether spaces have areas of their own at their first and last pages, as an mm has.
    areas: bool,
}

/// Where the area of an mm begins that is one of large pages; it has one.
const LARGE: Va = 12 * PAGE;

/// Whether an mm has this: its first page is one of a file or a driver, its last area one of a
/// large page.
fn of_mm(op: Op) -> bool {
    let first = op.va() == Some(0);
    let large = op.va().is_some_and(|va| va >= LARGE);
    match op {
        Op::Move(_, _, to) => !first && !large && to != 0 && to < LARGE,
        Op::Gup(..) => !first,
        Op::Hint(..) => !first && !large,
        Op::Zap(space, _) if first => space.0.is_multiple_of(2),
        Op::Map(..) | Op::Unmap(..) | Op::Protect(..) | Op::Zap(..) => {
            !large || op.va() == Some(LARGE)
        }
        Op::Touch(..) => true,
        _ => !large,
    }
}

fn bit(va: Va) -> u16 {
    1 << ((va / PAGE) as usize % PAGES)
}

fn block(va: Va) -> usize {
    (va / PAGE) as usize % PAGES / BLOCK_PAGES
}

impl Tables {
    fn maps(self, va: Va) -> bool {
        self.mapped & bit(va) != 0
    }

    fn is_block(self, va: Va) -> bool {
        self.blocks >> block(va) & 1 != 0
    }

    fn has_table(self, va: Va) -> bool {
        self.tables >> block(va) & 1 != 0
    }

    /// Whether the last level but one has something there.
    fn has_any(self, va: Va) -> bool {
        self.has_table(va) || self.is_block(va)
    }

    /// Mapped by a descriptor of its own.
    fn has_page(self, va: Va) -> bool {
        self.maps(va) && !self.is_block(va)
    }

    /// The pages that a table maps.
    fn table(self, va: Va) -> u16 {
        self.mapped >> (block(va) * BLOCK_PAGES) & WHOLE
    }

    /// The first page that a table maps.
    fn lowest(self, va: Va) -> Option<Va> {
        let pages = self.table(va);
        let first = block(va) * BLOCK_PAGES + pages.trailing_zeros() as usize;
        (pages > 0).then_some(first as Va * PAGE)
    }
}

/// Whether a move is one of whole tables.
fn moves_table(from: Va, to: Va) -> bool {
    (from | to).is_multiple_of(BLOCK_PAGES as u64 * PAGE)
}

impl Sketch {
    pub(super) fn new(areas: bool) -> Sketch {
        Sketch {
            areas,
            spaces: [FIRST; 8],
            loaded: [None; 4],
        }
    }

    fn of(&self, space: Space) -> Tables {
        self.spaces[space.0 as usize]
    }

    /// What a CPU has loaded.
    pub(super) fn loaded(&self, cpu: usize) -> Option<Space> {
        self.loaded[cpu]
    }

    /// Whether nothing is mapped.
    pub(super) fn is_empty(&self, space: Space) -> bool {
        self.of(space).mapped == 0
    }

    /// Whether a CPU that does this now probably has something to do.
    pub(super) fn has_effect(&self, cpu: usize, op: Op) -> bool {
        if self.areas && !of_mm(op) {
            return false;
        }
        match op {
            // One that faults shows that nothing is left of a mapping.
            Op::Touch(..) | Op::SchedOut => self.loaded[cpu].is_some(),
            Op::Switch(_) => true,
            Op::Exit(space) => !self.loaded.contains(&Some(space)),
            Op::Map(space, va) => !self.of(space).maps(va),
            Op::Protect(space, va, _) | Op::Age(space, va) | Op::Gup(space, va) => {
                self.of(space).maps(va)
            }
            Op::Unmap(space, va)
            | Op::Remap(space, va)
            | Op::Reclaim(space, va)
            | Op::Zap(space, va)
            | Op::Clean(space, va)
            | Op::Hint(space, va) => self.of(space).has_page(va),
            Op::Split(space, va) => self.of(space).is_block(va),
            Op::Collapse(space, va) => {
                self.of(space).has_table(va) && matches!(self.of(space).table(va), 0 | WHOLE)
            }
            Op::Move(space, from, to) => {
                let tables = self.of(space);
                if moves_table(from, to) {
                    tables.has_any(from) && !tables.has_any(to)
                } else {
                    tables.has_page(from) && !tables.maps(to)
                }
            }
            Op::Fork(space, other) => !self.is_empty(space) && self.is_empty(other),
            Op::Pin(_) | Op::Unpin(_) | Op::Offline => true,
        }
    }

    /// What would have to be done first, for this to have something to do, on a CPU that has
    /// `loaded` or is about to.
    pub(super) fn before(&self, op: Op, loaded: Space) -> Option<Op> {
        if self.areas && !of_mm(op) {
            return None;
        }
        let unmap = |space, va| {
            if self.of(space).is_block(va) {
                Op::Split(space, va)
            } else {
                Op::Unmap(space, va)
            }
        };
        Some(match op {
            Op::Touch(..) | Op::SchedOut => Op::Switch(loaded),
            Op::Map(space, va) => unmap(space, va),
            Op::Fork(space, other) if space != other && !self.is_empty(other) => Op::Exit(other),
            Op::Move(space, from, to)
                if moves_table(from, to)
                    && self.of(space).has_any(from)
                    && self.of(space).has_table(to)
                    && from != to =>
            {
                Op::Collapse(space, to)
            }
            Op::Collapse(space, va) if self.of(space).is_block(va) => Op::Split(space, va),
            Op::Split(space, va) => Op::Collapse(space, va),
            Op::Move(space, from, to) if self.of(space).has_page(from) && from != to => {
                unmap(space, to)
            }
            // A table is emptied, which must have been used for it; and stays, other than by unmap.
            Op::Collapse(space, va) => Op::Zap(space, self.of(space).lowest(va).unwrap_or(va)),
            Op::Fork(..) | Op::Exit(_) => return None,
            _ => {
                let (space, va) = op.space().zip(op.va())?;
                if self.of(space).is_block(va) {
                    Op::Split(space, va)
                } else {
                    Op::Map(space, va)
                }
            }
        })
    }

    /// A CPU does this, if it has something to do.
    pub(super) fn did(&mut self, cpu: usize, op: Op) {
        if !self.has_effect(cpu, op) {
            return;
        }
        match op {
            Op::Switch(space) => self.loaded[cpu] = Some(space),
            Op::SchedOut | Op::Offline => self.loaded[cpu] = None,
            Op::Exit(space) => self.spaces[space.0 as usize] = EMPTY,
            Op::Fork(space, other) => self.spaces[other.0 as usize] = self.of(space),
            _ => {}
        }
        let Some(space) = op.space() else { return };
        let tables = &mut self.spaces[space.0 as usize];
        match op {
            Op::Map(_, va) => {
                tables.mapped |= bit(va);
                tables.tables |= 1 << block(va);
            }
            Op::Unmap(_, va) | Op::Reclaim(_, va) | Op::Zap(_, va) => tables.mapped &= !bit(va),
            Op::Split(_, va) => {
                tables.blocks &= !(1 << block(va));
                tables.tables |= 1 << block(va);
            }
            Op::Collapse(_, va) => {
                tables.tables &= !(1 << block(va));
                if tables.table(va) == WHOLE {
                    tables.blocks |= 1 << block(va);
                }
            }
            Op::Move(_, from, to) if moves_table(from, to) => {
                let (old, new) = (block(from), block(to));
                let pages = tables.table(from);
                tables.mapped &= !(WHOLE << (old * BLOCK_PAGES));
                tables.mapped |= pages << (new * BLOCK_PAGES);
                for bits in [&mut tables.blocks, &mut tables.tables] {
                    let was = *bits >> old & 1;
                    *bits &= !(1 << old);
                    *bits |= was << new;
                }
            }
            Op::Move(_, from, to) => {
                tables.mapped &= !bit(from);
                tables.mapped |= bit(to);
                tables.tables |= 1 << block(to);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shootdown_machine::Access;

    const A: Space = Space(0);
    const B: Space = Space(1);

    /// What of these, done in this order by one CPU, has something to do.
    fn effects(ops: &[Op]) -> Vec<bool> {
        let mut sketch = Sketch::new(false);
        let each = ops.iter().map(|op| {
            let effect = sketch.has_effect(0, *op);
            sketch.did(0, *op);
            effect
        });
        each.collect()
    }

    #[test]
    fn a_page_goes_once() {
        assert_eq!(
            effects(&[
                Op::Unmap(A, 0),
                Op::Unmap(A, 0),
                Op::Map(A, 0),
                Op::Map(A, 0)
            ]),
            [true, false, true, false]
        );
        assert_eq!(
            effects(&[Op::Zap(B, 0x1000), Op::Remap(B, 0x1000)]),
            [true, false]
        );
    }

    #[test]
    fn a_block_is_no_page() {
        assert_eq!(
            effects(&[
                Op::Unmap(A, 0x5000),
                Op::Collapse(A, 0x4000),
                Op::Split(A, 0x4000),
                Op::Split(A, 0x4000),
                Op::Collapse(A, 0x7000),
                Op::Split(A, 0x4000),
                Op::Unmap(A, 0x5000),
                Op::Collapse(A, 0x4000),
            ]),
            [false, false, true, false, true, true, true, false]
        );
    }

    #[test]
    fn a_copy_goes_to_an_empty_space_that_nobody_has_loaded() {
        assert_eq!(
            effects(&[Op::Fork(A, B), Op::Exit(B), Op::Fork(A, B), Op::Unmap(B, 0)]),
            [false, true, true, true]
        );
        assert_eq!(effects(&[Op::Switch(B), Op::Exit(B)]), [true, false]);
    }

    #[test]
    fn what_an_operation_needs_comes_before_it() {
        let first = |op| {
            let sketch = Sketch::new(false);
            assert!(!sketch.has_effect(0, op));
            sketch.before(op, B)
        };
        assert_eq!(first(Op::Touch(0, Access::Read)), Some(Op::Switch(B)));
        assert_eq!(first(Op::Map(A, 0)), Some(Op::Unmap(A, 0)));
        assert_eq!(first(Op::Map(A, 0x4000)), Some(Op::Split(A, 0x4000)));
        assert_eq!(first(Op::Zap(A, 0x8000)), Some(Op::Map(A, 0x8000)));
        assert_eq!(first(Op::Zap(A, 0x5000)), Some(Op::Split(A, 0x5000)));
        assert_eq!(first(Op::Collapse(A, 0x4000)), Some(Op::Split(A, 0x4000)));
        assert_eq!(first(Op::Collapse(A, 0x8000)), Some(Op::Zap(A, 0x8000)));
        assert_eq!(first(Op::Collapse(A, 0x3000)), Some(Op::Zap(A, 0)));
        assert_eq!(first(Op::Fork(A, B)), Some(Op::Exit(B)));
        assert_eq!(first(Op::Fork(A, A)), None);
        assert_eq!(first(Op::Move(A, 0, 0x1000)), Some(Op::Unmap(A, 0x1000)));
        assert_eq!(first(Op::Move(A, 0x9000, 0)), Some(Op::Map(A, 0x9000)));
    }

    #[test]
    fn pages_and_tables_move() {
        assert_eq!(
            effects(&[
                Op::Move(A, 0x1000, 0x0),
                Op::Move(A, 0x1000, 0x2000),
                Op::Unmap(A, 0x1000),
                Op::Unmap(A, 0x2000),
                Op::Move(A, 0x4000, 0x8000),
                Op::Split(A, 0x4000),
                Op::Split(A, 0xb000),
            ]),
            [false, true, false, true, true, false, true]
        );
    }

    #[test]
    fn an_mm_has_areas() {
        let mut sketch = Sketch::new(true);
        let mut effect = |op| {
            let effect = sketch.has_effect(0, op);
            sketch.did(0, op);
            (effect, sketch.before(op, A).is_some())
        };
        // A file's page is mapped, unmapped and written, but stays where it is; and a driver's is
        // not zapped.
        assert_eq!(effect(Op::Move(A, 0, 0x2000)), (false, false));
        assert!(effect(Op::Zap(A, 0)).0);
        assert!(!effect(Op::Zap(B, 0)).0);
        assert!(effect(Op::Move(A, 0x1000, 0x2000)).0);
        // Of the last area there is one page, which is shared and pinned, and nothing else.
        assert!(!effect(Op::Map(A, 0xd000)).0);
        assert!(effect(Op::Map(A, 0xc000)).0);
        assert_eq!(effect(Op::Reclaim(A, 0xc000)), (false, false));
        assert!(effect(Op::Gup(A, 0xc000)).0);
        assert!(!effect(Op::Move(A, 0x2000, 0xd000)).0);
        // Others have no such areas.
        assert!(Sketch::new(false).has_effect(0, Op::Move(A, 0, 0x2000)));
    }

    #[test]
    fn a_user_needs_a_space() {
        let touch = Op::Touch(0, Access::Read);
        assert_eq!(
            effects(&[touch, Op::Switch(A), touch, Op::SchedOut]),
            [false, true, true, true]
        );
    }
}
