// SPDX-License-Identifier: GPL-2.0-only
//! x86 where a flush that is done for another CPU also advances that CPU's tlb_gen.

use crate::x86::defects;
use crate::x86::mm::{self, Flavour, Mms};
use crate::x86::tlbstate::Features;
use crate::{Defect, Source};

/// With remote flushes.
#[derive(Debug)]
pub enum Remote {}

impl Flavour for Remote {
    const NAME: &'static str = "x86-remote-gen";
    const ABOUT: &'static str =
        "x86 remote flushes that advance the tlb_gen of the CPU they are for, under a lock";
    const SOURCE: Source = Source {
        tree: "our own, after Andy Lutomirski, 25 Jun 2019 (linux-kernel)",
        files: "arch/x86/mm/tlb.c",
    };
    const DEFECTS: &'static [Defect] = &[
        defects::NO_CTX_CHECK,
        defects::PARTIAL_ADVANCES,
        defects::NO_LOCK,
    ];
    const GOALS: &'static [&'static str] = mm::GOALS_REMOTE;
    const FEATURES: Features = Features {
        remote_gen: true,
        ..Features::NONE
    };
}

/// The variant.
pub type Port = Mms<Remote>;
