// SPDX-License-Identifier: GPL-2.0-only
//! The arm64 ASID allocator with Common not Private translations (A3): siblings share
//! entries, and TTBR0 is the reserved table before `active_asids` changes.

use crate::arm64::defects::TTBR_LATE;
use crate::arm64::mm::{Flavour, Mms};
use crate::{Defect, Source};

/// Mainline with CnP.
#[derive(Debug)]
pub enum Cnp {}

impl Flavour for Cnp {
    const NAME: &'static str = "arm64-asid-cnp";
    const ABOUT: &'static str = "arm64 ASID allocator with CnP: siblings share TLB entries";
    const SOURCE: Source = Source {
        tree: "Linux 6.12 to 7.3",
        files: "arch/arm64/mm/context.c, arch/arm64/include/asm/mmu_context.h",
    };
    const DEFECTS: &'static [Defect] = &[TTBR_LATE];
    const CNP: bool = true;
}

/// The variant.
pub type Port = Mms<Cnp>;
