// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every store since the machine started: what was there before, and when it was replaced.

use crate::mem::Word;

/// A point in the order in which stores reached memory. 0: before the first.
pub type Time = u32;

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

    pub(super) fn record(&mut self, word: Word, old: u64, value: u64) -> Time {
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
