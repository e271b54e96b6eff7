// SPDX-License-Identifier: MIT OR Apache-2.0
//! What keeps a rule from being broken.

use super::{removable, without};
use crate::check::Subject;
use crate::exec::Bench;
use crate::report::with_run;
use crate::scenario::Scenario;
use shootdown_oracle::{Breach, Finding, Rule};

/// A step without which the rule would be broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Guard {
    /// The step.
    pub step: u32,
    /// The CPU.
    pub cpu: u8,
    /// What it is.
    pub what: String,
    /// Where in the port: file and line.
    pub site: String,
}

/// Why a rule is not broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WhyNot {
    /// The run ends earlier, with another rule.
    pub ends_with: Option<(&'static str, u32)>,
    /// Each TLBI, barrier, lock or store that alone keeps it.
    pub guards: Vec<Guard>,
    /// How many were tried.
    pub tried: usize,
}

/// What keeps `rule` from being broken by a variant in a scenario.
pub fn why_not(bench: &mut Bench, scenario: &Scenario, by: Subject, rule: &'static Rule) -> WhyNot {
    let nothing = Finding {
        rule,
        step: u32::MAX,
        breach: Breach::new(String::new()),
    };
    let candidates = with_run(bench, scenario, by, &nothing, removable);
    let ended = bench.oracle.finding.as_ref();
    let ends_with = ended.map(|f| (f.rule.name, f.step));
    let tried = candidates.len();
    let keeps = |g: &Guard| without(bench, by, scenario, g.step).rule() == Some(rule.name);
    WhyNot {
        ends_with,
        guards: candidates.into_iter().filter(keeps).collect(),
        tried,
    }
}
