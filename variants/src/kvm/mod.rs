// SPDX-License-Identifier: GPL-2.0-only
//! KVM on arm64, on a VHE host.

pub mod host;
pub mod tlb;
pub mod vmid;
