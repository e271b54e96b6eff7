// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shootdown report`: a finding, for people and for other tools.

use super::{Failure, input};
use crate::check::{Found, check};
use crate::exec::Bench;
use crate::export::{Form, export};
use crate::report::report as text;
use crate::scenario::Scenario;
use clap::ValueEnum;
use miette::miette;
use std::process::ExitCode;

/// Arguments of `report`.
#[derive(clap::Args)]
pub struct Args {
    /// A scenario file; `-` for standard input.
    file: String,
    /// What to write.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Where to, instead of to standard output.
    #[arg(long, short, value_name = "FILE")]
    output: Option<String>,
}

/// Forms of a finding.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Format {
    /// The report, for a mail.
    Text,
    /// A test in Rust (docs/exports.md).
    RustTest,
}

/// Writes a report. Exit status 0: what is reported is not this command's verdict.
pub fn report(args: &Args) -> Result<ExitCode, Failure> {
    let scenario = input::scenario(&args.file)?;
    let subjects = input::subjects(&scenario)?;
    let mut bench = Bench::default();
    let found = check(&mut bench, &scenario, &subjects).found;
    let written = match (args.format, &found) {
        (Format::RustTest, found) => exported(&mut bench, &scenario, found, Form::RustTest, args)?,
        (Format::Text, Some(found)) => text(&mut bench, &scenario, found),
        (Format::Text, None) => {
            return Err(miette!(
                "{}: breaks no rule, so there is nothing to report",
                args.file
            ));
        }
    };
    match &args.output {
        Some(path) => {
            std::fs::write(path, written).map_err(|e| miette!("cannot write {path}: {e}"))?
        }
        None => print!("{written}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// The run in a form of docs/exports.md.
fn exported(
    bench: &mut Bench,
    scenario: &Scenario,
    found: &Option<Found>,
    form: Form,
    args: &Args,
) -> Result<String, Failure> {
    export(bench, scenario, found.as_ref(), form).map_err(|e| miette!("{}: {e}", args.file))
}
