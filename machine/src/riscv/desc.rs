// SPDX-License-Identifier: MIT OR Apache-2.0
//! Page-table entries of Sv39 (RISC-V privileged specification, "Sv39: Page-Based 39-bit
//! Virtual-Memory System", and the algorithm under "Virtual Address Translation Process").

use crate::arch::{Decoded, Leaf};
use crate::arm64::Desc;

/// V: the entry may be used.
pub const VALID: u64 = 1 << 0;
/// R: loads are permitted.
pub const READ: u64 = 1 << 1;
/// W: stores are permitted.
pub const WRITE: u64 = 1 << 2;
/// X: it may be executed. With R and X clear, the entry points to a table.
pub const EXEC: u64 = 1 << 3;
/// U: user mode may use it.
pub const USER: u64 = 1 << 4;
/// G: its translation is in every address space.
pub const GLOBAL: u64 = 1 << 5;
/// A: it has been used.
pub const ACCESSED: u64 = 1 << 6;
/// D: it has been used for a store.
pub const DIRTY: u64 = 1 << 7;
const PPN: u64 = (1 << 44) - 1;

/// What a walker makes of an entry. Without V, with W but not R, or where a table would be
/// needed below the last level: page fault. A store to a page without D faults too (Svade).
#[inline]
pub fn decode(level: u8, desc: Desc) -> Decoded {
    let rwx = desc.0 & (READ | WRITE | EXEC);
    if desc.0 & VALID == 0 || rwx & (READ | WRITE) == WRITE {
        return Decoded::Invalid;
    }
    let pa = (desc.0 >> 10 & PPN) << 12;
    match rwx {
        0 if level < 3 => Decoded::Table(pa),
        0 => Decoded::Invalid,
        _ => Decoded::Leaf(Leaf {
            pa,
            writable: desc.0 & (WRITE | DIRTY) == WRITE | DIRTY,
            global: desc.0 & GLOBAL != 0,
            accessed: desc.0 & ACCESSED != 0,
        }),
    }
}

/// An entry that points to a table.
pub fn table(pa: u64) -> Desc {
    Desc(pa >> 12 << 10 | VALID)
}

/// An entry that maps memory; its level alone says how much.
pub fn leaf(pa: u64, writable: bool) -> Desc {
    let write = if writable { WRITE } else { 0 };
    Desc(pa >> 12 << 10 | VALID | READ | write | USER | ACCESSED | DIRTY)
}

/// The same with another W.
pub fn with_writable(desc: Desc, writable: bool) -> Desc {
    Desc(if writable {
        desc.0 | WRITE
    } else {
        desc.0 & !WRITE
    })
}
