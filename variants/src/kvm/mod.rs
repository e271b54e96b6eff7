// SPDX-License-Identifier: GPL-2.0-only
//! KVM on arm64, on a VHE host.

pub mod host;
pub mod mmu;
pub mod mmu_ops;
pub mod nested;
pub mod pgtable;
pub mod pgtable_attr;
pub mod pgtable_defects;
pub mod pgtable_map;
pub mod stage2_goals;
pub mod tlb;
pub mod vmid;
pub mod vmid_gen;
pub mod vmid_pin;
