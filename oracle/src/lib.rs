// SPDX-License-Identifier: MIT OR Apache-2.0
//! What must hold: the reference without TLBs, and the rules.
//!
//! A rule sees events and the machine's state, never a variant. One file each in `rules/`.

pub mod facts;
pub mod reference;
pub mod rules;
#[cfg(test)]
mod script;
mod summary;

pub use facts::Facts;
pub use rules::RULES;
pub use summary::{Disagreement, Summary};

use shootdown_machine::{Config, Entry, Event, State, Va};

/// The kind of thing that a rule is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    /// An access went wrong.
    Observed,
    /// A TLB holds what it must not.
    Latent,
    /// A sequence of instructions that the architecture does not vouch for.
    Protocol,
    /// Nothing happens any more.
    Liveness,
    /// Variants, or a variant and the reference, came to different results.
    Differential,
}

impl Class {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Class::Observed => "observed",
            Class::Latent => "latent",
            Class::Protocol => "protocol",
            Class::Liveness => "liveness",
            Class::Differential => "differential",
        }
    }
}

/// A rule.
#[derive(Debug)]
pub struct Rule {
    /// Its name.
    pub name: &'static str,
    /// Its class.
    pub class: Class,
    /// Why it must hold, in one sentence.
    pub why: &'static str,
    /// Which events it looks at.
    pub on: &'static [On],
    /// Looks at one event, after the facts have taken it in.
    pub check: fn(&Facts, &State, &Event) -> Option<Breach>,
}

/// The events that rules look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // as in `Event`
pub enum On {
    End,
    Settled,
    Context,
    WalkRead,
    Fill,
    Accessed,
    Pte,
    DoubleFree,
    FaultLoop,
    Warn,
    Illegal,
    Deadlock,
    Livelock,
}

const KINDS: usize = On::Livelock as usize + 1;

impl On {
    fn of(event: &Event) -> Option<On> {
        Some(match event {
            Event::End { .. } => On::End,
            Event::Settled { .. } => On::Settled,
            Event::Context { .. } => On::Context,
            Event::WalkRead { .. } => On::WalkRead,
            Event::Fill { .. } => On::Fill,
            Event::Accessed { .. } => On::Accessed,
            Event::Pte { .. } => On::Pte,
            Event::DoubleFree { .. } => On::DoubleFree,
            Event::FaultLoop { .. } => On::FaultLoop,
            Event::Warn { .. } => On::Warn,
            Event::Illegal { .. } => On::Illegal,
            Event::Deadlock { .. } => On::Deadlock,
            Event::Livelock => On::Livelock,
            _ => return None,
        })
    }
}

/// What a rule found.
#[derive(Clone, Debug, Default)]
pub struct Breach {
    /// The CPU concerned.
    pub cpu: Option<u8>,
    /// The address concerned.
    pub va: Option<Va>,
    /// The TLB entry concerned.
    pub entry: Option<Entry>,
    /// What is wrong, in one sentence.
    pub what: String,
}

impl Breach {
    /// A breach with nothing but its sentence.
    pub fn new(what: impl Into<String>) -> Breach {
        Breach {
            what: what.into(),
            ..Breach::default()
        }
    }
}

/// A broken rule, and when.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// The step of the run.
    pub step: u32,
    /// The details.
    pub breach: Breach,
}

/// The judge of one run.
#[derive(Debug)]
pub struct Oracle {
    /// What it knows.
    pub facts: Facts,
    by_kind: [Vec<&'static Rule>; KINDS],
    /// The first rule to be broken.
    pub finding: Option<Finding>,
}

impl Default for Oracle {
    fn default() -> Self {
        let mut by_kind: [Vec<&'static Rule>; KINDS] = Default::default();
        for rule in RULES {
            for on in rule.on {
                by_kind[*on as usize].push(rule);
            }
        }
        Oracle {
            facts: Facts::default(),
            by_kind,
            finding: None,
        }
    }
}

impl Oracle {
    /// Begins a run. `same_tag`: the bits of a tag in which, the variant promises, a
    /// space has the same on all CPUs.
    pub fn reset(&mut self, config: &Config, same_tag: u16) {
        self.facts.reset(config, same_tag);
        self.finding = None;
    }

    /// Takes in an event; `false`: a rule is broken, and the run is over.
    pub fn event(&mut self, state: &State, event: &Event) -> bool {
        if self.finding.is_some() {
            return false;
        }
        self.facts.before(state, event);
        if let Some(on) = On::of(event) {
            for rule in &self.by_kind[on as usize] {
                if let Some(breach) = (rule.check)(&self.facts, state, event) {
                    self.finding = Some(Finding {
                        rule,
                        step: state.step,
                        breach,
                    });
                    return false;
                }
            }
        }
        self.facts.after(event);
        true
    }
}

/// The rule of that name.
pub fn rule(name: &str) -> Option<&'static Rule> {
    RULES.iter().find(|r| r.name == name).copied()
}
