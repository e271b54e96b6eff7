// SPDX-License-Identifier: MIT OR Apache-2.0
//! x86-64: paging-structure entries, control registers and invalidation, and the host of
//! virtual CPUs.

mod control;
mod cpu;
mod desc;
mod host;
mod walk;

pub use control::{NOFLUSH, PCIDE, PGE, context, cr3};
pub(crate) use control::{cr3_pcid, cr3_table};
pub use cpu::Invlpgb;
pub use desc::{ACCESSED, DIRTY, GLOBAL, PRESENT, PS, USER, WRITE};
pub use desc::{decode, leaf, table, with_writable};
pub(crate) use host::Host;
pub use host::{FLUSH_TLB, PREEMPTED};
