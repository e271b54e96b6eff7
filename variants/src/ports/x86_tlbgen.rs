// SPDX-License-Identifier: GPL-2.0-only
//! x86 with PCIDs and IPIs: tlb_gen, lazy TLB mode, CPUs that leave the cpumask late.

use crate::x86::defects;
use crate::x86::mm::{self, Flavour, Mms};
use crate::x86::tlbstate::Features;
use crate::{Defect, Source};

/// As in 7.3.
#[derive(Debug)]
pub enum Today {}

impl Flavour for Today {
    const NAME: &'static str = "x86-tlbgen";
    const ABOUT: &'static str = "x86 tlb_gen: PCID slots by CPU, IPIs to those that run the mm";
    const SOURCE: Source = Source {
        tree: "Linux 7.3.4",
        files: "arch/x86/mm/tlb.c",
    };
    const DEFECTS: &'static [Defect] = &[
        defects::B33,
        defects::B34,
        defects::B34_SIBLING,
        defects::B35,
        defects::B36,
        defects::B37,
        defects::B37_STABLE,
        defects::B38,
        defects::SKIP_LAZY_CHECK,
        defects::INVERTED,
        defects::PARTIAL_ALWAYS,
    ];
    const GOALS: &'static [&'static str] = mm::GOALS;
    const FEATURES: Features = Features::NONE;
}

/// The variant.
pub type Port = Mms<Today>;
