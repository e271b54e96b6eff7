// SPDX-License-Identifier: MIT OR Apache-2.0
//! RISC-V: page-table entries, satp, SFENCE.VMA, Svinval, remote fences by the SBI, and
//! cached invalid entries.

mod cpu;
mod desc;
mod fence;

pub use cpu::Fence;
pub use desc::{ACCESSED, DIRTY, EXEC, GLOBAL, READ, USER, VALID, WRITE};
pub use desc::{decode, leaf, table, with_writable};
pub use fence::{context, satp};
pub(crate) use fence::{satp_asid, satp_table};
