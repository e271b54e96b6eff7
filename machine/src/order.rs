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

use crate::act::{Fence, Order, Rmw};
use crate::arm64::{Desc, Tlbi};
use crate::config::Memory;
use crate::event::{Event, Site};
use crate::machine::State;
use crate::mem::{Memory as Ram, Word};
use crate::tlb::Entry;

/// A point in the order in which stores reached memory. 0: before the first.
pub type Time = u32;

/// Stores that wait in one CPU's buffer at most; the oldest makes room.
pub const BUFFER: usize = 8;

/// A store that has reached memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Message {
    word: Word,
    value: u64,
    /// What it replaced.
    old: u64,
    time: Time,
    /// The one before it for the same word; 0: none.
    before: u32,
}

/// Every store since the machine started, so that a late reader finds what was there.
#[derive(Clone, Debug, Default)]
pub struct History {
    messages: Vec<Message>,
    /// The number, from 1, of the last message for each word.
    last: Vec<u32>,
    clock: Time,
}

/// Of what has been stored, from which the rest follows.
impl core::hash::Hash for History {
    fn hash<H: core::hash::Hasher>(&self, h: &mut H) {
        (&self.messages, self.clock).hash(h);
    }
}

impl History {
    /// Forgets everything; `words`: words of memory.
    pub fn reset(&mut self, words: usize) {
        for message in self.messages.drain(..) {
            self.last[message.word as usize] = 0;
        }
        self.last.resize(words, 0);
        self.clock = 0;
    }

    /// Now.
    pub fn now(&self) -> Time {
        self.clock
    }

    /// The next moment.
    pub fn tick(&mut self) -> Time {
        self.clock += 1;
        self.clock
    }

    fn record(&mut self, word: Word, old: u64, value: u64) -> Time {
        let time = self.tick();
        let last = &mut self.last[word as usize];
        self.messages.push(Message {
            word,
            value,
            old,
            time,
            before: *last,
        });
        *last = self.messages.len() as u32;
        time
    }

    fn message(&self, number: u32) -> Option<&Message> {
        self.messages.get((number as usize).checked_sub(1)?)
    }

    /// When the value that a word has now was stored.
    pub fn time_of(&self, word: Word) -> Time {
        self.message(self.last[word as usize]).map_or(0, |m| m.time)
    }

    /// The values of a word that somebody may read whose lower bound is `floor`, newest first,
    /// each with the time of its store; `now`: what the word has now.
    pub fn values(&self, word: Word, now: u64, floor: Time) -> Values<'_> {
        Values {
            history: self,
            number: self.last[word as usize],
            value: Some(now),
            floor,
        }
    }
}

/// See [`History::values`].
#[derive(Debug)]
pub struct Values<'a> {
    history: &'a History,
    number: u32,
    value: Option<u64>,
    floor: Time,
}

impl Iterator for Values<'_> {
    type Item = (u64, Time);

    fn next(&mut self) -> Option<(u64, Time)> {
        let value = self.value.take()?;
        let message = self.history.message(self.number);
        let time = message.map_or(0, |m| m.time);
        if let Some(message) = message
            && message.time > self.floor
        {
            (self.value, self.number) = (Some(message.old), message.before);
        }
        Some((value, time))
    }
}

/// A store in its CPU's buffer.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// Where it goes.
    pub word: Word,
    /// What it stores.
    pub value: u64,
    /// Barriers for stores that came before it.
    epoch: u32,
    /// A store-release: everything before it goes first.
    release: bool,
    /// What its address and value depend on: a load that it is forwarded to is as late.
    pub view: Time,
    /// A user's store: what translated it. A TLBI that takes that away waits for the store.
    pub user: Option<Entry>,
    site: Site,
}

/// What one CPU has seen, and what it must not read behind.
#[derive(Clone, Debug, Default)]
pub struct Views {
    /// Loads give nothing that was replaced before this.
    pub load: Time,
    /// Nor do walks for this CPU, unless a TLB remembers more.
    pub walk: Time,
    /// The last TLBI that took effect here: walks that began before it are over.
    pub flush: Time,
    /// The latest store that a load has given.
    pub seen: Time,
    /// The latest of its own stores that has reached memory.
    pub stored: Time,
    /// What branches and addresses depend on, and DSBs have waited for: a context
    /// synchronization makes everything after it as late.
    pub control: Time,
    coherence: Vec<Time>,
    touched: Vec<Word>,
    epoch: u32,
    /// Stores on their way to memory, oldest first.
    pub buffer: Vec<Waiting>,
    /// How many stores older than the newest the next load's value is to be.
    pub stale: u8,
    /// The same for the next read of its walker.
    pub stale_walk: u8,
}

/// Stands for a state in which the CPU goes on alike: how many barriers there have been does
/// not matter, nor which entry of equal ones translated a store.
impl core::hash::Hash for Views {
    fn hash<H: core::hash::Hasher>(&self, h: &mut H) {
        (self.load, self.walk, self.flush, self.seen).hash(h);
        (self.stored, self.control).hash(h);
        let known = self.touched.iter().map(|w| (*w, self.coherence(*w)));
        let mut known: Vec<_> = known.collect();
        known.sort_unstable();
        known.hash(h);
        for w in &self.buffer {
            (w.word, w.value, self.epoch - w.epoch, w.release, w.view).hash(h);
            w.user
                .map(|e| (e.va, e.size, e.asid, e.vmid, e.desc))
                .hash(h);
        }
    }
}

impl Views {
    pub(crate) fn reset(&mut self, words: usize) {
        for word in self.touched.drain(..) {
            self.coherence[word as usize] = 0;
        }
        self.coherence.resize(words, 0);
        self.buffer.clear();
        (self.load, self.walk, self.flush, self.seen) = (0, 0, 0, 0);
        (self.stored, self.control, self.epoch) = (0, 0, 0);
        (self.stale, self.stale_walk) = (0, 0);
    }

    /// No read of a word may go back behind what its CPU has read or written there.
    pub fn coherence(&self, word: Word) -> Time {
        self.coherence[word as usize]
    }

    /// The CPU has read or written a word's value of that time.
    pub fn observe(&mut self, word: Word, time: Time) {
        let at = &mut self.coherence[word as usize];
        if *at < time {
            if *at == 0 {
                self.touched.push(word);
            }
            *at = time;
        }
    }

    /// Raises what later loads must be as late as.
    fn fence_loads(&mut self, time: Time) {
        self.load = self.load.max(time);
    }

    /// Context synchronization (machine rule 8).
    pub(crate) fn synchronize(&mut self) {
        self.walk = self.walk.max(self.control);
        self.load = self.load.max(self.control);
    }

    /// Whether the store at `i` of the buffer may go now.
    fn may_drain(&self, i: usize, model: Memory) -> bool {
        let store = &self.buffer[i];
        let earlier = &self.buffer[..i];
        match model {
            Memory::Arm if !store.release => earlier
                .iter()
                .all(|e| e.word != store.word && e.epoch == store.epoch),
            _ => earlier.is_empty(),
        }
    }

    /// The stores of the buffer that may go now, oldest first.
    pub fn drainable(&self, model: Memory) -> impl DoubleEndedIterator<Item = usize> {
        (0..self.buffer.len()).filter(move |i| self.may_drain(*i, model))
    }
}

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
        if self.tracing && time < self.history.time_of(word) && !forwarded {
            self.events.push(Event::Stale { cpu, word, value });
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
        let Some(word) = Ram::desc_word(pa).filter(|w| (*w as usize) < self.mem.words()) else {
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
    pub(crate) fn lock_word(&mut self, cpu: u8, word: Word, value: u64, site: Site) {
        if self.strong() {
            self.mem.set(word, value);
            return;
        }
        let acquire = value != 0;
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

    /// A word is written by no program: the zeroes of a new table.
    pub(crate) fn initialize(&mut self, word: Word, value: u64) {
        let old = self.mem.get(word);
        if old != value {
            self.mem.set(word, value);
            if !self.strong() {
                self.history.record(word, old, value);
            }
        }
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

    /// A store that waits in the buffer of `cpu` reaches memory: the oldest, or the last that
    /// nothing keeps back. Whether there was one.
    pub fn drain(&mut self, cpu: u8, last: bool) -> bool {
        let views = &self.cpus[cpu as usize].views;
        let mut which = views.drainable(self.config.memory);
        let Some(i) = (if last {
            which.next_back()
        } else {
            which.next()
        }) else {
            return false;
        };
        drop(which);
        self.step += 1;
        self.drain_at(cpu, i);
        true
    }

    /// The next load of `cpu` gives a value that is so many stores older than the newest, or
    /// the oldest that nothing forbids.
    pub fn stale(&mut self, cpu: u8, by: u8) {
        if self.config.memory == Memory::Arm {
            self.cpus[cpu as usize].views.stale = by;
        }
    }

    pub(crate) fn drain_at(&mut self, cpu: u8, i: usize) {
        let store = self.cpus[cpu as usize].views.buffer.remove(i);
        self.store_now(cpu, store.word, store.value, store.site);
        if self.tracing {
            self.events.push(Event::Drained {
                cpu,
                word: store.word,
                value: store.value,
                site: store.site,
            });
        }
    }

    /// Every store of the buffer, oldest first.
    pub(crate) fn drain_all(&mut self, cpu: u8) {
        while !self.cpus[cpu as usize].views.buffer.is_empty() {
            self.drain_at(cpu, 0);
        }
    }

    /// The user's stores that were translated by what a TLBI covers are complete before it is
    /// (machine rule 11).
    pub(crate) fn finish_users(&mut self, cpu: u8, op: &Tlbi, vmid: u16) {
        let hit = |w: &Waiting| w.user.is_some_and(|entry| entry.hit_by(op, vmid));
        while let Some(i) = self.cpus[cpu as usize].views.buffer.iter().position(hit) {
            let views = &self.cpus[cpu as usize].views;
            let i = if views.may_drain(i, self.config.memory) {
                i
            } else {
                0
            };
            self.drain_at(cpu, i);
        }
    }

    /// The stores to one word, and what must go before them.
    fn drain_word(&mut self, cpu: u8, word: Word) {
        let model = self.config.memory;
        loop {
            let views = &self.cpus[cpu as usize].views;
            let Some(i) = views.buffer.iter().position(|w| w.word == word) else {
                return;
            };
            let i = if views.may_drain(i, model) { i } else { 0 };
            self.drain_at(cpu, i);
        }
    }
}
