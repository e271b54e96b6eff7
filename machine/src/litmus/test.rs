// SPDX-License-Identifier: MIT OR Apache-2.0
//! A litmus test of virtual memory: a few threads, their page tables, and one outcome
//! that somebody has said is allowed or forbidden.
//!
//! Everything is symbolic. A [`Name`] is one page of some space; where it lies is for
//! whoever runs the test to choose.

use super::{Instr, Value};
use crate::arm64::Stage;

/// A general-purpose register, `r0` to `r30`.
pub type Reg = u8;

/// Registers of a thread.
pub const REGS: usize = 31;

/// A page: index into [`Test::names`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Name(pub u8);

/// A table: index into [`Test::tables`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TableId(pub u8);

/// Which space a page is of. Pages of different spaces may have the same number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Of {
    /// Virtual addresses.
    Virtual,
    /// Intermediate physical addresses.
    Intermediate,
    /// Physical addresses.
    Physical,
}

/// A named page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Symbol {
    /// Its name in the text.
    pub name: String,
    /// Its space.
    pub of: Of,
}

/// A test.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Test {
    /// As published.
    pub name: String,
    /// What the sources say of the asked outcome.
    pub verdicts: Verdicts,
    /// What a reader should know.
    pub notes: Vec<String>,
    /// Every page named, in the order declared.
    pub names: Vec<Symbol>,
    /// Where pages must lie.
    pub places: Vec<Place>,
    /// First word of physical pages at the start; 0 where not listed, as is all else.
    pub memory: Vec<(Name, u64)>,
    /// Translation tables.
    pub tables: Vec<Table>,
    /// Threads, one CPU each.
    pub threads: Vec<Thread>,
    /// The outcome asked about: all of these, once every thread has ended. Empty: any state.
    pub ask: Vec<Clause>,
}

/// What is said of an outcome.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verdict {
    /// Hardware may show it.
    Allowed,
    /// Hardware must not.
    Forbidden,
}

/// Verdicts by source; `None`: that source is silent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Verdicts {
    /// Simner et al., "Relaxed virtual memory in Armv8-A", ESOP 2022.
    pub esop22: Option<Verdict>,
    /// The same with FEAT_ETS.
    pub esop22_ets: Option<Verdict>,
    /// herd7's model of VMSAv8-64.
    pub herd: Option<Verdict>,
    /// The same with FEAT_ETS2.
    pub herd_ets2: Option<Verdict>,
    /// The same with FEAT_ETS3.
    pub herd_ets3: Option<Verdict>,
    /// Whoever wrote the file.
    pub expect: Option<Verdict>,
    /// The same with FEAT_ETS2.
    pub expect_ets2: Option<Verdict>,
}

/// A demand on where pages lie.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// At the start of a level-2 block, each of its own.
    Aligned(Vec<Name>),
    /// At the same number: an intermediate page and the physical one.
    Same(Name, Name),
    /// In different level-2 blocks.
    Apart(Name, Name),
}

/// A translation table: a tree whose leaves are at level 3.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table {
    /// Its name in the text.
    pub name: String,
    /// What it translates.
    pub stage: Stage,
    /// Descriptors at the start. All others are invalid. The table of the next level exists
    /// wherever a descriptor of level 3 is listed, or written by some thread, and is linked
    /// unless the descriptor of level 2 is listed itself.
    pub maps: Vec<Map>,
}

/// One descriptor of a table at the start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Map {
    /// The page it translates.
    pub input: Name,
    /// 2 or 3.
    pub level: u8,
    /// Its value.
    pub desc: Desc,
}

/// The place of a descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Pte {
    /// 2 or 3.
    pub level: u8,
    /// The page that it translates. In a table of stage 2 it may be a virtual page: then the
    /// intermediate page of that number.
    pub input: Name,
    /// The table it is in.
    pub table: TableId,
}

/// The value of a descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Desc {
    /// All zero.
    Invalid,
    /// A page, or, at level 2, a block.
    Page {
        /// Physical, or intermediate in stage 1 of two.
        to: Name,
        /// What it permits. [`Ap::Rw`] in stage 2.
        ap: Ap,
    },
    /// Points to the level-3 table of that tree, which holds the same input.
    Table(TableId),
    /// What was in a place at the start. Not among the maps of a table.
    Copy(Pte),
}

/// Stage-1 permissions: the field `AP[2:1]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ap {
    /// 0b00: EL1 may read and write, EL0 nothing.
    El1Rw,
    /// 0b01: both may read and write. What a page has if nothing is said.
    Rw,
    /// 0b10: EL1 may read, EL0 nothing.
    El1Ro,
    /// 0b11: both may read.
    Ro,
}

/// A thread.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Thread {
    /// Exception level at the start, 0 to 2.
    pub el: u8,
    /// Stage 1 of EL1&0. Where the text says nothing: the table `main`, tag 0; `None`: no
    /// table of that name, so nothing translates.
    pub ttbr0_el1: Option<Root>,
    /// Stage 2. Where the text says nothing: the table `s2`, tag 0; `None`: there is none,
    /// what stage 1 gives is physical.
    pub vttbr_el2: Option<Root>,
    /// Stage 1 of EL2. Where the text says nothing: the table `main`, tag 0.
    pub ttbr0_el2: Option<Root>,
    /// Registers at the start; 0 where not listed.
    pub regs: Vec<(Reg, u64)>,
    /// Ends after the last instruction.
    pub code: Vec<Instr>,
    /// An exception that no handler takes ends the thread.
    pub handlers: Vec<Handler>,
}

/// A translation base register: table and tag.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Root {
    /// Where walks start.
    pub table: TableId,
    /// ASID or VMID.
    pub tag: u16,
}

/// What runs on an exception (a fault, SVC or HVC).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Handler {
    /// The level that takes it, 1 or 2.
    pub el: u8,
    /// Only exceptions from a lower level (true), or from the same (false); `None`: both.
    pub lower: Option<bool>,
    /// Its code. The thread ends where it ends without ERET.
    pub code: Vec<Instr>,
}

/// One demand on the final state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clause {
    /// Where to look.
    pub at: Final,
    /// Whether the value must be this one, or must not.
    pub equal: bool,
    /// [`Value::Imm`], [`Value::Desc`] or [`Value::Page`].
    pub value: Value,
}

/// What of the final state a clause looks at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Final {
    /// A register.
    Reg {
        /// Index into [`Test::threads`].
        thread: u8,
        /// Which.
        reg: Reg,
    },
    /// The first word of a physical page.
    Mem(Name),
}

impl Test {
    /// A page's name in the text.
    pub fn name_of(&self, name: Name) -> &str {
        let symbol = self.names.get(name.0 as usize);
        symbol.map_or("?", |s| s.name.as_str())
    }

    /// A table.
    pub fn table(&self, id: TableId) -> Option<&Table> {
        self.tables.get(id.0 as usize)
    }

    /// What was in a place at the start. The link from a level-2 descriptor to the level-3
    /// table of the same tree is [`Desc::Table`] of that tree.
    pub fn initial(&self, pte: Pte) -> Desc {
        let maps = self.table(pte.table).map_or(&[][..], |t| &t.maps);
        let listed = |level| {
            let at = |m: &&Map| (m.input, m.level) == (pte.input, level);
            maps.iter().find(at).map(|m| m.desc)
        };
        match (listed(pte.level), pte.level) {
            (Some(desc), _) => desc,
            (None, 2) if listed(3).is_some() => Desc::Table(pte.table),
            (None, _) => Desc::Invalid,
        }
    }
}

impl Verdicts {
    /// Without FEAT_ETS: the verdict where the sources agree; `None` where they differ or
    /// are silent.
    pub fn base(&self) -> Option<Verdict> {
        agreed(&[self.esop22, self.herd, self.expect])
    }

    /// With FEAT_ETS.
    pub fn ets(&self) -> Option<Verdict> {
        agreed(&[
            self.esop22_ets,
            self.herd_ets2,
            self.herd_ets3,
            self.expect_ets2,
        ])
    }

    /// The base verdict is in the paper, and nothing contradicts it.
    pub fn certain(&self) -> bool {
        self.esop22.is_some() && self.base().is_some()
    }
}

fn agreed(sources: &[Option<Verdict>]) -> Option<Verdict> {
    let mut said = sources.iter().flatten();
    let first = said.next()?;
    said.all(|v| v == first).then_some(*first)
}
