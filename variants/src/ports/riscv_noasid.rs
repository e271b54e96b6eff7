// SPDX-License-Identifier: GPL-2.0-only
//! RISC-V without ASIDs.

use crate::riscv::mm::{Flavour, GOALS, Mms};
use crate::riscv::tlbflush::Remote;
use crate::{Defect, Source};

/// RISC-V without ASIDs: every switch fences, harts leave the mask.
#[derive(Debug)]
pub enum NoAsid {}

impl Flavour for NoAsid {
    const NAME: &'static str = "riscv-noasid";
    const ABOUT: &'static str = "RISC-V without ASIDs: every switch fences, harts leave the mask";
    const SOURCE: Source = Source {
        tree: "Linux 7.3",
        files: "arch/riscv/mm/context.c, arch/riscv/mm/tlbflush.c",
    };
    const DEFECTS: &'static [Defect] = &[];
    const GOALS: &'static [&'static str] = GOALS;
    const ASIDS: bool = false;
    const REMOTE: Remote = Remote::Sbi;
}

/// The variant.
pub type Port = Mms<NoAsid>;
