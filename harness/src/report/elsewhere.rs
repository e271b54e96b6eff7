// SPDX-License-Identifier: MIT OR Apache-2.0
//! The same scenario on the variants that are taken to be sound: who agrees.

use super::text;
use crate::check::{Found, Subject, input, run_one};
use crate::exec::Bench;
use crate::scenario::Scenario;
use shootdown_machine::OpSet;
use shootdown_variants::Info;

/// Columns of a label.
const LABEL: &str = "               ";

/// Runs the scenario on each sound variant that has all of its operations, and says what each
/// comes to.
pub fn tell(bench: &mut Bench, scenario: &Scenario, found: &Found, out: &mut String) {
    let kinds = || scenario.programs.iter().flatten().map(|op| op.kind());
    let able = |info: &Info| {
        let ops = OpSet::of(info.ops);
        kinds().all(|kind| ops.has(kind))
    };
    // Each list of names, by what breaks there; nothing, first.
    let mut lists: Vec<(Option<&'static str>, Vec<String>)> = vec![(None, Vec::new())];
    for by in Subject::sound() {
        if !able(by.info) || by.name() == found.by.name() {
            continue;
        }
        let finding = run_one(bench, by, scenario, input(scenario)).finding;
        let rule = finding.map(|f| f.rule.name);
        match lists.iter_mut().find(|(r, _)| *r == rule) {
            Some((_, names)) => names.push(by.name()),
            None => lists.push((rule, vec![by.name()])),
        }
    }
    lists.retain(|(_, names)| !names.is_empty());
    if lists.is_empty() {
        return;
    }
    text::heading(out, "The same on the variants that have these operations");
    for (rule, names) in lists {
        let label = match rule {
            None => "  no rule broken".to_owned(),
            Some(rule) => format!("  {rule}"),
        };
        let first = format!("{label:<w$}  ", w = LABEL.len());
        text::hang(out, &first, &format!("{}.", names.join(", ")));
    }
}
