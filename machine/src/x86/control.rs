// SPDX-License-Identifier: MIT OR Apache-2.0
//! Control registers, and what invalidating instructions do before they invalidate (Intel SDM
//! vol. 3, 4.10.1 "Process-Context Identifiers" and 4.10.4.1 "Operations that Invalidate TLBs
//! and Paging-Structure Caches").
//!
//! All of them but INVLPGB are serializing: stores before them are in memory, and they take
//! effect at their step.

use crate::config::Switch;
use crate::context::Context;
use crate::event::{Event, Site};
use crate::machine::State;
use crate::regs::{Reg, Regs};
use crate::tlb::Tags;
use crate::tlbi::{Kind, Tlbi};

/// CR4.PGE: entries made from leaves with G are global.
pub const PGE: u64 = 1 << 7;
/// CR4.PCIDE: CR3 has a PCID.
pub const PCIDE: u64 = 1 << 17;
/// Bit 63 of the operand of MOV to CR3: the entries of the PCID stay. With CR4.PCIDE only.
pub const NOFLUSH: u64 = 1 << 63;
const PCID: u64 = 0xfff;
const TABLE: u64 = 0x000f_ffff_ffff_f000;

/// The operand of MOV to CR3 for a root table and a PCID (12 bits).
pub fn cr3(table: u64, pcid: u16) -> u64 {
    table & TABLE | pcid as u64 & PCID
}

/// The root table in CR3.
pub(crate) fn cr3_table(value: u64) -> u64 {
    value & TABLE
}

/// The PCID in CR3.
pub(crate) fn cr3_pcid(value: u64) -> u16 {
    (value & PCID) as u16
}

/// The PCID that the registers select. Without CR4.PCIDE entries are made with PCID 0.
pub(crate) fn pcid(regs: &Regs) -> u16 {
    if regs.cr4 & PCIDE != 0 {
        cr3_pcid(regs.cr3)
    } else {
        0
    }
}

/// The context that CR3 selects; `None` before the first table is loaded.
pub fn context(regs: &Regs) -> Option<Context> {
    let root = cr3_table(regs.cr3);
    (root != 0).then_some(Context {
        stage1: root,
        stage2: 0,
        tags: Tags {
            asid: pcid(regs),
            vmid: 0,
            cnp: false,
        },
    })
}

impl State {
    /// MOV to CR3 or CR4.
    pub(crate) fn mov_cr(&mut self, cpu: u8, reg: Reg, value: u64, site: Site) {
        let regs = self.cpus[cpu as usize].regs;
        let pcids = regs.cr4 & PCIDE != 0;
        let wrong = match reg {
            Reg::Cr3 if value & NOFLUSH != 0 && !pcids => {
                Some("mov cr3 with bit 63 set while CR4.PCIDE is clear")
            }
            Reg::Cr4 if value & PCIDE != 0 && !pcids && regs.cr3 & PCID != 0 => {
                Some("CR4.PCIDE set while CR3 has bits 11:0")
            }
            _ => None,
        };
        if let Some(what) = wrong {
            self.events.push(Event::Illegal { cpu, what, site });
            return;
        }
        self.memory_barrier(cpu);
        self.cpus[cpu as usize].regs.set(reg, value & !NOFLUSH);
        self.events.push(Event::Context { cpu });
        self.end_foreign_walks(cpu);
        let now = self.cpus[cpu as usize].regs;
        match reg {
            Reg::Cr3 if value & NOFLUSH == 0 => {
                self.issue(cpu, Tlbi::tagged(Kind::MovCr3, pcid(&now), 0, 1), site);
            }
            Reg::Cr4 if (regs.cr4 ^ value) & PGE != 0 || (pcids && value & PCIDE == 0) => {
                self.issue(cpu, Tlbi::all(Kind::MovCr4), site);
            }
            _ => {}
        }
    }

    /// An invalidating instruction with all its operands, or `None` if it raises #GP.
    pub(crate) fn x86_operands(&mut self, cpu: u8, op: Tlbi, site: Site) -> Option<Tlbi> {
        let regs = self.cpus[cpu as usize].regs;
        let pcids = regs.cr4 & PCIDE != 0;
        match op.kind {
            Kind::Invlpg => {
                let keeps = self.config.switches.on(Switch::KeepGlobal) && pcids;
                let kind = if keeps {
                    Kind::InvlpgOwn
                } else {
                    Kind::Invlpg
                };
                return Some(Tlbi::tagged(kind, pcid(&regs), op.span().0, 1));
            }
            // SDM vol. 2, INVPCID: #GP if CR4.PCIDE = 0 and the PCID is not 0.
            Kind::InvpcidAddr | Kind::InvpcidPcid
            // APM vol. 3, INVLPGB: the same.
            | Kind::InvlpgbAddr | Kind::InvlpgbFinal | Kind::InvlpgbPcid
                if op.asid_field() != 0 && !pcids =>
            {
                let what = "an invalidation of a PCID other than 0 while CR4.PCIDE is clear";
                self.events.push(Event::Illegal { cpu, what, site });
                return None;
            }
            _ => {}
        }
        Some(op)
    }
}
