// SPDX-License-Identifier: MIT OR Apache-2.0
//! The same scenario on the variants that are taken to be sound: who agrees, and at what price.

use super::text;
use crate::check::{Found, RunResult, Subject, input, run_one};
use crate::exec::Bench;
use crate::scenario::Scenario;
use shootdown_machine::OpSet;
use shootdown_variants::Info;
use std::fmt::Write as _;

/// Columns of a label.
const LABEL: &str = "               ";

/// What a row of the table counts.
const COUNTED: [&str; 5] = ["local", "bcast", "dsb", "ipi", "lost"];

/// Runs the scenario on each sound variant that has all of its operations, and says what each
/// comes to: beside each other, those that follow the same code as the one that broke a rule,
/// and then the others.
pub fn tell(bench: &mut Bench, scenario: &Scenario, found: &Found, out: &mut String) {
    let kinds = || scenario.programs.iter().flatten().map(|op| op.kind());
    let able = |by: &Subject| {
        let ops = OpSet::of(by.info.ops);
        by.name() != found.by.name() && kinds().all(|kind| ops.has(kind))
    };
    let sound = Subject::sound();
    let others: Vec<_> = { sound.into_iter().filter(able) }
        .map(|by| run_one(bench, by, scenario, input(scenario)))
        .collect();
    if others.is_empty() {
        return;
    }
    text::heading(out, "The same on the variants that have these operations");
    let family = file(found.by.info);
    let (near, far): (_, Vec<_>) = { others.iter() }.partition(|r| file(r.by.info) == family);
    if !near.is_empty() {
        let this = run_one(bench, found.by, scenario, input(scenario));
        table(&this, &near, out);
        if !far.is_empty() {
            out.push('\n');
        }
    }
    lists(&far, out);
}

/// The kernel file that a variant follows above all.
fn file(info: &Info) -> &'static str {
    let end = info.source.files.find([',', ' ']);
    &info.source.files[..end.unwrap_or(info.source.files.len())]
}

/// A row for each run: what was paid, and the rule that it broke.
fn table(this: &RunResult, others: &[&RunResult], out: &mut String) {
    let row = |out: &mut String, name: &str, cells: [String; COUNTED.len()], end: &str| {
        let _ = write!(out, "  {name:17}");
        for cell in cells {
            let _ = write!(out, " {cell:>5}");
        }
        let _ = writeln!(out, "  {end}");
    };
    row(out, "", COUNTED.map(str::to_owned), "breaks");
    let mut tell = |name: &str, run: &RunResult| {
        let cost = &run.cost;
        let counts = [
            cost.tlbi_local,
            cost.tlbi_broadcast,
            cost.dsb,
            cost.ipi,
            cost.entries_lost,
        ];
        let rule = run.finding.as_ref().map_or("no rule", |f| f.rule.name);
        row(out, name, counts.map(|count| count.to_string()), rule);
    };
    tell("this one, so far", this);
    for run in others {
        tell(run.by.info.name, run);
    }
}

/// Each list of names, by what breaks there; nothing, first.
fn lists(runs: &[&RunResult], out: &mut String) {
    let mut lists: Vec<(Option<&'static str>, Vec<String>)> = vec![(None, Vec::new())];
    for run in runs {
        let rule = run.finding.as_ref().map(|f| f.rule.name);
        match lists.iter_mut().find(|(r, _)| *r == rule) {
            Some((_, names)) => names.push(run.by.name()),
            None => lists.push((rule, vec![run.by.name()])),
        }
    }
    lists.retain(|(_, names)| !names.is_empty());
    for (rule, names) in lists {
        let label = match rule {
            None => "  no rule broken".to_owned(),
            Some(rule) => format!("  {rule}"),
        };
        let first = format!("{label:<w$}  ", w = LABEL.len());
        text::hang(out, &first, &format!("{}.", names.join(", ")));
    }
}
