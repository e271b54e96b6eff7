// SPDX-License-Identifier: GPL-2.0-only
//! The arm64 kernel's own address spaces.

pub mod context;
pub mod defects;
pub mod mm;
pub mod tlbflush;
pub mod uaccess;
pub mod unmap;

/// Numbers that generations start above, whatever `asid_bits` is (ASID_FIRST_VERSION).
pub(crate) const TAG_BITS: u32 = 16;
/// The tag number of an id.
pub(crate) fn idx(id: u64) -> u64 {
    id & ((1 << TAG_BITS) - 1)
}
