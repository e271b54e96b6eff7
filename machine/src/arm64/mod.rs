// SPDX-License-Identifier: MIT OR Apache-2.0
//! The architecture as pure functions: descriptors, registers, TLB invalidation.

mod desc;
mod regs;
mod tlbi;

pub use desc::{Desc, Stage};
pub use regs::{HCR_TGE, HCR_VM, Reg, Regs, ttbr};
pub use tlbi::{KINDS, Kind, Row, Scope, Share, Tlbi, Ttl};
