// SPDX-License-Identifier: GPL-2.0-only
//! x86 with INVLPGB (AMD): mms get global ASIDs, and flushes are broadcast.

use crate::x86::defects;
use crate::x86::mm::{self, Flavour, Mms};
use crate::x86::tlbstate::Features;
use crate::{Defect, Source};

/// With global ASIDs.
#[derive(Debug)]
pub enum Broadcast {}

impl Flavour for Broadcast {
    const NAME: &'static str = "x86-invlpgb";
    const ABOUT: &'static str = "x86 global ASIDs: PCIDs that all CPUs share, flushed by INVLPGB";
    const SOURCE: Source = Source {
        tree: "Linux 7.3.4, with the search of allocate_global_asid put right",
        files: "arch/x86/mm/tlb.c",
    };
    const DEFECTS: &'static [Defect] = &[defects::B40, defects::NO_TLBSYNC];
    const GOALS: &'static [&'static str] = mm::GOALS_INVLPGB;
    const FEATURES: Features = Features {
        invlpgb: true,
        ..Features::NONE
    };
}

/// The variant.
pub type Port = Mms<Broadcast>;
