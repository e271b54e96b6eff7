// SPDX-License-Identifier: GPL-2.0-only
//! RISC-V with ASIDs, remote fences by the SBI.

use crate::riscv::context::{self, CLEAR_PREV, MASK_LATE, STALE_MASK};
use crate::riscv::mm::{self, Flavour, Mms, OFFLINE};
use crate::pgtable::FLUSH_FIRST;
use crate::riscv::tlbflush::{
    self, ASID_FIRST, BATCH_OFFLINE, BATCHED, BY_ADDRESS, MASK_FIRST, NO_SPURIOUS,
};
use crate::{Defect, Source};

/// Mainline, on harts with enough ASIDs.
#[derive(Debug)]
pub enum Mainline {}

impl Flavour for Mainline {
    const NAME: &'static str = "riscv-asid";
    const ABOUT: &'static str = "RISC-V ASID allocator, flushes by mask and SBI";
    const SOURCE: Source = Source {
        tree: "Linux 7.3",
        files: "arch/riscv/mm/context.c, arch/riscv/mm/tlbflush.c",
    };
    const DEFECTS: &'static [Defect] = &[
        CLEAR_PREV, STALE_MASK, OFFLINE, NO_SPURIOUS, FLUSH_FIRST, MASK_FIRST, ASID_FIRST, MASK_LATE, BY_ADDRESS, BATCH_OFFLINE, BATCHED,
    ];
    const GOALS: &'static [&'static str] = GOALS;
}

const GOALS: &[&str] = &{
    let (a, b) = (context::GOALS, mm::GOALS);
    [a[0], a[1], a[2], a[3], a[4], a[5], b[0], b[1], b[2], tlbflush::GOAL_BATCHED]
};

/// The variant.
pub type Port = Mms<Mainline>;
