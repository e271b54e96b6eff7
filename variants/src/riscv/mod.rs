// SPDX-License-Identifier: GPL-2.0-only
//! RISC-V kernels: the ASID allocator, remote fences and IPIs, and mms over them.

pub mod context;
pub mod lazy;
pub mod mm;
pub mod tlbflush;

/// Bits of an ASID in satp; a generation number is above them (`SATP_ASID_BITS`).
pub(crate) const SATP_ASID_BITS: u64 = 16;

/// `cntx2asid`.
pub(crate) fn cntx2asid(cntx: u64) -> u64 {
    cntx & ((1 << SATP_ASID_BITS) - 1)
}
