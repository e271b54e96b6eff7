// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory order: when others see a CPU's stores, and how old the values may be that it reads.
//!
//! Under [`Memory::Sc`] a store is in memory at its step and a load gives what is there.
//! Under the weaker models a store waits in a buffer of its CPU first. `tso` drains it in
//! order. `arm` drains it out of order, and lets a load give an older value as long as
//! nothing forbids that: each store gets a time when it reaches memory, and each CPU has
//! lower bounds for the times that it may read at, which barriers, acquires, dependencies and
//! coherence raise (Pulte et al., "Promising-ARM/RISC-V", PLDI 2019, without promises: a store
//! is never seen before an earlier load of its CPU was made). Memory is multi-copy atomic
//! (machine rules 1 to 3; docs/machine.md says what is left out).

mod buffer;
mod history;
mod views;

pub use history::{History, Time, Values};
pub use views::{BUFFER, Views, Waiting};

use crate::act::{Fence, Order, Rmw};
use crate::arm64::Desc;
use crate::config::Memory;
use crate::event::{Event, Site};
use crate::machine::State;
use crate::mem::{Memory as Ram, Word};
use crate::tlb::Entry;

impl State {
    /// Whether stores and loads take effect at their steps.
    fn strong(&self) -> bool {
        self.config.memory == Memory::Sc
    }

    /// A load by a program.
    pub(crate) fn load(&mut self, cpu: u8, word: Word, order: Order) -> u64 {
        let now = self.mem.get(word);
        if self.strong() {
            return now;
        }
        let views = &mut self.cpus[cpu as usize].views;
        let own = views.buffer.iter().rev().find(|w| w.word == word);
        let forwarded = own.is_some();
        let (value, time) = if let Some(own) = own {
            (own.value, own.view)
        } else if self.config.memory == Memory::Tso {
            (now, self.history.time_of(word))
        } else {
            let mut floor = views.load.max(views.coherence(word));
            if order == Order::Address {
                floor = floor.max(views.seen);
            }
            let back = core::mem::take(&mut views.stale) as usize;
            let mut values = self.history.values(word, now, floor).take(back + 1);
            let newest = values.next().unwrap_or((now, 0));
            values.last().unwrap_or(newest)
        };
        if time < self.history.time_of(word) && !forwarded {
            self.cpus[cpu as usize].old_values += 1;
            if self.tracing {
                self.events.push(Event::Stale { cpu, word, value });
            }
        }
        let views = &mut self.cpus[cpu as usize].views;
        views.observe(word, time);
        views.seen = views.seen.max(time);
        // What the program's branches and addresses depend on is not known: on everything.
        views.control = views.control.max(time);
        if matches!(order, Order::Acquire | Order::Full) {
            views.fence_loads(time);
        }
        value
    }

    /// A walker, an observer of its own, reads a descriptor; `after`: the latest store that led
    /// it there. It does not see into the buffer of its CPU (machine rule 4).
    pub(crate) fn walk_read(&mut self, cpu: u8, pa: u64, after: Time) -> (Desc, Time) {
        let Some(word) = self.mem.word_at(pa) else {
            return (Desc::INVALID, 0);
        };
        let now = self.mem.get(word);
        if self.strong() {
            return (Desc(now), 0);
        }
        let views = &mut self.cpus[cpu as usize].views;
        let back = core::mem::take(&mut views.stale_walk) as usize;
        if back == 0 {
            return (Desc(now), self.history.time_of(word));
        }
        let floor = after.max(views.walk).max(views.flush);
        let values = self.history.values(word, now, floor).take(back + 1);
        let (value, time) = values.last().unwrap_or((now, 0));
        (Desc(value), time)
    }

    /// A walker marks a descriptor as accessed or dirty, by an atomic update that fails if it is
    /// no longer what was read. `None`: it did; else the time of the store.
    pub(crate) fn mark(&mut self, cpu: u8, pa: u64, old: Desc, new: Desc) -> Option<Time> {
        let word = Ram::desc_word(pa)?;
        if self.mem.get(word) != old.0 {
            return None;
        }
        self.mem.set(word, new.0);
        let time = if self.strong() {
            0
        } else {
            self.history.record(word, old.0, new.0)
        };
        self.events.push(Event::Marked { cpu, pa, old, new });
        Some(time)
    }

    /// A store by a program.
    pub(crate) fn store(&mut self, cpu: u8, word: Word, value: u64, order: Order, site: Site) {
        if self.strong() {
            self.store_now(cpu, word, value, site);
            return;
        }
        self.store_later(cpu, word, value, order, 0, None, site);
    }

    /// Puts a store into the buffer of its CPU.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn store_later(
        &mut self,
        cpu: u8,
        word: Word,
        value: u64,
        order: Order,
        view: Time,
        user: Option<Entry>,
        site: Site,
    ) {
        if self.cpus[cpu as usize].views.buffer.len() == BUFFER {
            self.drain_at(cpu, 0);
        }
        let views = &mut self.cpus[cpu as usize].views;
        views.buffer.push(Waiting {
            word,
            value,
            epoch: views.epoch,
            release: matches!(order, Order::Release | Order::Full),
            view,
            user,
            site,
        });
    }

    /// A store reaches memory: every CPU and walker may see it.
    pub(crate) fn store_now(&mut self, cpu: u8, word: Word, value: u64, site: Site) {
        let old = self.mem.get(word);
        self.mem.set(word, value);
        if !self.strong() {
            let time = self.history.record(word, old, value);
            let views = &mut self.cpus[cpu as usize].views;
            views.stored = views.stored.max(time);
            views.observe(word, time);
        }
        if let Some(pa) = self.mem.desc_pa(word)
            && old != value
        {
            let (old, new) = (Desc(old), Desc(value));
            self.pte_changes += 1;
            self.claim_table(pa);
            self.events.push(Event::Pte {
                cpu,
                pa,
                old,
                new,
                site,
            });
        }
    }

    /// An atomic read-modify-write. It reads the newest value and stores at once, as one that
    /// holds the line exclusively does.
    pub(crate) fn rmw(&mut self, cpu: u8, word: Word, rmw: Rmw, order: Order, site: Site) -> u64 {
        if !self.strong() {
            if matches!(order, Order::Release | Order::Full) || self.config.memory == Memory::Tso {
                self.drain_all(cpu);
            } else {
                self.drain_word(cpu, word);
            }
        }
        let read = if self.strong() {
            0
        } else {
            self.history.time_of(word)
        };
        let old = self.mem.get(word);
        let (new, result) = match rmw {
            Rmw::Xchg(new) => (new, old),
            Rmw::CmpXchg(expected, new) => (if old == expected { new } else { old }, old),
            Rmw::Add(n) => (old.wrapping_add(n), old.wrapping_add(n)),
            Rmw::Or(bits) => (old | bits, old),
            Rmw::AndNot(bits) => (old & !bits, old),
        };
        let failed = matches!(rmw, Rmw::CmpXchg(expected, _) if expected != old);
        if !failed {
            self.store_now(cpu, word, new, site);
        }
        if !self.strong() {
            let views = &mut self.cpus[cpu as usize].views;
            views.observe(word, read);
            views.seen = views.seen.max(read);
            views.control = views.control.max(read);
            match order {
                Order::Acquire => views.fence_loads(read),
                // One that fails orders nothing (Linux, Documentation/atomic_t.txt).
                Order::Full if !failed => {
                    let time = views.seen.max(views.stored);
                    views.fence_loads(time);
                }
                _ => {}
            }
        }
        result
    }

    /// A lock is taken or given back: an acquire, or a release whose store does not wait.
    pub(crate) fn lock_word(&mut self, cpu: u8, word: Word, value: u64, acquire: bool, site: Site) {
        if self.strong() {
            self.mem.set(word, value);
            return;
        }
        if !acquire {
            self.drain_all(cpu);
        }
        let read = self.history.time_of(word);
        self.store_now(cpu, word, value, site);
        if acquire {
            let views = &mut self.cpus[cpu as usize].views;
            views.seen = views.seen.max(read);
            views.fence_loads(read);
        }
    }

    /// A word is written by no step of a program: the zeroes of a new table. Its CPU has made
    /// them, and reads nothing older there.
    pub(crate) fn initialize(&mut self, cpu: u8, word: Word, value: u64) {
        let old = self.mem.get(word);
        self.mem.set(word, value);
        if self.strong() {
            return;
        }
        if old != value {
            self.history.record(word, old, value);
        }
        let time = self.history.time_of(word);
        self.cpus[cpu as usize].views.observe(word, time);
    }

    /// A DMB, or what other architectures have for it.
    pub(crate) fn fence(&mut self, cpu: u8, fence: Fence) {
        if self.strong() {
            return;
        }
        match fence {
            Fence::Full => self.memory_barrier(cpu),
            Fence::Stores => self.cpus[cpu as usize].views.epoch += 1,
            Fence::Loads => {
                let views = &mut self.cpus[cpu as usize].views;
                views.fence_loads(views.seen);
            }
        }
    }

    /// A full barrier: its CPU's stores are in memory, and its later loads are later.
    pub fn memory_barrier(&mut self, cpu: u8) {
        if self.strong() {
            return;
        }
        self.drain_all(cpu);
        let views = &mut self.cpus[cpu as usize].views;
        let time = views.seen.max(views.stored);
        views.fence_loads(time);
    }

    /// The memory part of a DSB: `loads`, whether it waits for loads too. Nothing after it
    /// begins before its stores are in memory.
    pub(crate) fn synchronize_data(&mut self, cpu: u8, loads: bool) {
        if self.strong() {
            return;
        }
        self.drain_all(cpu);
        let views = &mut self.cpus[cpu as usize].views;
        let mut time = views.stored;
        if loads {
            time = time.max(views.seen);
        }
        views.fence_loads(time);
        // Walks are not ordered behind a DSB for stores (test pKVM.host_handle_trap).
        if loads {
            views.control = views.control.max(time);
        }
    }

    /// What another CPU has done so far is before everything that `cpu` does from now on, as
    /// when it takes an interrupt that was sent after it.
    pub(crate) fn catch_up(&mut self, cpu: u8, time: Time) {
        if !self.strong() {
            let views = &mut self.cpus[cpu as usize].views;
            views.seen = views.seen.max(time);
            views.control = views.control.max(time);
            views.fence_loads(time);
        }
    }

    /// What all CPUs have done so far, as far as it is in memory, is before everything that `cpu`
    /// does from now on: it takes a reference that a full atomic guards.
    pub fn catch_up_all(&mut self, cpu: u8) {
        self.memory_barrier(cpu);
        self.catch_up(cpu, self.history.now());
    }
}
