// SPDX-License-Identifier: MIT OR Apache-2.0
//! Walks in flight: begin, one read per level, insert; each a step of its own
//! (machine rule 4).

use crate::act::Outcome;
use crate::arch::{self, Decoded};
use crate::arm64::{Desc, Stage};
use crate::config::Arch;
use crate::context::{Context, level_size, slot_pa};
use crate::event::Event;
use crate::machine::State;
use crate::mem::Use;
use crate::op::{Access, Va};
use crate::order::Time;
use crate::tlb::{Entry, Found, Life};

mod caught;
mod insert;
mod mark;

/// What a stage-2 translation is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
enum For {
    /// The access itself.
    Data,
    /// A stage-1 descriptor of this level.
    Stage1(u8),
}

/// The next step of a walk.
#[derive(Clone, Copy, Debug, Hash)]
enum Next {
    /// Read the descriptor at `at`, which translates `input`.
    Read {
        stage: Stage,
        level: u8,
        at: u64,
        input: u64,
        what: For,
    },
    /// Mark the leaf that was read at `at` as accessed or, if it is that already, as dirty.
    Mark {
        stage: Stage,
        level: u8,
        at: u64,
        what: For,
    },
    /// Insert what was found.
    Insert,
    /// Several stage-2 entries match.
    Conflict,
}

/// What a walk is about to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// Whose tables.
    pub stage: Stage,
    /// At which level.
    pub level: u8,
    /// Where the descriptor lies.
    pub pa: u64,
    /// What it translates: a VA, or an IPA.
    pub input: u64,
}

/// A descriptor that has been read, and what it says.
#[derive(Clone, Copy, Debug, Hash)]
struct Leaf {
    desc: Desc,
    desc_pa: u64,
    level: u8,
    input: u64,
    is: arch::Leaf,
}

impl Leaf {
    fn mark(&self, stage: Stage, what: For) -> Next {
        Next::Mark {
            stage,
            level: self.level,
            at: self.desc_pa,
            what,
        }
    }
}

/// A walk in flight. What it began with, it keeps (machine rule 9).
#[derive(Clone, Copy, Debug, Hash)]
pub struct Walk {
    /// The context that it began under.
    pub ctx: Context,
    /// The address.
    pub va: Va,
    /// Whose tables it reads.
    owner: Option<Life>,
    demand: bool,
    /// It is for a store that is being made: hardware may mark pages as dirty.
    write: bool,
    next: Next,
    /// The latest store that it has read.
    pub after: Time,
    /// The stage-2 leaf that the stage-1 descriptor to be read next was found through.
    table: Option<Leaf>,
    leaf1: Option<Leaf>,
    leaf2: Option<Leaf>,
}

/// What a step of a walk came to.
#[derive(Clone, Copy, Debug)]
pub enum Progress {
    /// There is more to do.
    More,
    /// The entry is in the TLB.
    Filled,
    /// It found a translation that may not be cached.
    Uncached(Entry),
    /// It met an invalid descriptor, or may not go on.
    Fault(Outcome),
}

impl Walk {
    /// Begins a walk, from the deepest cached table, for an access or on speculation.
    pub fn begin(s: &State, cpu: u8, ctx: Context, va: Va, access: Option<Access>) -> Walk {
        let owner = match s.mem.frame(ctx.root()).usage {
            Use::Table(life) => life,
            _ => None,
        };
        let mut walk = Walk {
            ctx,
            va,
            owner,
            demand: access.is_some(),
            write: access == Some(Access::Write),
            after: 0,
            next: Next::Insert,
            table: None,
            leaf1: None,
            leaf2: None,
        };
        if ctx.stage1 == 0 {
            walk.stage2(s, cpu, va, For::Data);
        } else {
            let pick = s.cpus[cpu as usize].pick;
            let cached = s.tlb(cpu).table_for(cpu, ctx.tags, Stage::One, va, pick);
            let (level, table) = walk.start(s, cached, ctx.stage1);
            walk.stage1(s, cpu, level, table);
        }
        walk
    }

    /// Where to read next: the cached table, or the root. Walk caches go by tag, whatever
    /// the table register says: the tables are those of whoever the cached entry is from.
    fn start(&mut self, s: &State, cached: Option<Entry>, root: u64) -> (u8, u64) {
        match cached {
            Some(entry) => {
                self.owner = entry.owner;
                self.after = self.after.max(entry.time);
                (entry.level + 1, entry.pa)
            }
            None => (s.config.first_level(), root),
        }
    }

    fn stage1(&mut self, s: &State, cpu: u8, level: u8, table: u64) {
        let at = slot_pa(table, level, self.va);
        if self.ctx.stage2 == 0 {
            self.next = Next::Read {
                stage: Stage::One,
                level,
                at,
                input: self.va,
                what: For::Data,
            };
        } else {
            self.stage2(s, cpu, at, For::Stage1(level));
        }
    }

    fn stage2(&mut self, s: &State, cpu: u8, ipa: u64, what: For) {
        let tlb = s.tlb(cpu);
        let pick = s.cpus[cpu as usize].pick;
        let found = tlb.lookup(
            cpu,
            self.ctx.tags,
            Stage::Two,
            ipa,
            s.config.answers(),
            pick,
        );
        // What is to be marked as dirty is read anew.
        let marks = self.write || what != For::Data;
        match found {
            Found::Hit(e) if !(marks && e.dirtiable && !e.writable) => {
                self.owner = e.owner;
                self.after = self.after.max(e.time);
                let leaf = Leaf {
                    desc: e.desc,
                    desc_pa: e.desc_pa,
                    level: e.level,
                    input: ipa,
                    is: arch::Leaf {
                        pa: e.pa + (ipa - e.va) / level_size(e.level) * level_size(e.level),
                        writable: e.writable,
                        global: true,
                        accessed: true,
                    },
                };
                self.found2(s, leaf, what);
                return;
            }
            Found::Conflict => {
                self.next = Next::Conflict;
                return;
            }
            _ => {}
        }
        let cached = tlb.table_for(cpu, self.ctx.tags, Stage::Two, ipa, pick);
        let (level, table) = self.start(s, cached, self.ctx.stage2);
        let at = slot_pa(table, level, ipa);
        self.next = Next::Read {
            stage: Stage::Two,
            level,
            at,
            input: ipa,
            what,
        };
    }

    /// A stage-2 leaf is known, and marked as accessed.
    fn found2(&mut self, s: &State, leaf: Leaf, what: For) {
        let pa = leaf.is.pa + leaf.input % level_size(leaf.level);
        match what {
            For::Data => {
                self.leaf2 = Some(leaf);
                self.finish(s);
            }
            For::Stage1(level) => {
                self.table = Some(leaf);
                self.next = Next::Read {
                    stage: Stage::One,
                    level,
                    at: pa,
                    input: self.va,
                    what,
                };
            }
        }
    }

    /// A stage-1 leaf is known, and marked as accessed.
    fn found1(&mut self, s: &State, cpu: u8, leaf: Leaf) {
        self.leaf1 = Some(leaf);
        if self.ctx.stage2 == 0 {
            self.finish(s);
        } else {
            let ipa = leaf.is.pa + leaf.input % level_size(leaf.level);
            self.stage2(s, cpu, ipa, For::Data);
        }
    }

    /// What its next step reads; `None`: it is about to insert what it has found.
    pub fn reading(&self) -> Option<Reading> {
        match self.next {
            Next::Read {
                stage,
                level,
                at,
                input,
                ..
            } => Some(Reading {
                stage,
                level,
                pa: at,
                input,
            }),
            Next::Mark { .. } | Next::Insert | Next::Conflict => None,
        }
    }

    /// One step.
    pub fn step(&mut self, s: &mut State, cpu: u8) -> Progress {
        match self.next {
            Next::Read {
                stage,
                level,
                at,
                input,
                what,
            } => self.read(s, cpu, (stage, level, at), input, what),
            Next::Mark { stage, what, .. } => self.mark(s, cpu, stage, what),
            Next::Insert => self.insert(s, cpu),
            Next::Conflict => Progress::Fault(Outcome::Conflict),
        }
    }

    fn read(
        &mut self,
        s: &mut State,
        cpu: u8,
        (stage, level, at): (Stage, u8, u64),
        input: u64,
        what: For,
    ) -> Progress {
        let (desc, time) = s.walk_read(cpu, at, self.after);
        self.after = self.after.max(time);
        s.events.push(Event::WalkRead {
            cpu,
            va: self.va,
            stage,
            level,
            desc_pa: at,
            desc,
            owner: self.owner,
            demand: self.demand,
        });
        let desc = if s.config.arch == Arch::X86 {
            s.x86_uses(cpu, at, level, desc, self.write)
        } else {
            desc
        };
        let found = |is| Leaf {
            desc,
            desc_pa: at,
            level,
            input,
            is,
        };
        match s.config.arch.decode(stage, level, desc) {
            Decoded::Invalid => {
                if s.remembers_absence() {
                    let nothing = arch::Leaf {
                        pa: 0,
                        writable: false,
                        global: false,
                        accessed: false,
                    };
                    let entry = self.entry(s, cpu, stage, true, found(nothing));
                    s.insert_absent(cpu, entry, self.demand);
                }
                return Progress::Fault(Outcome::Translation);
            }
            Decoded::Leaf(is) if !is.accessed && !s.marks() => {
                return Progress::Fault(Outcome::Translation);
            }
            Decoded::Leaf(is) => self.leaf(s, cpu, stage, found(is), what),
            Decoded::Table(pa) => {
                let is = arch::Leaf {
                    pa,
                    writable: true,
                    global: false,
                    accessed: true,
                };
                let entry = self.entry(s, cpu, stage, false, found(is));
                s.insert(cpu, entry, self.demand);
                match stage {
                    Stage::One => self.stage1(s, cpu, level + 1, pa),
                    Stage::Two => {
                        let at = slot_pa(pa, level + 1, input);
                        self.next = Next::Read {
                            stage,
                            level: level + 1,
                            at,
                            input,
                            what,
                        };
                    }
                }
            }
        }
        Progress::More
    }

    /// A leaf has been read, or marked.
    fn leaf(&mut self, s: &mut State, cpu: u8, stage: Stage, leaf: Leaf, what: For) {
        if !leaf.is.accessed {
            *self.place(stage, what) = Some(leaf);
            self.next = leaf.mark(stage, what);
            return;
        }
        match (stage, what) {
            (Stage::One, _) => self.found1(s, cpu, leaf),
            (Stage::Two, For::Data) => self.found2(s, leaf, what),
            (Stage::Two, For::Stage1(_)) => {
                if !s.transient(&leaf) {
                    let entry = self.entry(s, cpu, stage, true, leaf);
                    s.insert(cpu, entry, self.demand);
                }
                self.found2(s, leaf, what);
            }
        }
    }
}

/// How an access through an entry ends.
pub fn permitted(entry: &Entry, write: bool) -> Outcome {
    if write && !entry.writable {
        Outcome::Permission
    } else {
        Outcome::Done
    }
}
