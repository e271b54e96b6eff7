// SPDX-License-Identifier: MIT OR Apache-2.0
//! Explanations as text of at most 75 columns.

use super::{Cause, Guard, HandOver, WhyNot};
use crate::check::{Found, Subject};
use crate::exec::Bench;
use crate::report::Report;
use crate::report::text::{ascii, hang, heading, paragraph};
use crate::scenario::Scenario;
use shootdown_oracle::Rule;

/// What broke, and how it came to that.
pub fn summary(bench: &mut Bench, scenario: &Scenario, found: &Found) -> String {
    let report = Report::new(bench, scenario, found);
    format!("{}\n{}", report.what, report.history)
}

/// The windows.
pub fn windows(all: &[HandOver]) -> String {
    let mut out = String::new();
    heading(
        &mut out,
        "Windows: where the CPUs stop, and where else they could",
    );
    if all.is_empty() {
        paragraph(
            &mut out,
            2,
            "No CPU stops for another: the programs alone do it.",
        );
    }
    for HandOver {
        cpu,
        at,
        first,
        last,
        places,
    } in all
    {
        let stops = format!("stops after step {}, before {}.", at.step, at.before);
        hang(&mut out, &format!("  cpu{cpu}  "), &stops);
        let window = if *places == 1 {
            "Anywhere else, it comes to something else.".to_owned()
        } else {
            format!(
                "Anywhere from before {} to before {} does as well: {places} places.",
                first.before, last.before
            )
        };
        paragraph(&mut out, 8, &window);
    }
    ascii(&out)
}

/// What a finding takes.
pub fn causes(causes: &[Cause], tried: usize, found: &Found) -> String {
    let mut out = String::new();
    let rule = found.finding.rule.name;
    let first = format!(
        "What it takes for {} to break {rule}: without any of these, it does not",
        found.by.name()
    );
    heading(&mut out, &first);
    for cause in causes {
        let site = if cause.site.is_empty() {
            String::new()
        } else {
            format!(" ({})", cause.site)
        };
        let what = format!("cpu{} {}{site}", cause.cpu, cause.what);
        let without = match cause.without.rule() {
            None => String::new(),
            Some(rule) => format!(" [without it, {rule} is broken instead]"),
        };
        hang(
            &mut out,
            &format!("  step {:>4}  ", cause.step),
            &(what + &without),
        );
    }
    out.push('\n');
    let rest = tried - causes.len();
    paragraph(
        &mut out,
        2,
        &format!(
            "{tried} operations, acts of the hardware, TLBIs, barriers, locks and stores were left out, one at a time; {rest} make no difference."
        ),
    );
    ascii(&out)
}

/// What keeps a rule.
pub fn why_not(why: &WhyNot, by: Subject, rule: &'static Rule) -> String {
    let mut out = String::new();
    let name = by.name();
    if let Some((other, step)) = why.ends_with.filter(|(other, _)| *other == rule.name) {
        heading(
            &mut out,
            &format!("{name} does break {other}, at step {step}"),
        );
        return ascii(&out);
    }
    heading(
        &mut out,
        &format!("Why {name} does not break {}", rule.name),
    );
    hang(
        &mut out,
        "  Rule     ",
        &format!("{} ({}).", rule.why, rule.class.name()),
    );
    out.push('\n');
    if let Some((other, step)) = why.ends_with {
        let ends = format!(
            "The run ends at step {step}, where {other} is broken: what would have come later \
             is not known."
        );
        paragraph(&mut out, 2, &ends);
        out.push('\n');
    }
    let tried = format!(
        "{} TLBIs, barriers, locks and stores were left out, one at a time.",
        why.tried
    );
    paragraph(&mut out, 2, &tried);
    if why.guards.is_empty() {
        let none = "None of them alone keeps the rule: the scenario does not come near it, or \
                    more than one thing stands before it.";
        paragraph(&mut out, 2, none);
        return ascii(&out);
    }
    paragraph(&mut out, 2, "Without any of these, the rule is broken:");
    out.push('\n');
    for Guard {
        step,
        cpu,
        what,
        site,
    } in &why.guards
    {
        hang(
            &mut out,
            &format!("  step {step:>4}  "),
            &format!("cpu{cpu} {what} ({site})"),
        );
    }
    ascii(&out)
}
