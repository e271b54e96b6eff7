// SPDX-License-Identifier: MIT OR Apache-2.0
//! A test in Rust, for the crate `variants` or for a kernel of one's own: it holds the scenario,
//! and says which rule it breaks.

use super::Refusal;
use crate::check::{Found, Subject, input, run_one};
use crate::exec::Bench;
use crate::scenario::{Expect, Scenario, print};
use core::fmt::Write as _;

/// Columns of a comment.
const COLUMNS: usize = 96;

pub fn write(
    bench: &mut Bench,
    scenario: &Scenario,
    by: Subject,
    found: Option<&Found>,
) -> Result<String, Refusal> {
    let expect = found.map_or(Expect::Pass, Found::expect);
    let scenario = by.alone(scenario, Some(expect));
    let sound = Subject { defect: None, ..by };
    let fixed = run_one(bench, sound, &scenario, input(&scenario)).finding;
    let rule = found.map(|f| f.finding.rule.name);
    let mut out = String::from("// SPDX-License-Identifier: GPL-2.0-only\n");
    comment(&mut out, "//!", &head(by, rule));
    out.push_str("//! Written by `shootdown report --format rust-test`.\n");
    if let Some(defect) = by.defect {
        let source = defect.source.replace('\n', " ");
        out.push_str("//!\n");
        comment(
            &mut out,
            "//!",
            &format!("{}: {}.", defect.name, defect.about),
        );
        comment(&mut out, "//!", &format!("({source})"));
    }
    out.push_str("\nuse shootdown::check::input;\nuse shootdown::exec::{Bench, Input, execute};\n");
    out.push_str("use shootdown::scenario::parse;\n\n");
    out.push_str("/// The kernel: any type that implements `shootdown_variants::Variant`.\n");
    let _ = writeln!(
        out,
        "type Kernel = shootdown_variants::ports::{}::Port;\n",
        module(by.info.name)
    );
    if let Some(defect) = by.defect {
        out.push_str("/// What it is built with.\n");
        let _ = writeln!(out, "const DEFECT: &str = \"{}\";\n", defect.name);
    }
    if let Some(rule) = rule {
        out.push_str("/// The rule that it breaks.\n");
        let _ = writeln!(out, "const RULE: &str = \"{rule}\";\n");
    }
    out.push_str("/// What runs, and in which order; `shootdown replay -` takes it, too.\n");
    let _ = writeln!(
        out,
        "const SCENARIO: &str = \"\\\n{}\";\n",
        print(&scenario)
    );
    out.push_str(RUN);
    let with = by.defect.map_or("None", |_| "Some(DEFECT)");
    match rule {
        Some(_) => test(&mut out, "the_rule_is_broken", with, "Some(RULE)"),
        None => test(&mut out, "no_rule_is_broken", with, "None"),
    }
    if by.defect.is_some() && fixed.is_none() {
        test(&mut out, "without_the_defect_none_is", "None", "None");
    }
    Ok(out)
}

/// What the file is.
fn head(by: Subject, rule: Option<&str>) -> String {
    let what = match rule {
        Some(rule) => format!("{rule} broken by {}", by.name()),
        None => format!("A run of {} that breaks no rule", by.name()),
    };
    format!("{what}.")
}

/// The module of a port: the name of its file.
fn module(variant: &str) -> String {
    variant.replace('-', "_")
}

/// What runs the scenario.
const RUN: &str = "\
/// Runs it; the rule that the kernel breaks.
fn broken(defect: Option<&'static str>) -> Option<&'static str> {
    let scenario = parse(SCENARIO.as_bytes()).expect(\"a scenario\");
    let input = Input {
        defect,
        ..input(&scenario)
    };
    let mut bench = Bench::default();
    execute::<Kernel>(&mut bench, &input, |exec| {
        for slot in &scenario.schedule {
            exec.apply(slot);
        }
    });
    bench.oracle.finding.as_ref().map(|f| f.rule.name)
}
";

fn test(out: &mut String, name: &str, defect: &str, rule: &str) {
    let _ = write!(
        out,
        "\n#[test]\nfn {name}() {{\n    assert_eq!(broken({defect}), {rule});\n}}\n"
    );
}

/// A comment, in lines that are not too long.
fn comment(out: &mut String, mark: &str, text: &str) {
    let mut line = mark.to_owned();
    for word in text.split_whitespace() {
        if line.len() > mark.len() && line.len() + 1 + word.len() > COLUMNS {
            out.push_str(&line);
            out.push('\n');
            line.truncate(mark.len());
        }
        let _ = write!(line, " {word}");
    }
    out.push_str(&line);
    out.push('\n');
}
