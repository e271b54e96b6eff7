// SPDX-License-Identifier: MIT OR Apache-2.0
//! Paging-structure entries of 4-level paging (Intel SDM vol. 3, 4.5.4 "Linear-Address
//! Translation with 4-Level Paging and 5-Level Paging", tables 4-14 to 4-20).

use crate::arch::{Decoded, Leaf};
use crate::arm64::Desc;

/// P: the entry may be used.
pub const PRESENT: u64 = 1 << 0;
/// R/W: stores are permitted.
pub const WRITE: u64 = 1 << 1;
/// U/S: user mode may use it.
pub const USER: u64 = 1 << 2;
/// A: it has been used.
pub const ACCESSED: u64 = 1 << 5;
/// D: it has been used for a store.
pub const DIRTY: u64 = 1 << 6;
/// PS: it maps a large page.
pub const PS: u64 = 1 << 7;
/// G: its translation is used for every PCID (while CR4.PGE = 1).
pub const GLOBAL: u64 = 1 << 8;
const ADDR: u64 = 0x000f_ffff_ffff_f000;

/// What a walker makes of an entry. At the last level PS is PAT, and means nothing here.
#[inline]
pub fn decode(level: u8, desc: Desc) -> Decoded {
    if desc.0 & PRESENT == 0 {
        return Decoded::Invalid;
    }
    let pa = desc.0 & ADDR;
    if level < 3 && desc.0 & PS == 0 {
        return Decoded::Table(pa);
    }
    Decoded::Leaf(Leaf {
        pa,
        writable: desc.0 & WRITE != 0,
        global: desc.0 & GLOBAL != 0,
        accessed: desc.0 & ACCESSED != 0,
    })
}

/// An entry that points to a table.
pub fn table(pa: u64) -> Desc {
    Desc(pa | PRESENT | WRITE | USER | ACCESSED)
}

/// An entry that maps a page (level 3) or a large page.
pub fn leaf(level: u8, pa: u64, writable: bool) -> Desc {
    let size = if level < 3 { PS } else { 0 };
    let write = if writable { WRITE } else { 0 };
    Desc(pa | PRESENT | USER | ACCESSED | DIRTY | size | write)
}

/// The same with another R/W.
pub fn with_writable(desc: Desc, writable: bool) -> Desc {
    Desc(if writable {
        desc.0 | WRITE
    } else {
        desc.0 & !WRITE
    })
}
