// SPDX-License-Identifier: GPL-2.0-only
//! Entries of page tables, as generic mm code sees them on every architecture.

use shootdown_machine::arm64::{Desc, Stage};
use shootdown_machine::{Arch, Leaf};

/// An entry that a reclaimed page has left behind: its contents are elsewhere (a swap entry).
pub const SWAPPED: Desc = Desc::BUSY;

/// What entries mean on this machine.
#[derive(Clone, Copy, Debug)]
pub struct Ptes(pub Arch);

impl Ptes {
    /// An entry that maps a page or, at level 2, a block, for a user who may write to it.
    pub fn leaf(self, level: u8, pa: u64) -> Desc {
        self.0.leaf(Stage::One, level, pa, true).with_granted(true)
    }

    /// An entry that points to a table.
    pub fn table(self, pa: u64) -> Desc {
        self.0.table(pa)
    }

    /// The table that an entry of level 2 points to.
    pub fn table_at(self, level: u8, desc: Desc) -> Option<u64> {
        let decoded = self.0.decode(Stage::One, level, desc);
        decoded.pa().filter(|_| decoded.is_table())
    }

    /// What a valid entry maps.
    pub fn mapped(self, level: u8, desc: Desc) -> Option<Leaf> {
        self.0.decode(Stage::One, level, desc).leaf()
    }

    /// The page that an entry is about, valid or withheld (`pte_present`).
    pub fn present(self, desc: Desc) -> Option<Leaf> {
        self.mapped(3, desc.restored().unwrap_or(desc))
    }

    /// The entry for the same memory, writable now (`pte_mkwrite`) or not (`pte_wrprotect`).
    pub fn with_writable(self, desc: Desc, writable: bool) -> Desc {
        self.0.with_writable(Stage::One, desc, writable)
    }

    /// The same leaf for other memory.
    pub fn moved(self, level: u8, desc: Desc, pa: u64) -> Desc {
        let writable = self.mapped(level, desc).is_some_and(|leaf| leaf.writable);
        let new = self.0.leaf(Stage::One, level, pa, writable);
        new.with_granted(desc.granted())
    }
}
