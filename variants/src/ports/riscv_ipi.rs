// SPDX-License-Identifier: GPL-2.0-only
//! RISC-V with ASIDs, on an interrupt controller that lets the kernel send IPIs, with Svinval.

use crate::riscv::context::CLEAR_PREV;
use crate::riscv::mm::{Flavour, GOALS, Mms, OPS};
use crate::riscv::tlbflush::Remote;
use crate::{Defect, Source};
use shootdown_machine::OpKind;

/// RISC-V ASID allocator, flushes by mask, IPI and Svinval.
#[derive(Debug)]
pub enum Ipi {}

impl Flavour for Ipi {
    const NAME: &'static str = "riscv-ipi";
    const ABOUT: &'static str = "RISC-V ASID allocator, flushes by mask, IPI and Svinval";
    const SOURCE: Source = Source {
        tree: "Linux 7.3",
        files: "arch/riscv/mm/context.c, arch/riscv/mm/tlbflush.c",
    };
    const DEFECTS: &'static [Defect] = &[CLEAR_PREV];
    const GOALS: &'static [&'static str] = GOALS.split_at(2).0;
    const OPS: &'static [OpKind] = OPS.split_at(OPS.len() - 1).0;
    const REMOTE: Remote = Remote::Ipi;
    const SVINVAL: bool = true;
}

/// The variant.
pub type Port = Mms<Ipi>;
