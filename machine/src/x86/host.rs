// SPDX-License-Identifier: MIT OR Apache-2.0
//! The host under the CPUs of a KVM guest: it takes a virtual CPU off its core and puts it
//! back, and says so in a word that it shares with the guest (`struct kvm_steal_time`,
//! `preempted`; Linux, arch/x86/kvm/x86.c, `kvm_steal_time_set_preempted` and
//! `record_steal_time`).
//!
//! Entries of a virtual CPU outlive its preemption. A guest that needs them gone asks the host
//! to flush them when the CPU runs again, instead of waiting for an interrupt to be taken.

use crate::act::{Order, Rmw};
use crate::cpu::{Boot, Shared};
use crate::event::{Event, Site};
use crate::machine::State;
use crate::mem::Word;
use crate::tlbi::{Kind, Tlbi};
use core::panic::Location;

/// The host's mark: the virtual CPU does not run (KVM_VCPU_PREEMPTED).
pub const PREEMPTED: u64 = 1;
/// The guest's wish: flush before it runs (KVM_VCPU_FLUSH_TLB).
pub const FLUSH_TLB: u64 = 2;

/// The host's part of a machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Host {
    /// The word of each CPU.
    words: Option<[Word; 4]>,
    /// It clears the word without an atomic exchange.
    racy: bool,
}

impl Boot<'_> {
    /// The CPUs are virtual, and these words (by CPU) are what host and guest share.
    pub fn steal_time(&self, words: [Shared<u64>; 4]) {
        let words = words.map(|w| w.word());
        self.with(|state| state.host.words = Some(words));
    }

    /// The host reads a word, acts on it and then clears it, in two steps, as before commit
    /// b043138246a4 (CVE-2019-3016).
    pub fn racy_host(&self) {
        self.with(|state| state.host.racy = true);
    }
}

impl State {
    /// Whether the CPUs are virtual.
    pub fn has_host(&self) -> bool {
        self.host.words.is_some()
    }

    /// The host takes a virtual CPU off its core: until it is resumed it takes no steps and
    /// its walker stands still. Its TLB stays. Between two instructions only: a walk is given
    /// up. `false`: it is off already, or the CPUs are not virtual.
    #[track_caller]
    pub fn preempt(&mut self, cpu: u8) -> bool {
        let (site, c) = (Location::caller(), cpu as usize);
        let Some(words) = self.host.words else {
            return false;
        };
        if self.cpus[c].preempted {
            return false;
        }
        self.step += 1;
        // VM exits and entries are serializing.
        self.memory_barrier(cpu);
        self.cpus[c].preempted = true;
        self.cpus[c].walk = None;
        self.cpus[c].demand = None;
        self.write_as_host(cpu, words[c], PREEMPTED, site);
        self.note(cpu);
        true
    }

    /// The host puts a virtual CPU back, after the flush that the guest asked for. With
    /// [`Boot::racy_host`], the second call does. `false`: it was not off.
    #[track_caller]
    pub fn resume(&mut self, cpu: u8) -> bool {
        let (site, c) = (Location::caller(), cpu as usize);
        let Some(words) = self.host.words else {
            return false;
        };
        if !self.cpus[c].preempted {
            return false;
        }
        self.step += 1;
        if !self.cpus[c].resuming {
            if self.mem.get(words[c]) & FLUSH_TLB != 0 {
                self.issue(cpu, Tlbi::all(Kind::Invvpid), site);
            }
            if self.host.racy {
                self.cpus[c].resuming = true;
                return true;
            }
        }
        self.write_as_host(cpu, words[c], 0, site);
        self.memory_barrier(cpu);
        self.cpus[c].preempted = false;
        self.cpus[c].resuming = false;
        self.note(cpu);
        // It uses its context again: judges look anew.
        self.events.push(Event::Context { cpu });
        true
    }

    fn note(&mut self, cpu: u8) {
        if self.tracing {
            let off = self.cpus[cpu as usize].preempted;
            self.events.push(Event::Preempted { cpu, off });
        }
    }

    fn write_as_host(&mut self, cpu: u8, word: Word, value: u64, site: Site) {
        self.rmw(cpu, word, Rmw::Xchg(value), Order::Full, site);
    }
}
