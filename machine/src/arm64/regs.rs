// SPDX-License-Identifier: MIT OR Apache-2.0
//! The system registers that select a translation context.

/// HCR_EL2.VM: stage 2 is on for EL1&0.
pub const HCR_VM: u64 = 1 << 0;
/// HCR_EL2.TGE: the CPU is the host of VHE; EL1&0 TLB operations mean the host's regime.
pub const HCR_TGE: u64 = 1 << 27;

/// Fields that TTBR0_EL1, TTBR1_EL1 and VTTBR_EL2 share.
pub mod ttbr {
    /// Common not Private.
    pub const CNP: u64 = 1;
    const BADDR: u64 = 0x0000_ffff_ffff_fffe;

    /// A register value.
    pub fn new(table: u64, tag: u16, cnp: bool) -> u64 {
        (tag as u64) << 48 | table | cnp as u64
    }

    /// Address of the root table; 0 for none.
    pub fn table(value: u64) -> u64 {
        value & BADDR
    }

    /// ASID (TTBRn) or VMID (VTTBR).
    pub fn tag(value: u64) -> u16 {
        (value >> 48) as u16
    }
}

/// A system register.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reg {
    /// TTBR0_EL1: user half, with the CnP bit.
    Ttbr0,
    /// TTBR1_EL1: holds the ASID, since Linux sets TCR_EL1.A1.
    Ttbr1,
    /// VTTBR_EL2: stage 2 and VMID.
    Vttbr,
    /// HCR_EL2, the bits [`HCR_VM`] and [`HCR_TGE`] only.
    Hcr,
}

impl Reg {
    /// Its name, as `until` and reports have it.
    pub fn name(self) -> &'static str {
        match self {
            Reg::Ttbr0 => "TTBR0",
            Reg::Ttbr1 => "TTBR1",
            Reg::Vttbr => "VTTBR",
            Reg::Hcr => "HCR",
        }
    }
}

/// The registers' values.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Regs {
    /// TTBR0_EL1.
    pub ttbr0: u64,
    /// TTBR1_EL1.
    pub ttbr1: u64,
    /// VTTBR_EL2.
    pub vttbr: u64,
    /// HCR_EL2.
    pub hcr: u64,
}

impl Regs {
    /// Writes one register.
    pub fn set(&mut self, reg: Reg, value: u64) {
        match reg {
            Reg::Ttbr0 => self.ttbr0 = value,
            Reg::Ttbr1 => self.ttbr1 = value,
            Reg::Vttbr => self.vttbr = value,
            Reg::Hcr => self.hcr = value,
        }
    }
}
