// SPDX-License-Identifier: MIT OR Apache-2.0
//! Armv8-A as pure functions. Registers and TLB invalidation are in tables that serve every
//! architecture; their arm64 part can be had from here.

mod desc;
mod granule;

pub use crate::regs::{HCR_TGE, HCR_VM, Reg, Regs, TCR_EPD, ttbr};
pub use crate::tlbi::{KINDS, Kind, Row, Scope, Share, Tlbi, Ttl};
pub use desc::{Desc, Stage};
pub use granule::Granule;
