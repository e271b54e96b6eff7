// SPDX-License-Identifier: MIT OR Apache-2.0
//! A finding, or a run that passes, in the forms that other tools read (docs/exports.md).

mod before;
mod casemate;
mod rust_test;
mod tla;

use crate::check::{Found, Subject, whose};
use crate::exec::Bench;
use crate::scenario::Scenario;
use core::fmt;

/// What to write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// A test in Rust.
    RustTest,
    /// A log of casemate.
    Casemate,
    /// A behaviour in TLA+.
    Tla,
}

/// Why a run cannot be written in a form, in a sentence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal(String);

impl Refusal {
    fn new(why: impl Into<String>) -> Refusal {
        Refusal(why.into())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for Refusal {}

/// Writes a scenario's run: the one that broke a rule, or that of the one variant it names.
/// `found` is what [`check`](crate::check::check) gave for this scenario.
///
/// # Errors
/// A run that the form has no words for.
pub fn export(
    bench: &mut Bench,
    scenario: &Scenario,
    found: Option<&Found>,
    form: Form,
) -> Result<String, Refusal> {
    let by = subject(scenario, found)?;
    match form {
        Form::RustTest => rust_test::write(bench, scenario, by, found),
        Form::Casemate => casemate::write(bench, scenario, by),
        Form::Tla => tla::write(bench, scenario, by, found),
    }
}

/// Whose run it is.
fn subject(scenario: &Scenario, found: Option<&Found>) -> Result<Subject, Refusal> {
    let one_result = shootdown_oracle::rules::one_result::RULE.name;
    if found.is_some_and(|found| found.finding.rule.name == one_result) {
        let why = "one-result is broken between two variants, and an export is of one run";
        return Err(Refusal::new(why));
    }
    let subjects = Subject::of(scenario).map_err(Refusal::new)?;
    whose(found, &subjects).map_err(Refusal::new)
}
