// SPDX-License-Identifier: GPL-2.0-only
//! The arm64 ASID allocator with software PAN: a user's table is in TTBR0 only while it is being
//! used, from a copy that each thread has.

use crate::arm64::defects::STALE_TTBR0;
use crate::arm64::mm::{Flavour, Mms};
use crate::{Defect, Source};

/// Mainline with CONFIG_ARM64_SW_TTBR0_PAN.
#[derive(Debug)]
pub enum SwPan {}

impl Flavour for SwPan {
    const NAME: &'static str = "arm64-asid-swpan";
    const ABOUT: &'static str = "arm64 ASID allocator with software PAN: TTBR0 is a thread's copy";
    const SOURCE: Source = Source {
        tree: "Linux 6.12 to 7.3",
        files: "arch/arm64/mm/context.c, arch/arm64/include/asm/mmu_context.h, uaccess.h",
    };
    const DEFECTS: &'static [Defect] = &[STALE_TTBR0];
    const SW_PAN: bool = true;
}

/// The variant.
pub type Port = Mms<SwPan>;
