// SPDX-License-Identifier: GPL-2.0-only
//! The arm64 ASID allocator with KPTI: ASIDs come in pairs, of which user code has the odd one.
//! Its CPUs are old ones, without operations by range.

use crate::arm64::defects::ONE_OF_PAIR;
use crate::arm64::mm::{Flavour, Mms};
use crate::{Defect, Source};

/// Mainline with KPTI.
#[derive(Debug)]
pub enum Kpti {}

impl Flavour for Kpti {
    const NAME: &'static str = "arm64-asid-kpti";
    const ABOUT: &'static str = "arm64 ASID allocator with KPTI: a pair of ASIDs for each mm";
    const SOURCE: Source = Source {
        tree: "Linux 6.12 to 7.3",
        files: "arch/arm64/mm/context.c, arch/arm64/kernel/entry.S",
    };
    const DEFECTS: &'static [Defect] = &[ONE_OF_PAIR];
    const KPTI: bool = true;
    const TLB_RANGE: bool = false;
}

/// The variant.
pub type Port = Mms<Kpti>;
