// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a walk starts from: the context that registers select, and where its tables lie.

use crate::arm64::{HCR_TGE, HCR_VM, Regs, TCR_EPD, ttbr};
use crate::mem::{BITS, SLOTS};
use crate::op::PAGE;
use crate::tlb::{HOST_REGIME, Tags};

/// The exception level that matters here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum El {
    /// The kernel and its users; under KVM, the host (EL2 and its users).
    #[default]
    Host,
    /// A guest (EL1 and EL0 behind stage 2).
    Guest,
}

/// What a walk starts from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Context {
    /// Root table of stage 1; 0: off.
    pub stage1: u64,
    /// Root table of stage 2; 0: off.
    pub stage2: u64,
    /// Tags of the entries it makes.
    pub tags: Tags,
}

impl Context {
    /// The context that registers select, or `None` where EL1&0 is not being used.
    ///
    /// `out_of_context`: what the errata of the switch `ooc` do. They are about AT instructions
    /// that are executed speculatively, and under TGE these mean the host's own regime.
    pub fn of(regs: &Regs, el: El, out_of_context: bool) -> Option<Context> {
        if regs.hcr & HCR_VM != 0 {
            let prevented = regs.hcr & HCR_TGE != 0 || regs.tcr & TCR_EPD != 0;
            if el == El::Host && (!out_of_context || prevented) {
                return None;
            }
            let table = ttbr::table(regs.vttbr);
            let tags = Tags {
                asid: ttbr::tag(regs.ttbr1),
                vmid: ttbr::tag(regs.vttbr),
                cnp: regs.vttbr & ttbr::CNP != 0,
            };
            let stage1 = ttbr::table(regs.ttbr0);
            return (table != 0).then_some(Context {
                stage1,
                stage2: table,
                tags,
            });
        }
        let stage1 = ttbr::table(regs.ttbr0);
        let cnp = regs.ttbr0 & ttbr::CNP != 0;
        let tags = Tags {
            asid: ttbr::tag(regs.ttbr1),
            vmid: tlbi_vmid(regs),
            cnp,
        };
        (stage1 != 0).then_some(Context {
            stage1,
            stage2: 0,
            tags,
        })
    }

    /// The table that says whose context it is: stage 2 if there is one.
    pub fn root(&self) -> u64 {
        if self.stage2 != 0 {
            self.stage2
        } else {
            self.stage1
        }
    }
}

/// The VMID that a TLBI means under these registers.
pub fn tlbi_vmid(regs: &Regs) -> u16 {
    match regs.hcr & (HCR_VM | HCR_TGE) {
        0 => 0,
        HCR_VM => ttbr::tag(regs.vttbr),
        _ => HOST_REGIME,
    }
}

/// Bytes that a descriptor of this level maps.
pub fn level_size(level: u8) -> u64 {
    PAGE << (BITS * (3 - level as u32))
}

/// The address of the descriptor for `input` in the table at `table`.
pub fn slot_pa(table: u64, level: u8, input: u64) -> u64 {
    table + (input / level_size(level)) % SLOTS as u64 * 8
}
