// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files that people give: read, parsed strictly, and refused with the place of the fault.

use super::Failure;
use crate::check::Subject;
use crate::fixed::{self, Fixed};
use crate::scenario::{ParseError, Scenario, parse};
use miette::{LabeledSpan, MietteDiagnostic, NamedSource, miette};
use shootdown_machine::litmus::Test;
use shootdown_machine::{Memory, Switch, Switches};
use std::io::Read as _;

/// Longer lines are not shown.
const MOST_COLUMNS: usize = 200;

/// The scenario in a file; `-` is standard input.
pub fn scenario(path: &str) -> Result<Scenario, Failure> {
    Ok(scenario_and_text(path)?.0)
}

/// The same, and its text.
pub fn scenario_and_text(path: &str) -> Result<(Scenario, Vec<u8>), Failure> {
    let bytes = bytes(path)?;
    let scenario = parse(&bytes).map_err(|e| refuse(path, &bytes, &e))?;
    subjects(&scenario)?;
    Ok((scenario, bytes))
}

/// The litmus test in a file; `-` is standard input.
pub fn litmus(path: &str) -> Result<Test, Failure> {
    let bytes = bytes(path)?;
    // What is not UTF-8 is not ASCII either: the parser says where.
    let text = String::from_utf8_lossy(&bytes);
    shootdown_machine::litmus::parse(&text).map_err(|e| {
        let e = ParseError {
            line: e.place.line,
            column: e.place.column,
            offset: e.place.offset,
            length: e.place.length,
            message: e.message,
            expected: e.expected,
        };
        refuse(path, text.as_bytes(), &e)
    })
}

fn bytes(path: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = match path {
        "-" => std::io::stdin().read_to_end(&mut bytes),
        _ => std::fs::File::open(path).and_then(|mut f| f.read_to_end(&mut bytes)),
    };
    read.map_err(|e| miette!("cannot read {path}: {e}"))?;
    Ok(bytes)
}

/// Says on standard error which `until` slots of a scenario's text, counted among themselves, are
/// met in no run.
pub fn warn_of_unmet(path: &str, text: &[u8], nth: &[usize]) {
    for e in Scenario::never_met(text, nth) {
        let (line, column) = (e.line, e.column);
        eprintln!(
            "warning: {path}, line {line}, column {column}: {}; expected {}",
            e.message, e.expected
        );
    }
}

/// What is wrong with a file and where; with its text, unless that is nothing to look at.
fn refuse(path: &str, bytes: &[u8], e: &ParseError) -> Failure {
    let at = format!(
        "{path}, line {}, column {}: {}",
        e.line, e.column, e.message
    );
    let diagnostic = MietteDiagnostic::new(at).with_help(format!("expected {}", e.expected));
    if !bytes.is_ascii()
        || bytes
            .split(|b| *b == b'\n')
            .any(|line| line.len() > MOST_COLUMNS)
    {
        return diagnostic.into();
    }
    let text = String::from_utf8_lossy(bytes).into_owned();
    let span = e.offset.min(text.len())..(e.offset + e.length).min(text.len());
    let label = LabeledSpan::at(span, e.message.clone());
    Failure::from(diagnostic.with_label(label)).with_source_code(NamedSource::new(path, text))
}

/// The variants that a scenario names.
pub fn subjects(scenario: &Scenario) -> Result<Vec<Subject>, Failure> {
    Subject::of(scenario).map_err(|e| miette!("{e}"))
}

/// The variants that options name; none: the sound ones.
pub fn named(names: &[String]) -> Result<Vec<Subject>, Failure> {
    if names.is_empty() {
        return Ok(Subject::sound());
    }
    names
        .iter()
        .map(|n| Subject::parse(n).map_err(|e| miette!("{e}")))
        .collect()
}

/// Options that fix something about every machine.
#[derive(clap::Args)]
pub struct MachineArgs {
    /// The memory model of every scenario: sc, tso or arm [default: each its own].
    #[arg(long, value_parser = fixed::memory, value_name = "MODEL")]
    memory: Option<Memory>,
    /// Turn on a switch, which is off by default (docs/machine.md, `shootdown list`). May be
    /// given several times.
    #[arg(long = "switch", value_parser = fixed::switch, value_name = "NAME")]
    switches: Vec<Switch>,
}

impl MachineArgs {
    /// What they fix.
    pub fn fixed(&self) -> Fixed {
        let on = |s: Switches, switch: &Switch| s.with(*switch, true);
        Fixed {
            memory: self.memory,
            switches: self.switches.iter().fold(Switches::default(), on),
        }
    }
}
