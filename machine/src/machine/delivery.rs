// SPDX-License-Identifier: MIT OR Apache-2.0
//! TLBIs on their way: sent, arriving at each CPU in a time of its own, completed.

use super::{Flush, Pending, State};
use crate::arm64::{Kind, Share, Tlbi};
use crate::config::{Arch, Switch};
use crate::context::tlbi_vmid;
use crate::event::{Drop, Event, Site};
use crate::order::Time;
use crate::tlb::Entry;

impl State {
    /// Sends a TLBI on its way. It is not even local until it is delivered, and that may
    /// be as late as the DSB that completes it (machine rule 11).
    pub(crate) fn issue(&mut self, cpu: u8, op: Tlbi, site: Site) {
        let op = match self.config.arch {
            Arch::X86 => match self.x86_operands(cpu, op, site) {
                Some(op) => op,
                None => return,
            },
            _ => op,
        };
        self.send(cpu, op, u8::MAX, site);
    }

    /// The same, to the CPUs of a mask if it is for others too.
    pub(crate) fn send(&mut self, cpu: u8, op: Tlbi, to: u8, site: Site) {
        let granule = self.config.granule;
        let lpa2 = self.config.switches.on(Switch::Lpa2);
        let op = Tlbi {
            granule,
            lpa2,
            ..op
        };
        // Before an ISB, a write of VTTBR or HCR need not have reached the TLBI yet.
        let vmid = tlbi_vmid(&self.regs(cpu, true));
        self.next_tlbi += 1;
        let number = self.next_tlbi;
        let pending = Pending {
            op,
            vmid,
            from: cpu,
            number,
        };
        let share = op.kind.row().share;
        match share {
            Share::Now => self.cost.tlbi_local += u64::from(op.kind != Kind::PageFault),
            Share::Local => {
                self.cost.tlbi_local += 1;
                self.cpus[cpu as usize].inbox.push(pending);
            }
            Share::Inner => {
                self.cost.tlbi_broadcast += 1;
                for (i, c) in self.cpus.iter_mut().enumerate() {
                    if to >> i & 1 != 0 {
                        c.inbox.push(pending);
                    }
                }
            }
        }
        self.events.push(Event::Tlbi {
            cpu,
            op,
            vmid,
            number,
            site,
        });
        if share == Share::Now {
            // x86: serializing. RISC-V: earlier stores are before later walks.
            match self.config.arch {
                Arch::Riscv => self.drain_all(cpu),
                _ => self.memory_barrier(cpu),
            }
            self.apply(cpu, pending);
        }
    }

    /// Delivers a TLBI on its way to `cpu`: the oldest, or the last to be issued. Nothing but
    /// a DSB between them orders two.
    pub fn deliver(&mut self, cpu: u8, last: bool) -> bool {
        let Some(newest) = self.pending(cpu).checked_sub(1) else {
            return false;
        };
        self.deliver_at(cpu, if last { newest } else { 0 });
        true
    }

    /// Delivers the TLBI at `i` of those on their way.
    pub(crate) fn deliver_at(&mut self, cpu: u8, i: usize) {
        let pending = self.cpus[cpu as usize].inbox.remove(i);
        self.step += 1;
        self.apply(cpu, pending);
    }

    /// Takes effect on one CPU: entries that this CPU sees, and its walks in flight. Whether a
    /// local one reaches what a sibling has for itself is a switch.
    fn apply(&mut self, cpu: u8, p: Pending) {
        if self.config.arch == Arch::Riscv && p.op.kind.row().share == Share::Inner {
            // The hart executes an SFENCE.VMA: its earlier stores are before its later walks.
            self.drain_all(cpu);
        }
        let time = self.history.tick();
        let tlb = self.config.tlb_of(cpu);
        let local = p.op.kind.row().share == Share::Local;
        let siblings = local && self.config.switches.on(Switch::Sibling);
        for i in 0..self.config.cpus {
            if i == cpu || (siblings && self.config.tlb_of(i) == tlb) {
                self.catch_walks(i, &p, time);
            }
        }
        if self.remember {
            self.bury(cpu, &p, time);
        }
        let (events, tracing) = (&mut self.events, self.tracing);
        let entries = &mut self.tlbs[tlb].entries;
        let before = entries.len();
        entries.retain(|e| {
            let gone = (siblings || e.visible(cpu, e.cnp)) && e.hit_by(&p.op, p.vmid);
            if gone && tracing {
                let why = Drop::Tlbi(p.from, p.number);
                events.push(Event::Dropped {
                    cpu,
                    entry: e.id,
                    why,
                });
            }
            !gone
        });
        let removed = before - entries.len();
        let absent = &mut self.tlbs[tlb].absent;
        let faults = absent.len();
        absent.retain(|e| !(e.cpu == cpu && e.hit_by(&p.op, p.vmid)));
        if p.from != cpu && (removed > 0 || absent.len() < faults) {
            self.cpus[cpu as usize].lost_to_others += 1;
        }
        self.cost.entries_lost += removed as u64;
        if tracing {
            let (op, from, number, removed) = (p.op, p.from, p.number, removed as u8);
            self.events.push(Event::Delivered {
                cpu,
                op,
                from,
                number,
                removed,
            });
        }
    }

    /// What a CPU has under way when a TLBI takes effect on it: user stores that used a covered
    /// entry are made, walks that read something covered are over.
    fn catch_walks(&mut self, cpu: u8, p: &Pending, time: Time) {
        self.cpus[cpu as usize].views.flush = time;
        self.finish_users(cpu, &p.op, p.vmid);
        let c = &mut self.cpus[cpu as usize];
        if c.walk.is_some_and(|w| w.hit_by(&p.op, p.vmid)) {
            c.walk = None;
        }
        if c.demand.is_some_and(|w| w.hit_by(&p.op, p.vmid)) {
            c.demand = None;
        }
    }

    fn bury(&mut self, cpu: u8, p: &Pending, time: Time) {
        let gone = |e: &&Entry| e.visible(cpu, e.cnp) && e.hit_by(&p.op, p.vmid);
        let entries = self.tlbs[self.config.tlb_of(cpu)].entries.iter();
        let c = &mut self.cpus[cpu as usize];
        c.dead.extend(entries.filter(gone).map(|e| (*e, time)));
        c.flushes.push(Flush {
            time,
            own: p.from == cpu,
            complete: false,
            synced: false,
        });
    }

    /// TLBIs that wait to take effect on a CPU.
    pub(crate) fn pending(&self, cpu: u8) -> usize {
        self.cpus[cpu as usize].inbox.len()
    }

    /// Whether a DSB of `cpu` would have to wait for TLBIs of its own.
    pub(crate) fn incomplete(&self, cpu: u8, everywhere: bool) -> bool {
        let waits =
            |p: &Pending| p.from == cpu && (everywhere || p.op.kind.row().share == Share::Local);
        (0..)
            .zip(&self.cpus)
            .any(|(i, c)| (everywhere || i == cpu) && c.inbox.iter().any(waits))
    }

    /// A DSB with loads and stores: this CPU's TLBIs are complete, everywhere or here
    /// (machine rules 11, 12 and 15), and so are its walks of contexts left behind.
    pub(crate) fn complete(&mut self, cpu: u8, everywhere: bool) {
        for target in 0..self.cpus.len() {
            if !everywhere && target != cpu as usize {
                continue;
            }
            let mut i = 0;
            while i < self.cpus[target].inbox.len() {
                let p = self.cpus[target].inbox[i];
                let local = p.op.kind.row().share == Share::Local;
                if p.from == cpu && (everywhere || local) {
                    self.cpus[target].inbox.remove(i);
                    self.apply(target as u8, p);
                } else {
                    i += 1;
                }
            }
        }
        self.end_foreign_walks(cpu);
        for flush in &mut self.cpus[cpu as usize].flushes {
            flush.complete |= flush.own;
        }
    }
}
