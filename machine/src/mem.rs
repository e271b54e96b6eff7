// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory: the kernel's variables and the simulated physical frames, one array of words.

use crate::arm64::Desc;
use crate::op::{BLOCK_PAGES, PAGE, Space};
use crate::order::Time;
use crate::tlb::Life;

/// Words set aside for kernel variables and locks.
pub const VARS: usize = 256;
/// Descriptors in a table. Real ones have 512.
pub const SLOTS: usize = 4;
/// Descriptors of a contiguous group, aligned (Arm ARM, D8.7.1). Real ones have 16 to 128.
pub const GROUP: usize = 2;
/// log2 of [`SLOTS`]: address bits that a level resolves.
pub const BITS: u32 = 2;
/// Frames that come singly: tables and pages. Frame 0 is never handed out. More than the
/// longest scenario can use, so that running out of memory is not an outcome.
const SINGLES: usize = 512;
/// Naturally aligned runs of [`BLOCK_PAGES`] frames.
const BLOCKS: usize = 144;
/// All frames.
pub const FRAMES: usize = SINGLES + BLOCKS * BLOCK_PAGES;

/// Index of a word of memory.
pub type Word = u32;

/// Names a page's contents, so that every variant's copy of it can be compared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Page(pub u16);

/// What a frame is used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Use {
    /// Nothing: it may be handed out.
    #[default]
    Free,
    /// A page-table page of a space; `None`: the kernel's own (the reserved table).
    Table(Option<Life>),
    /// A page of a space.
    Page(Life, Page),
}

/// A physical frame.
#[derive(Clone, Copy, Debug, Default)]
pub struct Frame {
    /// Its use.
    pub usage: Use,
    /// How often it has changed hands.
    pub generation: u32,
    /// Its contents have moved elsewhere, or were written back: a store to it is lost.
    pub moved: bool,
    /// References to it.
    pub references: u8,
    /// When that has changed last.
    pub(crate) counted: Time,
    /// There has been more than one: spaces besides its owner may map it, or have it as a table
    /// of theirs. A table is shared until its contents change under its last reference.
    pub shared: bool,
}

/// Name of a kernel variable: `active_asids` or `active_asids[1]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Name {
    /// As the kernel calls it.
    pub name: &'static str,
    /// CPU or space, where there is one for each.
    pub index: Option<u8>,
}

/// All of memory.
#[derive(Clone, Debug)]
pub struct Memory {
    words: Vec<u64>,
    /// Frames that can hold a table: those that come singly.
    tables: usize,
    dirty: Vec<Word>,
    /// Names of the variables, by word.
    pub names: Vec<Name>,
    frames: Vec<Frame>,
    used: Vec<u16>,
    singles: Vec<u16>,
    blocks: Vec<u16>,
    /// Frames of each block still in use.
    held: [u8; BLOCKS],
    next_single: u16,
    next_block: u16,
}

impl Default for Memory {
    fn default() -> Self {
        Memory::of(SINGLES, FRAMES)
    }
}

impl Memory {
    /// A memory with fewer frames, all of them single: `0x0..frames * PAGE`.
    pub(crate) fn small(frames: usize) -> Memory {
        Memory::of(frames, frames)
    }

    fn of(singles: usize, frames: usize) -> Memory {
        Memory {
            words: vec![0; VARS + singles * (SLOTS + 1)],
            tables: singles,
            dirty: Vec::with_capacity(256),
            names: Vec::with_capacity(VARS),
            frames: vec![Frame::default(); frames],
            used: Vec::with_capacity(FRAMES),
            singles: Vec::with_capacity(SINGLES),
            blocks: Vec::with_capacity(BLOCKS),
            held: [0; BLOCKS],
            next_single: 1,
            next_block: 0,
        }
    }
}

impl Memory {
    /// Back to the initial state, touching only what has changed.
    pub fn reset(&mut self) {
        for w in self.dirty.drain(..) {
            self.words[w as usize] = 0;
        }
        for f in self.used.drain(..) {
            self.frames[f as usize] = Frame::default();
        }
        self.names.clear();
        self.singles.clear();
        self.blocks.clear();
        self.held = [0; BLOCKS];
        self.next_single = 1;
        self.next_block = 0;
    }

    /// Declares a variable.
    ///
    /// # Panics
    /// If there are more than the words set aside for them.
    pub fn declare(&mut self, name: Name, value: u64) -> Word {
        assert!(self.names.len() < VARS, "more than {VARS} shared variables");
        let word = self.names.len() as Word;
        self.names.push(name);
        self.set(word, value);
        word
    }

    /// How many words there are.
    pub fn words(&self) -> usize {
        self.words.len()
    }

    /// Reads a word.
    pub fn get(&self, word: Word) -> u64 {
        self.words[word as usize]
    }

    /// Writes a word.
    pub fn set(&mut self, word: Word, value: u64) {
        let slot = &mut self.words[word as usize];
        if *slot == 0 && value != 0 {
            self.dirty.push(word);
        }
        *slot = value;
    }

    /// The word of the descriptor at physical address `pa`, if that frame can hold one.
    pub fn desc_word(pa: u64) -> Option<Word> {
        let (frame, slot) = ((pa / PAGE) as usize, (pa % PAGE / 8) as usize);
        (frame < SINGLES && slot < SLOTS).then(|| (VARS + frame * SLOTS + slot) as Word)
    }

    /// The same, if this memory has that word.
    pub(crate) fn word_at(&self, pa: u64) -> Option<Word> {
        Memory::desc_word(pa).filter(|word| (*word as usize) < self.words())
    }

    /// The descriptor at a physical address; invalid where none can be.
    pub fn desc(&self, pa: u64) -> Desc {
        Desc(Memory::desc_word(pa).map_or(0, |w| self.get(w)))
    }

    /// The physical address of a descriptor's word; `None` for a variable.
    pub fn desc_pa(&self, word: Word) -> Option<u64> {
        let i = (word as usize).checked_sub(VARS)?;
        (i < self.tables * SLOTS).then_some(())?;
        Some((i / SLOTS) as u64 * PAGE + (i % SLOTS) as u64 * 8)
    }

    /// The word with the reference count of the frame at `pa` (`page_count`), for kernels that
    /// keep one for their tables; 0 until they set it. `None`: a frame that holds no table.
    pub fn count_word(&self, pa: u64) -> Option<Word> {
        let frame = (pa / PAGE) as usize;
        (frame < self.tables).then(|| (VARS + self.tables * SLOTS + frame) as Word)
    }

    /// The name of a word that is no descriptor.
    pub fn name(&self, word: Word) -> Option<Name> {
        let counted = word as usize >= VARS && self.desc_pa(word).is_none();
        let count = Name {
            name: "page_count",
            index: None,
        };
        let named = self.names.get(word as usize).copied();
        named.or(counted.then_some(count))
    }

    /// Every frame in use, with its address.
    pub fn in_use(&self) -> impl Iterator<Item = (u64, Use)> + '_ {
        let frames = (0..).zip(&self.frames);
        frames.filter_map(|(i, f)| (f.usage != Use::Free).then_some((i * PAGE, f.usage)))
    }

    /// The frame that contains a physical address.
    pub fn frame(&self, pa: u64) -> Frame {
        self.frames
            .get((pa / PAGE) as usize)
            .copied()
            .unwrap_or_default()
    }

    /// Marks a frame's contents as moved to another, or as its own again.
    pub fn set_moved(&mut self, pa: u64, moved: bool) {
        if let Some(frame) = self.frames.get_mut((pa / PAGE) as usize) {
            frame.moved = moved;
        }
    }

    /// Ghost: says whose table a frame is.
    pub(crate) fn set_owner(&mut self, pa: u64, life: Option<Life>) {
        if let Some(frame) = self.frames.get_mut((pa / PAGE) as usize) {
            frame.usage = Use::Table(life);
        }
    }

    /// Takes another reference to a frame. `false`: it is free, and nothing is done.
    pub fn get_page(&mut self, pa: u64) -> bool {
        let frame = self.frames.get_mut((pa / PAGE) as usize);
        let Some(frame) = frame.filter(|f| f.usage != Use::Free) else {
            return false;
        };
        frame.references += 1;
        frame.shared = true;
        true
    }

    /// A table that was shared is one space's alone.
    pub(crate) fn claim(&mut self, pa: u64, by: Option<Life>) {
        if let Some(frame) = self.frames.get_mut((pa / PAGE) as usize) {
            frame.shared = false;
            if by.is_some() {
                frame.usage = Use::Table(by);
            }
        }
    }

    fn assign(&mut self, frame: u16, usage: Use) {
        let f = &mut self.frames[frame as usize];
        f.usage = usage;
        f.generation += 1;
        f.moved = false;
        f.references = 1;
        f.shared = false;
        self.used.push(frame);
    }

    /// A table or a page with what was in it; the frame freed last comes first. `None`: out of
    /// memory.
    pub fn alloc(&mut self, usage: Use) -> Option<u64> {
        let frame = self.singles.pop().or_else(|| {
            let fresh = self.next_single;
            self.next_single += 1;
            ((fresh as usize) < SINGLES).then_some(fresh)
        })?;
        self.assign(frame, usage);
        Some(frame as u64 * PAGE)
    }

    /// [`BLOCK_PAGES`] aligned frames for the pages `first..`. `None`: out of memory.
    pub fn alloc_block(&mut self, life: Life, first: Page) -> Option<u64> {
        let block = self.blocks.pop().or_else(|| {
            let fresh = self.next_block;
            self.next_block += 1;
            ((fresh as usize) < BLOCKS).then_some(fresh)
        })?;
        self.held[block as usize] = BLOCK_PAGES as u8;
        let base = (SINGLES + block as usize * BLOCK_PAGES) as u16;
        for i in 0..BLOCK_PAGES as u16 {
            self.assign(base + i, Use::Page(life, Page(first.0 + i)));
        }
        Some(base as u64 * PAGE)
    }

    /// The references to a frame change now; when they did last.
    pub(crate) fn counted(&mut self, pa: u64, now: Time) -> Time {
        let frame = self.frames.get_mut((pa / PAGE) as usize);
        frame.map_or(0, |f| core::mem::replace(&mut f.counted, now))
    }

    /// Takes back a reference to a frame, and the frame with the last. A block is handed out
    /// anew once all its frames are back. `false`: it was free already, and nothing is done.
    pub fn free(&mut self, pa: u64) -> bool {
        let frame = (pa / PAGE) as usize;
        if frame >= FRAMES || self.frames[frame].usage == Use::Free {
            return false;
        }
        self.frames[frame].references -= 1;
        if self.frames[frame].references > 0 {
            return true;
        }
        self.frames[frame].usage = Use::Free;
        self.frames[frame].generation += 1;
        if frame < SINGLES {
            self.singles.push(frame as u16);
        } else {
            let block = (frame - SINGLES) / BLOCK_PAGES;
            self.held[block] -= 1;
            if self.held[block] == 0 {
                self.blocks.push(block as u16);
            }
        }
        true
    }

    /// Whether four frames from `pa` are one block as it was handed out.
    pub fn is_block(pa: u64) -> bool {
        let frame = (pa / PAGE) as usize;
        frame >= SINGLES && (frame - SINGLES).is_multiple_of(BLOCK_PAGES)
    }
}

impl Use {
    /// Whose it is.
    pub fn life(self) -> Option<Life> {
        match self {
            Use::Free => None,
            Use::Table(life) => life,
            Use::Page(life, _) => Some(life),
        }
    }
}

/// The pages that every space starts with, in every variant: `0x0000` and `0x1000` singly,
/// `0x4000` to `0x7fff` as a block. Space `n` owns the pages `n * 16 ..`.
pub fn initial_page(space: Space, index: usize) -> Page {
    Page(space.0 as u16 * 16 + index as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_reused_last_freed_first_and_remember_it() {
        let mut m = Memory::default();
        let life = Life {
            space: Space(0),
            nth: 0,
        };
        let a = m.alloc(Use::Table(Some(life))).unwrap();
        let w = Memory::desc_word(a).unwrap();
        m.set(w, 7);
        let g = m.frame(a).generation;
        m.free(a);
        assert_eq!(m.get(w), 7, "a freed frame keeps its contents");
        let b = m.alloc(Use::Table(None)).unwrap();
        assert_eq!(a, b);
        assert!(m.frame(b).generation > g);
        m.reset();
        assert_eq!(m.frame(b).usage, Use::Free);
    }

    #[test]
    fn a_frame_is_free_when_nobody_refers_to_it() {
        let mut m = Memory::default();
        let life = Life {
            space: Space(0),
            nth: 0,
        };
        let usage = Use::Page(life, Page(1));
        let pa = m.alloc(usage).unwrap();
        assert!(m.get_page(pa) && m.frame(pa).shared);
        assert!(m.free(pa));
        assert_eq!((m.frame(pa).usage, m.frame(pa).references), (usage, 1));
        assert!(m.free(pa));
        assert_eq!(m.frame(pa).usage, Use::Free);
        assert!(!m.get_page(pa) && !m.free(pa));
        assert_eq!(m.alloc(usage), Some(pa));
        assert!(!m.frame(pa).shared, "a new page is its owner's alone");
    }

    #[test]
    fn a_block_returns_only_whole() {
        let mut m = Memory::default();
        let life = Life {
            space: Space(1),
            nth: 0,
        };
        let a = m.alloc_block(life, Page(4)).unwrap();
        assert!(Memory::is_block(a) && !Memory::is_block(a + PAGE));
        m.free(a);
        assert_ne!(m.alloc_block(life, Page(8)), Some(a));
        for i in 1..4 {
            m.free(a + i * PAGE);
        }
        assert_eq!(m.alloc_block(life, Page(12)), Some(a));
    }

    #[test]
    fn memory_runs_out() {
        let mut m = Memory::default();
        while m.alloc(Use::Table(None)).is_some() {}
        assert_eq!(m.alloc(Use::Table(None)), None);
        let life = Life {
            space: Space(1),
            nth: 0,
        };
        for _ in 0..BLOCKS {
            assert!(m.alloc_block(life, Page(0)).is_some());
        }
        assert_eq!(m.alloc_block(life, Page(0)), None);
    }
}
