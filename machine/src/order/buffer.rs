// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stores that leave their CPU's buffer.

use super::Waiting;
use crate::arm64::Tlbi;
use crate::config::Memory;
use crate::event::Event;
use crate::machine::State;
use crate::mem::Word;

impl State {
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
    pub(super) fn drain_word(&mut self, cpu: u8, word: Word) {
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
