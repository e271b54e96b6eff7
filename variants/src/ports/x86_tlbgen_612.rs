// SPDX-License-Identifier: GPL-2.0-only
//! x86 as in 6.12: a switch leaves the cpumask of the previous mm at once, and every CPU in the
//! mask that is not lazy gets an IPI.

use crate::x86::mm::{self, Flavour, Mms};
use crate::x86::tlbstate::Features;
use crate::{Defect, Source};

/// As in 6.12.
#[derive(Debug)]
pub enum Linux612 {}

impl Flavour for Linux612 {
    const NAME: &'static str = "x86-tlbgen-612";
    const ABOUT: &'static str =
        "x86 tlb_gen as in 6.12: a switch clears the CPU in the mask of the previous mm";
    const SOURCE: Source = Source {
        tree: "Linux 6.12",
        files: "arch/x86/mm/tlb.c",
    };
    const DEFECTS: &'static [Defect] = &[];
    const GOALS: &'static [&'static str] = mm::GOALS_612;
    const FEATURES: Features = Features {
        clear_prev: true,
        ..Features::NONE
    };
}

/// The variant.
pub type Port = Mms<Linux612>;
