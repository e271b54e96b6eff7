// SPDX-License-Identifier: MIT OR Apache-2.0
//! The system registers that select a translation context.

use crate::config::Arch;
use crate::{riscv, x86};

/// HCR_EL2.VM: stage 2 is on for EL1&0.
pub const HCR_VM: u64 = 1 << 0;
/// HCR_EL2.TGE: the CPU is the host of VHE; EL1&0 TLB operations mean the host's regime.
pub const HCR_TGE: u64 = 1 << 27;

/// TCR_EL1.EPD0 and EPD1, and SCTLR_EL1.M with them: every walk for EL1&0 faults at once.
///
/// The kernel sets these together (`ARM64_WORKAROUND_SPECULATIVE_AT`), and the two registers are
/// one here. A guest has its own values, so that it matters at EL2 only.
pub const TCR_EPD: u64 = 1 << 7 | 1 << 23;

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
    /// TCR_EL1, the bits of [`TCR_EPD`] only.
    Tcr,
    /// CR3 of x86: root table and PCID.
    Cr3,
    /// CR4 of x86, the bits that concern translation.
    Cr4,
    /// satp of RISC-V: mode, ASID and root table.
    Satp,
}

impl Reg {
    /// Those that load a space's tables.
    pub const ROOTS: &'static [Reg] = &[Reg::Ttbr0, Reg::Vttbr, Reg::Cr3, Reg::Satp];

    /// The root table in a value of it, if it has one; 0 for none.
    pub fn table(self, value: u64) -> u64 {
        match self {
            Reg::Ttbr0 | Reg::Ttbr1 | Reg::Vttbr => ttbr::table(value),
            Reg::Cr3 => x86::cr3_table(value),
            Reg::Satp => riscv::satp_table(value),
            Reg::Hcr | Reg::Tcr | Reg::Cr4 => 0,
        }
    }

    /// The tag (ASID, VMID, PCID) in a value of it, if it has one.
    pub fn tag(self, value: u64) -> Option<u16> {
        match self {
            Reg::Ttbr1 | Reg::Vttbr => Some(ttbr::tag(value)),
            Reg::Cr3 => Some(x86::cr3_pcid(value)),
            Reg::Satp => Some(riscv::satp_asid(value)),
            Reg::Ttbr0 | Reg::Hcr | Reg::Tcr | Reg::Cr4 => None,
        }
    }

    /// Its name, as `until` and reports have it.
    pub fn name(self) -> &'static str {
        match self {
            Reg::Ttbr0 => "TTBR0",
            Reg::Ttbr1 => "TTBR1",
            Reg::Vttbr => "VTTBR",
            Reg::Hcr => "HCR",
            Reg::Tcr => "TCR",
            Reg::Cr3 => "CR3",
            Reg::Cr4 => "CR4",
            Reg::Satp => "satp",
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
    /// TCR_EL1.
    pub tcr: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// satp.
    pub satp: u64,
}

impl Regs {
    /// Reads one register.
    pub fn get(&self, reg: Reg) -> u64 {
        match reg {
            Reg::Ttbr0 => self.ttbr0,
            Reg::Ttbr1 => self.ttbr1,
            Reg::Vttbr => self.vttbr,
            Reg::Hcr => self.hcr,
            Reg::Tcr => self.tcr,
            Reg::Cr3 => self.cr3,
            Reg::Cr4 => self.cr4,
            Reg::Satp => self.satp,
        }
    }

    /// The registers that say which tables, and under which tag: two, or one for both.
    pub fn selectors(&self, arch: Arch) -> (Reg, Reg) {
        match arch {
            Arch::Arm64 if self.hcr & HCR_VM != 0 => (Reg::Vttbr, Reg::Vttbr),
            Arch::Arm64 => (Reg::Ttbr0, Reg::Ttbr1),
            Arch::X86 => (Reg::Cr3, Reg::Cr3),
            Arch::Riscv => (Reg::Satp, Reg::Satp),
        }
    }

    /// Writes one register.
    pub fn set(&mut self, reg: Reg, value: u64) {
        match reg {
            Reg::Ttbr0 => self.ttbr0 = value,
            Reg::Ttbr1 => self.ttbr1 = value,
            Reg::Vttbr => self.vttbr = value,
            Reg::Hcr => self.hcr = value,
            Reg::Tcr => self.tcr = value,
            Reg::Cr3 => self.cr3 = value,
            Reg::Cr4 => self.cr4 = value,
            Reg::Satp => self.satp = value,
        }
    }
}
