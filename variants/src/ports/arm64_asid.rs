// SPDX-License-Identifier: GPL-2.0-only
//! The arm64 ASID allocator, mainline: local flush on rollover.

use crate::arm64::defects::{
    ACTIVE_LATE, ASID_FIRST, BATCH_DSB, BROADCAST, INIT_MM, NO_PENDING, NO_RESERVED, NO_ZERO_TEST,
    NOUPD, OLD_TABLE, RANGE_NUM, TABLE_LEVEL, UNPINNED, XCHG,
};
use crate::arm64::mm::{Flavour, Mms};
use crate::pgtable::NO_GRACE_PERIOD;
use crate::{Defect, Source};

/// Mainline, without CnP.
#[derive(Debug)]
pub enum Mainline {}

impl Flavour for Mainline {
    const NAME: &'static str = "arm64-asid";
    const ABOUT: &'static str = "arm64 ASID allocator, local flush on rollover";
    const SOURCE: Source = Source {
        tree: "Linux 6.12 to 7.3",
        files: "arch/arm64/mm/context.c, arch/arm64/include/asm/tlbflush.h",
    };
    const DEFECTS: &'static [Defect] = &[
        XCHG,
        ASID_FIRST,
        NOUPD,
        INIT_MM,
        BATCH_DSB,
        TABLE_LEVEL,
        RANGE_NUM,
        BROADCAST,
        NO_ZERO_TEST,
        NO_RESERVED,
        NO_PENDING,
        ACTIVE_LATE,
        OLD_TABLE,
        UNPINNED,
        NO_GRACE_PERIOD,
    ];
}

/// The variant.
pub type Port = Mms<Mainline>;
