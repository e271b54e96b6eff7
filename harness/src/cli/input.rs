// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files that people give: read, parsed strictly, and refused with the place of the fault.

use super::Failure;
use crate::check::Subject;
use crate::scenario::{Scenario, parse};
use miette::{LabeledSpan, MietteDiagnostic, NamedSource, miette};
use std::io::Read as _;

/// The scenario in a file; `-` is standard input.
pub fn scenario(path: &str) -> Result<Scenario, Failure> {
    let mut bytes = Vec::new();
    let read = match path {
        "-" => std::io::stdin().read_to_end(&mut bytes),
        _ => std::fs::File::open(path).and_then(|mut f| f.read_to_end(&mut bytes)),
    };
    read.map_err(|e| miette!("cannot read {path}: {e}"))?;
    let scenario = parse(&bytes).map_err(|e| {
        let at = format!(
            "{path}, line {}, column {}: {}",
            e.line, e.column, e.message
        );
        let text: String = bytes
            .iter()
            .map(|b| if b.is_ascii() { *b as char } else { '?' })
            .collect();
        let end = text.len();
        let offset = e.offset.min(end);
        let span = offset..(offset + e.length).min(end);
        let diagnostic = MietteDiagnostic::new(at)
            .with_help(format!("expected {}", e.expected))
            .with_label(LabeledSpan::at(span, e.message.clone()));
        Failure::from(diagnostic).with_source_code(NamedSource::new(path, text))
    })?;
    subjects(&scenario)?;
    Ok(scenario)
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
