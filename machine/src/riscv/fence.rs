// SPDX-License-Identifier: MIT OR Apache-2.0
//! satp and fences (RISC-V privileged specification, "Supervisor Address Translation and
//! Protection (satp) Register", "Supervisor Memory-Management Fence Instruction", "Svinval";
//! SBI specification, "RFENCE Extension").

use crate::config::{Pick, Switch};
use crate::context::Context;
use crate::event::{Event, Site};
use crate::machine::State;
use crate::op::Va;
use crate::regs::{Reg, Regs};
use crate::tlb::{Entry, Found, Tags};
use crate::tlbi::Tlbi;

const SV39: u64 = 8 << 60;
const PPN: u64 = (1 << 44) - 1;

/// The value of satp for a root table and an ASID, mode Sv39.
pub fn satp(table: u64, asid: u16) -> u64 {
    SV39 | (asid as u64) << 44 | table >> 12 & PPN
}

/// The root table in satp; 0 in mode Bare.
pub(crate) fn satp_table(value: u64) -> u64 {
    if value >> 60 == 0 {
        0
    } else {
        (value & PPN) << 12
    }
}

/// The ASID in satp.
pub(crate) fn satp_asid(value: u64) -> u16 {
    (value >> 44) as u16
}

/// The context that satp selects; `None` in mode Bare.
pub fn context(regs: &Regs) -> Option<Context> {
    (regs.satp >> 60 != 0).then_some(Context {
        stage1: satp_table(regs.satp),
        stage2: 0,
        tags: Tags {
            asid: satp_asid(regs.satp),
            vmid: 0,
            cnp: false,
        },
    })
}

impl State {
    /// A write of satp: for the walks that begin from now on. Those in flight are over, which the
    /// specification does not say (switch `inflight`).
    pub(crate) fn set_satp(&mut self, cpu: u8, value: u64) {
        self.cpus[cpu as usize].regs.set(Reg::Satp, value);
        if !self.config.switches.on(Switch::Inflight) {
            self.end_foreign_walks(cpu);
        }
        self.events.push(Event::Context { cpu });
    }

    /// Takes a hart offline, or puts it back. Its program is not told. What it has cached may be
    /// there when it comes back; in between it walks nothing, and it starts in mode Bare.
    pub fn set_offline(&mut self, cpu: u8, offline: bool) {
        let c = &mut self.cpus[cpu as usize];
        c.offline = offline;
        c.walk = None;
        self.memory_barrier(cpu);
        self.set_satp(cpu, 0);
    }

    /// A call of the SBI: the first step sends the fence to the harts of a mask, the second
    /// waits until it has arrived everywhere. `None`: it is not the last step.
    pub(crate) fn remote_fence(&mut self, cpu: u8, harts: u8, op: Tlbi, site: Site) -> Option<u64> {
        if core::mem::take(&mut self.cpus[cpu as usize].fencing) {
            self.complete(cpu, true);
            return Some(true as u64);
        }
        let there = |hart: u8| self.cpus.get(hart as usize).is_some_and(|c| !c.offline);
        if (0..8).any(|hart| harts >> hart & 1 != 0 && !there(hart)) {
            return Some(false as u64);
        }
        self.memory_barrier(cpu);
        self.send(cpu, op, harts, site);
        self.cpus[cpu as usize].fencing = true;
        None
    }

    /// Whether an access is answered by what its hart remembers of an invalid entry. Like any
    /// entry that is there, a valid one may answer instead.
    pub(crate) fn answers_absent(&self, cpu: u8, tags: Tags, va: Va, found: &Found) -> bool {
        let fits = |e: &&Entry| e.covers(va) && e.usable(cpu, tags);
        let Some(absent) = self.tlb(cpu).absent.iter().find(fits) else {
            return false;
        };
        match (found, self.cpus[cpu as usize].pick) {
            (Found::Hit(entry), Pick::Newest) => absent.id > entry.id,
            (Found::Hit(entry), _) => absent.id < entry.id,
            _ => true,
        }
    }
}
