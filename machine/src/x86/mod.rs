// SPDX-License-Identifier: MIT OR Apache-2.0
//! x86-64 as pure functions.

mod desc;

pub use desc::{ACCESSED, DIRTY, GLOBAL, PRESENT, PS, USER, WRITE};
pub use desc::{decode, leaf, table, with_writable};
