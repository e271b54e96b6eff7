// SPDX-License-Identifier: MIT OR Apache-2.0
//! The report of a finding, for a mail: plain ASCII, 75 columns, in the order in which a
//! maintainer reads. What broke; the history of the TLB entry; the interleaving; the TLBs
//! against the reference; who agrees; the reproducer.

mod columns;
mod compare;
mod digest;
mod elsewhere;
pub(crate) mod entry;
mod given;
mod history;
mod mail;
mod matters;
mod other;
mod passed;
pub(crate) mod rows;
pub(crate) mod run;
mod tables;
pub(crate) mod text;
pub(crate) mod tlbs;
pub(crate) mod topic;
pub(crate) mod words;

use crate::check::{self, Found, Subject, input, run_one};
use crate::exec::{Bench, Input};
use crate::scenario::{Scenario, print};
use core::fmt;
use entry::Points;
pub use mail::mail;
use run::Boot;
pub(crate) use run::{Run, Span};
use shootdown_machine::{Config, Memory, Op};
use shootdown_oracle::{Breach, Class, Finding, Rule};
use topic::Topic;

/// A report, by its parts. Each is text that ends with a line feed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// What broke: rule, variant, step; why the rule must hold; what the variant follows.
    pub what: String,
    /// How it came to that.
    pub history: String,
    /// Who did what, in order.
    pub interleaving: String,
    /// What the TLBs hold, against what they may hold.
    pub tlbs: String,
    /// What the sound variants make of the same scenario.
    pub elsewhere: String,
    /// The scenario, and how to run it.
    pub reproducer: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            &self.what,
            &self.history,
            &self.interleaving,
            &self.tlbs,
            &self.elsewhere,
            &self.reproducer,
        ];
        let mut first = true;
        for part in parts.into_iter().filter(|p| !p.is_empty()) {
            if !first {
                writeln!(f)?;
            }
            first = false;
            f.write_str(part)?;
        }
        Ok(())
    }
}

/// The one rule that takes two variants to break.
const ONE_RESULT: &str = shootdown_oracle::rules::one_result::RULE.name;

/// The report of a finding as text.
pub fn report(bench: &mut Bench, scenario: &Scenario, found: &Found) -> String {
    Report::new(bench, scenario, found).to_string()
}

impl Report {
    /// Runs the scenario's variant again, and explains what it finds there. `found` is what
    /// [`check::check`] gave for this scenario.
    pub fn new(bench: &mut Bench, scenario: &Scenario, found: &Found) -> Report {
        let needed = needed(bench, scenario, found);
        let mut report = with_run(bench, scenario, found.by, &found.finding, |run| {
            Report::of_run(run, &Topic::of(run), found, &needed).0
        });
        report.finish(bench, scenario, found);
        report
    }

    /// The parts that tell of the run, and what the history of its entry comes to.
    pub(crate) fn of_run(
        run: &Run<'_>,
        topic: &Topic,
        found: &Found,
        needed: &[String],
    ) -> (Report, Option<Points>) {
        let mut report = Report::default();
        what(run, found, needed, &mut report.what);
        let points = if topic.entry.is_some() {
            entry::tell(run, topic, &mut report.history)
        } else {
            other::tell(run, topic, &mut report.history);
            None
        };
        if topic.tagging && !topic.tags.is_empty() {
            tags(run, topic, &mut report.history);
        }
        columns::tell(&rows::rows(run, topic), &mut report.interleaving);
        tlbs::tell(run, topic, &mut report.tlbs);
        (report, points)
    }

    /// The parts that take more than the run.
    pub(crate) fn finish(&mut self, bench: &mut Bench, scenario: &Scenario, found: &Found) {
        reproducer(scenario, found, &mut self.reproducer);
        elsewhere::tell(bench, scenario, found, &mut self.elsewhere);
        if found.finding.rule.name == ONE_RESULT {
            self.history.clear();
            compare::tell(bench, scenario, found.by, &mut self.history);
        }
        for part in [
            &mut self.what,
            &mut self.history,
            &mut self.interleaving,
            &mut self.tlbs,
        ] {
            *part = text::ascii(part);
        }
    }
}

/// Where in the port a finding comes from: where the entry became wrong that it is about, or, if
/// it is about none, the places that it names. Two findings of one rule with one origin are one
/// bug.
pub(crate) fn origin(bench: &mut Bench, scenario: &Scenario, found: &Found) -> String {
    let named = || {
        let what = text::sites(&found.finding.breach.what);
        let sites = what.split_whitespace().filter(|word| word.contains(".rs:"));
        sites.collect::<Vec<_>>().join(" ")
    };
    with_run(bench, scenario, found.by, &found.finding, |run| {
        let site = entry::went_wrong(run, &Topic::of(run));
        site.map_or_else(named, words::site)
    })
}

/// What a run that breaks no rule is taken to break.
pub(crate) static NONE: Rule = Rule {
    name: "",
    class: Class::Observed,
    why: "",
    on: &[],
    check: |_, _, _| None,
};

/// What stands for the finding of a run that has none: its last step.
pub(crate) fn unbroken(bench: &mut Bench, scenario: &Scenario, by: Subject) -> Finding {
    run_one(bench, by, scenario, input(scenario));
    Finding {
        rule: &NONE,
        step: bench.machine.state().step,
        breach: Breach::default(),
    }
}

/// A run that breaks no rule: who did what, and what the TLBs hold in the end.
pub fn passing(bench: &mut Bench, scenario: &Scenario, by: Subject) -> String {
    let nothing = unbroken(bench, scenario, by);
    with_run(bench, scenario, by, &nothing, |run| {
        let topic = Topic::everything(run);
        let mut out = String::new();
        text::heading(&mut out, &format!("{} breaks no rule", by.name()));
        out.pop();
        columns::tell(&rows::rows(run, &topic), &mut out);
        tlbs::tell(run, &topic, &mut out);
        text::ascii(&out)
    })
}

/// Runs a variant with a trace, and digests it. `finding` is what the run comes to.
pub(crate) fn with_run<T>(
    bench: &mut Bench,
    scenario: &Scenario,
    by: Subject,
    finding: &Finding,
    tell: impl FnOnce(&Run<'_>) -> T,
) -> T {
    let boot = boot(bench, scenario, by);
    let input = Input {
        trace: true,
        ..check::input(scenario)
    };
    check::run_one(bench, by, scenario, input);
    let state = bench.machine.state();
    tell(&Run::new(
        boot,
        &state,
        &bench.oracle.facts,
        finding,
        &bench.trace,
    ))
}

/// The machine as the variant's boot leaves it.
fn boot(bench: &mut Bench, scenario: &Scenario, by: Subject) -> Boot {
    let programs: Vec<Vec<Op>> = vec![Vec::new(); scenario.programs.len().max(4)];
    let input = Input {
        programs: &programs,
        ..check::input(scenario)
    };
    check::run(bench, by, input, |_| ());
    Boot::of(&bench.machine.state())
}

/// What of the machine the finding needs, as the machine line says it: the memory model, if it
/// is not found under a stronger one, and the switches without which it is not found.
pub(crate) fn needed(bench: &mut Bench, scenario: &Scenario, found: &Found) -> Vec<String> {
    // A comparison fails between variants, everything else in one.
    let subjects = match found.finding.rule.name {
        ONE_RESULT => Subject::of(scenario).unwrap_or_default(),
        _ => vec![found.by],
    };
    let expect = found.expect();
    let mut with = scenario.clone();
    let mut breaks = |machine: Config| {
        with.machine = machine;
        let found = check::check(bench, &with, &subjects).found;
        found.is_some_and(|f| f.expect() == expect)
    };
    let machine = scenario.machine;
    let mut stronger = Memory::ALL.iter().take_while(|m| **m != machine.memory);
    let least = stronger.find(|&&memory| breaks(Config { memory, ..machine }));
    let memory = *least.unwrap_or(&machine.memory);
    let mut needed = Vec::new();
    if memory != Memory::Sc {
        needed.push(format!("memory={}", memory.word()));
    }
    for switch in machine.switches.iter() {
        let switches = machine.switches.with(switch, false);
        if !breaks(Config {
            switches,
            ..machine
        }) {
            needed.push(format!("{}=on", switch.word()));
        }
    }
    needed
}

/// What broke.
fn what(run: &Run<'_>, found: &Found, needed: &[String], out: &mut String) {
    let (rule, by) = (found.finding.rule, found.by);
    let first = format!(
        "{} broken by {} at step {}",
        rule.name,
        by.name(),
        found.finding.step
    );
    text::heading(out, &first);
    text::paragraph(
        out,
        2,
        &format!("{}.", text::sites(&found.finding.breach.what)),
    );
    out.push('\n');
    text::hang(
        out,
        "  Rule     ",
        &format!("{} ({}).", rule.why, rule.class.name()),
    );
    let source = by.info.source;
    let after = if source.tree.starts_with("our own") {
        ""
    } else {
        "after "
    };
    let follows = format!(
        "{}, {after}{}: {}.",
        by.info.name, source.tree, source.files
    );
    text::hang(out, "  Variant  ", &follows);
    if let Some(defect) = by.defect {
        text::hang(
            out,
            "  Defect   ",
            &format!("{}: {}.", defect.name, defect.about),
        );
        text::hang(out, "           ", &format!("[{}]", defect.source));
    }
    if !needed.is_empty() {
        let text = format!("needs {} (docs/machine.md).", text::list(needed));
        text::hang(out, "  Machine  ", &text);
    }
    if rule.class == Class::Differential {
        let text = format!("the run has {} steps.", run.state.step);
        text::hang(out, "  Run      ", &text);
    }
}

/// The life of the tags.
fn tags(run: &Run<'_>, topic: &Topic, out: &mut String) {
    let kind = if run.virtualized() { "vmid" } else { "asid" };
    let numbers: Vec<String> = topic.tags.iter().map(|t| format!("{kind} {t}")).collect();
    text::heading(out, &format!("History of {}", text::list(&numbers)));
    history::tags(run, topic, out);
}

/// The scenario, with the finding as its expectation.
pub(crate) fn kept(scenario: &Scenario, found: &Found) -> String {
    let mut kept = found.by.alone(scenario, Some(found.expect()));
    if found.finding.rule.name == ONE_RESULT {
        kept.variants.clone_from(&scenario.variants);
    }
    print(&kept)
}

/// The same, and how to run it.
fn reproducer(scenario: &Scenario, found: &Found, out: &mut String) {
    text::heading(
        out,
        "To reproduce, save what follows as FILE and run: shootdown replay FILE",
    );
    out.push_str(&kept(scenario, found));
}
