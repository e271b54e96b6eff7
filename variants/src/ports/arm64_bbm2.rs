// SPDX-License-Identifier: GPL-2.0-only
//! An arm64 address space that changes the size of live mappings without a break, where the
//! machine has FEAT_BBM level 2, and invalidates what it replaced; with break-before-make
//! where it has not. Conflict aborts are resolved by invalidating everything on the CPU.

use crate::arm64::mm::{BLOCK_TO_TABLE, Flavour, Mms, NSH};
use crate::{Defect, Source};

/// Mainline's allocator, sizes changed in place.
#[derive(Debug)]
pub enum Bbm2 {}

impl Flavour for Bbm2 {
    const NAME: &'static str = "arm64-bbm2";
    const ABOUT: &'static str = "arm64 split and collapse without break under FEAT_BBM level 2";
    const SOURCE: Source = Source {
        tree: "our own, after Linux 7.3 and the list's objections to the RFC of Jun 2023",
        files: "arch/arm64/mm/mmu.c, arch/arm64/kvm/hyp/pgtable.c",
    };
    const DEFECTS: &'static [Defect] = &[NSH, BLOCK_TO_TABLE];
    const BBM2: bool = true;
}

/// The variant.
pub type Port = Mms<Bbm2>;
