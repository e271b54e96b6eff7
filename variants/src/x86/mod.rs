// SPDX-License-Identifier: GPL-2.0-only
//! The x86 kernel's address spaces (A6): `arch/x86/mm/tlb.c`, `arch/x86/kernel/kvm.c`,
//! Linux 7.3.4.
//!
//! PCIDs are private to a CPU: two slots here, six in the kernel. `tlb_gen` counts the flushes
//! of an mm, and each slot remembers how far it has got. What is not here: the migration of
//! threads.

pub mod defects;
pub mod flush;
pub mod global_asid;
mod info;
pub mod mm;
mod pti;
mod pv;
mod remote;
pub mod tlbstate;
