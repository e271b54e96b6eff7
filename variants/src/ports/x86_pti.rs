// SPDX-License-Identifier: GPL-2.0-only
//! x86 with page-table isolation: a pair of PCIDs for each slot, of which the user's is flushed on
//! the way out of the kernel.

use crate::x86::defects;
use crate::x86::mm::{self, Flavour, Mms};
use crate::x86::tlbstate::Features;
use crate::{Defect, Source};

/// With PTI.
#[derive(Debug)]
pub enum Pti {}

impl Flavour for Pti {
    const NAME: &'static str = "x86-pti";
    const ABOUT: &'static str = "x86 with PTI: users have PCIDs of their own, flushed as they are entered";
    const SOURCE: Source = Source {
        tree: "Linux 7.3.4",
        files: "arch/x86/mm/tlb.c, arch/x86/entry/calling.h",
    };
    const DEFECTS: &'static [Defect] = &[defects::ONE_OF_PAIR, defects::NO_USER_MASK];
    const GOALS: &'static [&'static str] = mm::GOALS_PTI;
    const FEATURES: Features = Features {
        pti: true,
        ..Features::NONE
    };
}

/// The variant.
pub type Port = Mms<Pti>;
