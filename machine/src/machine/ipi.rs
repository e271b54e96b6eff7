// SPDX-License-Identifier: MIT OR Apache-2.0
//! IPIs on their way: arriving, handled, acknowledged.

use super::{CpuState, Ipi, State};
use crate::act::Act;
use crate::config::Arch;

impl State {
    /// Whether an IPI is on its way to a CPU.
    pub fn awaits_ipi(&self, cpu: u8) -> bool {
        !self.cpus[cpu as usize].in_transit.is_empty()
    }

    /// An IPI arrives.
    pub fn deliver_ipi(&mut self, cpu: u8) -> bool {
        let c = &mut self.cpus[cpu as usize];
        if c.in_transit.is_empty() {
            return false;
        }
        self.step += 1;
        let ipi = c.in_transit.remove(0);
        c.raised.push(ipi);
        true
    }

    /// The CPU that the oldest IPI arrives at next, if a CPU waits for one of its own there.
    pub fn ipi_of(&self, cpu: u8) -> Option<u8> {
        let next = self.cpus[cpu as usize].next;
        if !next.is_some_and(|a| a.act == Act::WaitIpi) {
            return None;
        }
        let to = |c: &CpuState| c.in_transit.iter().any(|ipi| ipi.from == cpu);
        (0..).zip(&self.cpus).find(|(_, c)| to(c)).map(|(i, _)| i)
    }

    /// An IPI arrives where a CPU waits for one of its own to be handled.
    pub fn deliver_ipi_of(&mut self, cpu: u8) -> bool {
        self.ipi_of(cpu).is_some_and(|to| self.deliver_ipi(to))
    }

    /// Whether there is an IPI that a CPU must handle before its next step.
    pub fn ipi_waits(&self, cpu: u8) -> bool {
        let c = &self.cpus[cpu as usize];
        !(c.irqs_off || c.preempted || c.raised.is_empty())
    }

    /// The IPI that a CPU must handle before its next step, if interrupts are not masked.
    /// Taking it is an exception, which synchronizes the context. It comes between two
    /// instructions (Intel SDM vol. 3, "Program or Task Restart"; Arm ARM, glossary, "Precise
    /// exception"): an access that walks is not made yet, and begins anew when the handler has
    /// returned, under what is loaded then.
    pub fn take_ipi(&mut self, cpu: u8) -> Option<Ipi> {
        if !self.ipi_waits(cpu) {
            return None;
        }
        let c = &mut self.cpus[cpu as usize];
        let ipi = c.raised.remove(0);
        c.demand = None;
        c.lost_to_others += 1;
        if self.config.arch == Arch::X86 {
            // An interrupt drains the store buffer (Intel SDM vol. 3, 12.10).
            self.memory_barrier(cpu);
        }
        self.catch_up(cpu, ipi.sent);
        self.exception(cpu);
        Some(ipi)
    }

    /// Masks or unmasks a CPU's interrupts, as entry to and exit from a handler do.
    pub fn set_irqs_off(&mut self, cpu: u8, off: bool) {
        self.cpus[cpu as usize].irqs_off = off;
        if !off && !self.deferred.is_empty() {
            self.quiescent(cpu);
        }
    }

    /// The handler of an IPI on `cpu` has returned; what it did is done before the sender goes
    /// on (the release of `csd_unlock`, the acquire of `csd_lock_wait`).
    pub fn acknowledge(&mut self, cpu: u8, ipi: Ipi) {
        self.exception(cpu);
        self.memory_barrier(cpu);
        self.catch_up(ipi.from, self.history.now());
        let sender = &mut self.cpus[ipi.from as usize];
        sender.unacked = sender.unacked.saturating_sub(1);
    }
}
