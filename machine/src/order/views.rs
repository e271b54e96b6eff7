// SPDX-License-Identifier: MIT OR Apache-2.0
//! What one CPU has seen of memory, and its stores that others have not.

use super::history::Time;
use crate::config::Memory;
use crate::event::Site;
use crate::mem::Word;
use crate::tlb::Entry;

/// Stores that wait in one CPU's buffer at most; the oldest makes room.
pub const BUFFER: usize = 8;

/// A store in its CPU's buffer.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// Where it goes.
    pub word: Word,
    /// What it stores.
    pub value: u64,
    /// Barriers for stores that came before it.
    pub(super) epoch: u32,
    /// A store-release: everything before it goes first.
    pub(super) release: bool,
    /// What its address and value depend on: a load that it is forwarded to is as late.
    pub view: Time,
    /// A user's store: what translated it. A TLBI that takes that away waits for the store.
    pub user: Option<Entry>,
    pub(super) site: Site,
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
    pub(super) epoch: u32,
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
    pub(super) fn fence_loads(&mut self, time: Time) {
        self.load = self.load.max(time);
    }

    /// Context synchronization (machine rule 8).
    pub(crate) fn synchronize(&mut self) {
        self.walk = self.walk.max(self.control);
        self.load = self.load.max(self.control);
    }

    /// Whether the store at `i` of the buffer may go now.
    pub(super) fn may_drain(&self, i: usize, model: Memory) -> bool {
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
