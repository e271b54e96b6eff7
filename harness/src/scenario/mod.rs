// SPDX-License-Identifier: MIT OR Apache-2.0
//! The scenario: fuzz input, artifact, corpus entry, regression test and bug report.

mod arbitrary;
mod error;
mod generate;
mod items;
mod lex;
mod mutate;
mod parse;
mod print;
mod repair;
mod settings;
mod words;

pub use arbitrary::decode;
pub use error::ParseError;
pub(crate) use generate::{any, stale, weighted};
pub use generate::{generate, programs, reschedule};
pub use mutate::{crossover, mutate};
pub use parse::{parse, parse_lenient};
pub use print::{print, print_into};
pub(crate) use words::Word;

use shootdown_machine::{Config, Op, Va};

/// Operations of one CPU's program, at most.
pub const MAX_OPS: usize = 32;

/// Slots of a schedule, at most.
pub const MAX_SLOTS: usize = 512;

/// Bytes of a scenario text, at most. Every valid scenario prints within it.
pub const MAX_TEXT: usize = 64 * 1024;

/// Steps of one slot, at most.
pub const MAX_STEPS: u16 = 9999;

/// The highest count of an `until` slot.
pub const MAX_NTH: u16 = 9999;

/// Stores that a `stale` slot goes back, at most.
pub const MAX_STALE: u8 = 9;

/// Variants that one scenario may name, at most.
pub const MAX_VARIANTS: usize = 64;

/// Bytes of one name (of a variant, defect, rule or variable), at most.
pub const MAX_NAME: usize = 40;

/// Columns that a printed line keeps to. Only names beyond the common length make
/// a line wider, where it has one variant or one verdict and nothing to break.
pub const COLUMNS: usize = 75;

/// What runs, in which order, and what the hardware does meanwhile.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Scenario {
    /// The variants to run; empty means every sound one.
    pub variants: Vec<Choice>,
    /// The machine.
    pub machine: Config,
    /// Each CPU's program; as many as the machine has CPUs.
    pub programs: Vec<Vec<Op>>,
    /// Who takes steps, in order.
    pub schedule: Vec<Slot>,
    /// What the scenario is kept for.
    pub expect: Option<Expect>,
}

impl Scenario {
    /// Operations, and turns: slots that let one CPU go on after each other are one, since where
    /// a turn ends may take several to say.
    pub fn size(&self) -> (usize, usize) {
        let one_turn = |a: &Slot, b: &Slot| matches!((a, b), (Slot::Run { cpu: a, .. }, Slot::Run { cpu: b, .. }) if a == b);
        let operations = self.programs.iter().flatten().count();
        (operations, self.schedule.chunk_by(one_turn).count())
    }
}

/// A variant, and the defect it is built with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Choice {
    /// Name of the variant, as in `shootdown list`.
    pub variant: String,
    /// Name of one of its defects.
    pub defect: Option<String>,
}

impl Choice {
    /// As text: `arm64-asid`, or `arm64-asid/B-1`.
    pub fn name(&self) -> String {
        match &self.defect {
            None => self.variant.clone(),
            Some(defect) => format!("{}/{defect}", self.variant),
        }
    }
}

/// The verdict that a scenario is kept for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expect {
    /// No rule is broken.
    Pass,
    /// This rule is the first to be broken, by this variant.
    Breach {
        /// Name of the rule.
        rule: String,
        /// Who breaks it.
        by: Choice,
    },
}

/// One entry of the schedule. One that cannot act (a CPU that is blocked or done,
/// a walk with no context loaded) does nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Slot {
    /// A CPU takes steps.
    Run {
        /// Which CPU.
        cpu: u8,
        /// How far.
        stop: Stop,
    },
    /// The walker of a CPU translates an address that no instruction asked for.
    Walk {
        /// Which CPU's walker, under that CPU's loaded context.
        cpu: u8,
        /// The address.
        va: Va,
        /// Use the registers as before the writes that no ISB has followed yet.
        old: bool,
        /// Only so many steps (begin, a read per level, insert), beginning a walk or
        /// continuing the one in flight; `None`: a whole new walk.
        steps: Option<u8>,
    },
    /// A TLB drops the entries for an address, or its oldest one.
    Evict {
        /// Which CPU's TLB.
        cpu: u8,
        /// The address, or `None` for the oldest entry.
        va: Option<Va>,
    },
    /// A TLBI still on its way to this CPU arrives: the oldest, or out of order the last.
    Deliver {
        /// Which CPU.
        cpu: u8,
        /// The last to be issued.
        last: bool,
    },
    /// The oldest IPI still on its way to this CPU arrives.
    Ipi {
        /// Which CPU.
        cpu: u8,
    },
    /// From now on, which of several matching entries answers on this CPU.
    Resolve {
        /// Which CPU.
        cpu: u8,
        /// Which entry.
        pick: shootdown_machine::Pick,
    },
    /// A store that waits in this CPU's buffer reaches memory (`memory=tso` and `arm`): the
    /// oldest, or the youngest that nothing keeps back.
    Drain {
        /// Which CPU.
        cpu: u8,
        /// The youngest.
        last: bool,
    },
    /// The next load of this CPU gives an old value (`memory=arm`), unless something forbids
    /// that.
    Stale {
        /// Which CPU.
        cpu: u8,
        /// How many stores older than the newest, 1 to [`MAX_STALE`]; where fewer are
        /// allowed, the oldest that is.
        by: u8,
    },
    /// The host takes this virtual CPU off its core, where the CPUs are a guest's.
    Preempt {
        /// Which CPU.
        cpu: u8,
    },
    /// The host puts this virtual CPU back.
    Resume {
        /// Which CPU.
        cpu: u8,
    },
}

impl Slot {
    /// The CPU that the slot is about.
    pub fn cpu(&self) -> u8 {
        match self {
            Slot::Run { cpu, .. }
            | Slot::Walk { cpu, .. }
            | Slot::Evict { cpu, .. }
            | Slot::Deliver { cpu, .. }
            | Slot::Ipi { cpu }
            | Slot::Resolve { cpu, .. }
            | Slot::Drain { cpu, .. }
            | Slot::Stale { cpu, .. }
            | Slot::Preempt { cpu }
            | Slot::Resume { cpu } => *cpu,
        }
    }

    /// The same, to be changed.
    pub fn cpu_mut(&mut self) -> &mut u8 {
        match self {
            Slot::Run { cpu, .. }
            | Slot::Walk { cpu, .. }
            | Slot::Evict { cpu, .. }
            | Slot::Deliver { cpu, .. }
            | Slot::Ipi { cpu }
            | Slot::Resolve { cpu, .. }
            | Slot::Drain { cpu, .. }
            | Slot::Stale { cpu, .. }
            | Slot::Preempt { cpu }
            | Slot::Resume { cpu } => cpu,
        }
    }
}

/// Where a CPU's turn ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stop {
    /// After so many steps.
    Steps(u16),
    /// Before its `nth` access (counted from here, 1 first) to what bears this name: a
    /// variable, a register, a lock, or the word for a kind of step.
    Until {
        /// The name, without index.
        name: String,
        /// How many.
        nth: u16,
    },
}

#[cfg(test)]
mod tests;
