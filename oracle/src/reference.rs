// SPDX-License-Identifier: MIT OR Apache-2.0
//! The reference: address spaces without TLBs.
//!
//! For each page of each space, the set of mappings that an access may reach now. An
//! operation widens it when it begins; when it returns, what was there before is gone. Where
//! operations overlap, the order in which they took effect is not known, and every outcome
//! that some order gives stays in the set.

use shootdown_machine::arm64::Desc;
use shootdown_machine::{
    Arch, BLOCK_PAGES, Config, Done, Op, PAGE, PAGES, Page, Prot, Space, State, Use, Va,
    initial_page,
};

/// One mapping that a page may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Value {
    /// The page; `None`: not mapped.
    pub page: Option<Page>,
    /// A store is permitted.
    pub writable: bool,
    /// When the operation that made it returned; `u32::MAX`: not yet.
    since: u32,
}

const MOST: usize = 12;
const NOTHING: Value = Value {
    page: None,
    writable: false,
    since: 0,
};

/// The possible mappings of one page.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    values: [Value; MOST],
    len: u8,
    /// Operations on it that have begun and not returned.
    in_flight: u8,
    /// Operations that may take it away for a moment and give it back.
    passing: u8,
    /// What came of those in flight has yet to be seen.
    open: bool,
    /// More possibilities than fit: nothing is known until all operations have returned.
    wild: bool,
    /// As long as nothing is in flight, a store must fault first: the page is shared, or
    /// software wants to know.
    sealed: bool,
}

impl Cell {
    fn only(value: Value) -> Cell {
        let mut values = [NOTHING; MOST];
        values[0] = value;
        Cell {
            values,
            len: 1,
            in_flight: 0,
            passing: 0,
            open: false,
            wild: false,
            sealed: false,
        }
    }

    /// The possibilities.
    pub fn values(&self) -> &[Value] {
        &self.values[..self.len as usize]
    }

    fn add(&mut self, value: Value) {
        let known = self.values().iter();
        if known
            .clone()
            .any(|v| v.page == value.page && v.writable == value.writable && v.since == value.since)
        {
            return;
        }
        if self.len as usize == MOST {
            self.wild = true;
            return;
        }
        self.values[self.len as usize] = value;
        self.len += 1;
    }

    fn retain(&mut self, keep: impl Fn(&Value) -> bool) {
        let mut kept = 0;
        for i in 0..self.len as usize {
            if keep(&self.values[i]) {
                self.values[kept] = self.values[i];
                kept += 1;
            }
        }
        self.len = kept as u8;
    }

    /// Whether an access may reach `page` (`None`: may fault).
    pub fn allows(&self, page: Option<Page>) -> bool {
        self.wild || self.values().iter().any(|v| v.page == page)
    }

    /// Whether a store may reach `page`.
    pub fn allows_write(&self, page: Page) -> bool {
        self.wild
            || self
                .values()
                .iter()
                .any(|v| v.page == Some(page) && v.writable)
    }

    /// One that was in flight has returned. After the last of them the tables say what is so;
    /// whether that could be.
    fn close(&mut self, state: &State, space: Space, va: Va) -> bool {
        if self.in_flight > 0 || self.passing > 0 {
            return true;
        }
        let (page, writable) = mapped(state, space, va);
        let known = |v: &Value| (v.page, v.writable) == (page, writable);
        let possible = self.wild || self.values().iter().any(known);
        *self = Cell::only(Value {
            page,
            writable,
            since: state.step,
        });
        self.open = false;
        self.sealed = sealed(state, space, va);
        possible
    }

    /// Whether a store must fault before it may reach the page.
    pub fn sealed(&self) -> bool {
        self.sealed && self.settled()
    }

    /// Whether nothing is in flight.
    pub fn settled(&self) -> bool {
        !self.open
    }
}

/// All spaces.
#[derive(Debug)]
pub struct Reference {
    cells: Vec<Cell>,
}

impl Default for Reference {
    fn default() -> Self {
        Reference {
            cells: vec![Cell::only(NOTHING); 8 * PAGES],
        }
    }
}

/// The first page of the table slot (or block) that an address is in.
pub fn slot_of(va: Va) -> usize {
    (va / PAGE) as usize / BLOCK_PAGES * BLOCK_PAGES
}

/// The pages whose mapping an operation may change, each with its space.
pub fn pages_of(op: Op) -> impl Iterator<Item = (Space, usize)> {
    let page = |va: Va| (va / PAGE) as usize..(va / PAGE) as usize + 1;
    let slot = |va: Va| slot_of(va)..slot_of(va) + BLOCK_PAGES;
    let none = (Space(0), 0..0);
    let (one, two) = match op {
        Op::Map(space, va)
        | Op::Unmap(space, va)
        | Op::Remap(space, va)
        | Op::Reclaim(space, va)
        | Op::Zap(space, va)
        | Op::Hint(space, va) => ((space, page(va)), none),
        Op::Protect(space, va, _) | Op::Collapse(space, va) => ((space, slot(va)), none),
        Op::Move(space, va, to) => ((space, slot(va)), (space, slot(to))),
        Op::Fork(space, child) => ((space, 0..PAGES), (child, 0..PAGES)),
        _ => (none.clone(), none),
    };
    let each = |(space, pages): (Space, core::ops::Range<usize>)| pages.map(move |p| (space, p));
    each(one).chain(each(two))
}

/// The pages that an operation takes away for a moment, and gives back as they were.
fn passing(op: Op) -> impl Iterator<Item = (Space, usize)> {
    let page = |va: Va| (va / PAGE) as usize;
    let (space, pages) = match op {
        Op::Split(space, va) => (space, slot_of(va)..slot_of(va) + BLOCK_PAGES),
        Op::Clean(space, va) => (space, page(va)..page(va) + 1),
        _ => (Space(0), 0..0),
    };
    pages.map(move |p| (space, p))
}

/// Whether an operation takes what it makes of one page from another page or another space.
/// While such a one is in flight, nothing is known of its pages.
fn takes_from_elsewhere(op: Op) -> bool {
    matches!(op, Op::Move(..) | Op::Fork(..))
}

impl Reference {
    /// Every space as it is first.
    pub fn reset(&mut self, config: &Config) {
        for space in 0..config.spaces {
            for page in 0..PAGES {
                let mapped = page < 2 || (BLOCK_PAGES..2 * BLOCK_PAGES).contains(&page);
                let first = initial_page(Space(space), page);
                let value = Value {
                    page: Some(first),
                    writable: true,
                    since: 0,
                };
                *self.cell_mut(Space(space), page) =
                    Cell::only(if mapped { value } else { NOTHING });
            }
        }
    }

    /// A space begins a new life, empty.
    pub fn clear(&mut self, space: Space) {
        for page in 0..PAGES {
            *self.cell_mut(space, page) = Cell::only(NOTHING);
        }
    }

    /// A page's possibilities; `None`: no operation can name that address.
    pub fn cell(&self, space: Space, va: Va) -> Option<&Cell> {
        let page = (va / PAGE) as usize;
        (page < PAGES).then(|| &self.cells[space.0 as usize * PAGES + page])
    }

    fn cell_mut(&mut self, space: Space, page: usize) -> &mut Cell {
        &mut self.cells[space.0 as usize * PAGES + page]
    }

    /// An operation begins; `in_flight`: it and all others that have begun on that space and
    /// not returned, each with the first page it may create.
    pub fn begin(&mut self, op: Op, in_flight: &[(Op, u16)]) {
        for (space, page) in passing(op) {
            self.cell_mut(space, page).passing += 1;
        }
        for (space, page) in pages_of(op) {
            let cell = self.cell_mut(space, page);
            cell.in_flight += 1;
            cell.open = true;
            if takes_from_elsewhere(op) {
                cell.wild = true;
                continue;
            }
            // Any of them may act on what any other makes.
            let mut before = 0;
            while before != cell.len {
                before = cell.len;
                for (op, fresh) in in_flight
                    .iter()
                    .filter(|(op, _)| pages_of(*op).any(|at| at == (space, page)))
                {
                    for i in 0..cell.len as usize {
                        if let Some(new) = changed(cell.values[i], *op, page, *fresh) {
                            cell.add(new);
                        }
                    }
                }
            }
        }
    }

    /// It returns, having begun at step `begun`. Gives the first page that now has a mapping
    /// which no order of the operations gives.
    pub fn end(
        &mut self,
        state: &State,
        op: Op,
        fresh: u16,
        done: Done,
        begun: u32,
    ) -> Option<(Va, Option<Page>)> {
        let mut wrong = None;
        for (space, page) in pages_of(op) {
            let va = page as u64 * PAGE;
            let truth = mapped(state, space, va).0;
            let cell = self.cell_mut(space, page);
            narrow(cell, op, page, fresh, done, begun, truth);
            cell.in_flight -= 1;
            if !cell.close(state, space, va) {
                wrong = wrong.or(Some((va, truth)));
            }
        }
        for (space, page) in passing(op) {
            let va = page as u64 * PAGE;
            let cell = self.cell_mut(space, page);
            cell.passing -= 1;
            if !cell.close(state, space, va) {
                wrong = wrong.or(Some((va, mapped(state, space, va).0)));
            }
        }
        wrong
    }

    /// A fault handler that may change the mapping of a page begins. It may split the block that
    /// the page is in.
    pub fn begin_fault(&mut self, space: Space, va: Va) {
        let at = (va / PAGE) as usize % PAGES;
        for page in slot_of(va) % PAGES..slot_of(va) % PAGES + BLOCK_PAGES {
            let cell = self.cell_mut(space, page);
            if page == at {
                cell.in_flight += 1;
                cell.open = true;
                cell.wild = true;
            } else {
                cell.passing += 1;
            }
        }
    }

    /// It returns.
    pub fn end_fault(&mut self, state: &State, space: Space, va: Va) {
        let at = (va / PAGE) as usize % PAGES;
        for page in slot_of(va) % PAGES..slot_of(va) % PAGES + BLOCK_PAGES {
            let cell = self.cell_mut(space, page);
            if page == at {
                cell.in_flight -= 1;
            } else {
                cell.passing -= 1;
            }
            cell.close(state, space, page as u64 * PAGE);
        }
    }
}

/// What an operation makes of a mapping; `None`: it leaves that one alone.
fn changed(old: Value, op: Op, page: usize, fresh: u16) -> Option<Value> {
    let since = u32::MAX;
    match (op, old.page) {
        (Op::Map(..), None) => Some(Value {
            page: Some(Page(fresh)),
            writable: true,
            since,
        }),
        (Op::Map(..), Some(_)) | (_, None) => None,
        // A hint leaves the page where it is. It is a fault that brings it back, there or elsewhere.
        (Op::Unmap(..) | Op::Reclaim(..) | Op::Zap(..) | Op::Hint(..), _) => Some(Value {
            page: None,
            writable: false,
            since,
        }),
        (Op::Protect(_, _, prot), _) => Some(Value {
            writable: prot == Prot::Rw,
            since,
            ..old
        }),
        (Op::Remap(..), _) => Some(Value {
            page: Some(Page(fresh)),
            since,
            ..old
        }),
        (Op::Collapse(..), _) => {
            let page = Page(fresh + (page % BLOCK_PAGES) as u16);
            Some(Value {
                page: Some(page),
                since,
                ..old
            })
        }
        _ => None,
    }
}

/// Removes what cannot be after an operation has returned: what it replaced, if that was
/// there before it began; and what it did not make, if it did nothing.
fn narrow(
    cell: &mut Cell,
    op: Op,
    page: usize,
    fresh: u16,
    done: Done,
    begun: u32,
    truth: Option<Page>,
) {
    let before = |v: &Value| v.since <= begun;
    let made = Page(
        fresh
            + if matches!(op, Op::Collapse(..)) {
                (page % BLOCK_PAGES) as u16
            } else {
                0
            },
    );
    match (op, done) {
        (Op::Unmap(..) | Op::Reclaim(..) | Op::Zap(..) | Op::Hint(..), Done::Yes) => {
            cell.retain(|v| v.page.is_none() || !before(v));
        }
        (Op::Map(..) | Op::Remap(..), Done::Yes) => {
            cell.retain(|v| v.page == Some(made) || !before(v));
        }
        (Op::Collapse(..), Done::Yes) if truth == Some(made) => {
            cell.retain(|v| v.page == Some(made) || !before(v));
        }
        // It is away for a moment, or was taken away since: what it was is not known.
        (Op::Collapse(..), Done::Yes) if truth.is_none() => {}
        // In place, or not at all.
        (Op::Map(..) | Op::Remap(..) | Op::Collapse(..), _) => {
            cell.retain(|v| v.page != Some(made))
        }
        // Its own page is as asked now; neighbours, only if they shared a block with it.
        (Op::Protect(_, va, prot), _) if page == (va / PAGE) as usize => {
            let writable = prot == Prot::Rw;
            cell.retain(|v| v.page.is_none() || v.writable == writable || !before(v));
        }
        _ => {}
    }
}

/// What a space maps at a page now: page and permission.
pub fn mapped(state: &State, space: Space, va: Va) -> (Option<Page>, bool) {
    let Some((level, _, desc)) = state.mapping(space, va) else {
        return (None, false);
    };
    let Some(leaf) = state.decode(level, desc).leaf() else {
        return (None, false);
    };
    let pa = leaf.pa + va % shootdown_machine::level_size(level);
    match state.mem.frame(pa).usage {
        // A page that hardware has yet to mark as dirty is one that may be written to, and so is
        // one that a fault makes writable.
        Use::Page(_, page) => {
            let later = dirtiable(state, desc) || desc.granted();
            (Some(page), leaf.writable || later)
        }
        _ => (None, false),
    }
}

/// Whether a page may be written to, but not before a fault. Nothing but an operation or a
/// fault handler changes that, and when one returns its flushes are complete.
fn sealed(state: &State, space: Space, va: Va) -> bool {
    let Some((level, _, desc)) = state.translate(space, va) else {
        return false;
    };
    let leaf = state.decode(level, desc).leaf();
    desc.granted() && leaf.is_some_and(|leaf| !leaf.writable) && !dirtiable(state, desc)
}

fn dirtiable(state: &State, desc: Desc) -> bool {
    state.config.arch == Arch::Arm64 && desc.dirtiable()
}

#[cfg(test)]
mod tests;
