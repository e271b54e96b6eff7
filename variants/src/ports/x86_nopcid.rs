// SPDX-License-Identifier: GPL-2.0-only
//! x86 booted with nopcid: one ASID, and every switch flushes.

use crate::x86::defects;
use crate::x86::mm::{self, Flavour, Mms};
use crate::x86::tlbstate::Features;
use crate::{Defect, Source};

/// Without PCIDs.
#[derive(Debug)]
pub enum NoPcid {}

impl Flavour for NoPcid {
    const NAME: &'static str = "x86-nopcid";
    const ABOUT: &'static str = "x86 without PCIDs: every switch flushes";
    const SOURCE: Source = Source {
        tree: "Linux 7.3.4",
        files: "arch/x86/mm/tlb.c",
    };
    const DEFECTS: &'static [Defect] = &[defects::B39];
    const GOALS: &'static [&'static str] = mm::GOALS_NOPCID;
    const FEATURES: Features = Features {
        nopcid: true,
        ..Features::NONE
    };
}

/// The variant.
pub type Port = Mms<NoPcid>;
