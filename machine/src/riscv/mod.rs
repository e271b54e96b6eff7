// SPDX-License-Identifier: MIT OR Apache-2.0
//! RISC-V as pure functions.

mod desc;

pub use desc::{ACCESSED, DIRTY, EXEC, GLOBAL, READ, USER, VALID, WRITE};
pub use desc::{decode, leaf, table, with_writable};
