// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shootdown report`: a finding, for people and for other tools.

use super::{Failure, input};
use crate::check::{Found, Subject, check, whose};
use crate::exec::Bench;
use crate::export::{Form, export};
use crate::report::{mail, report as text};
use crate::scenario::Scenario;
use crate::story::{self, Story};
use clap::ValueEnum;
use miette::miette;
use std::io::Write as _;
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
    /// Write a page for a browser to this file.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["format", "output"])]
    html: Option<String>,
    /// Run this variant (VARIANT or VARIANT/DEFECT) instead of those that it names.
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
}

/// Forms of a finding.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Format {
    /// The report, for a mail.
    Text,
    /// A mail to a list: a subject, what this is, and the report.
    Mail,
    /// A test in Rust (docs/exports.md).
    RustTest,
    /// A log of casemate, of a run that is inside its model (docs/exports.md).
    Casemate,
    /// A TLA+ behaviour of an ASID or VMID allocator, for kernel-tla (docs/exports.md).
    Tla,
    /// The whole run as data (docs/story.md).
    Json,
}

/// Writes a report. Exit status 0: what is reported is not this command's verdict.
pub fn report(args: &Args) -> Result<ExitCode, Failure> {
    let mut scenario = input::scenario(&args.file)?;
    if let Some(name) = &args.variant {
        let named = Subject::parse(name).map_err(|e| miette!("{e}"))?;
        scenario.variants = vec![named.choice()];
    }
    let subjects = input::subjects(&scenario)?;
    let mut bench = Bench::default();
    let found = check(&mut bench, &scenario, &subjects).found;
    if let Some(path) = &args.html {
        let story = story(&mut bench, &scenario, &subjects, found.as_ref(), args)?;
        let page = story::page(&story).map_err(|e| miette!("cannot make the page: {e}"))?;
        write(path, &page)?;
        return Ok(ExitCode::SUCCESS);
    }
    let written = match (args.format, &found) {
        (Format::Tla, found) => exported(&mut bench, &scenario, found, Form::Tla, args)?,
        (Format::Casemate, found) => exported(&mut bench, &scenario, found, Form::Casemate, args)?,
        (Format::RustTest, found) => exported(&mut bench, &scenario, found, Form::RustTest, args)?,
        (Format::Text, Some(found)) => text(&mut bench, &scenario, found),
        (Format::Mail, Some(found)) => mail(&mut bench, &scenario, found),
        (Format::Text | Format::Mail, None) => {
            return Err(miette!(
                "{}: breaks no rule, so there is nothing to report",
                args.file
            ));
        }
        (Format::Json, found) => {
            story(&mut bench, &scenario, &subjects, found.as_ref(), args)?.json()
        }
    };
    match &args.output {
        Some(path) => write(path, &written)?,
        // A reader that goes away early is no reason to fail.
        None => drop(std::io::stdout().write_all(written.as_bytes())),
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

fn write(path: &str, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|e| miette!("cannot write {path}: {e}"))
}

/// The story of the variant that breaks a rule, or of the only one there is.
fn story(
    bench: &mut Bench,
    scenario: &Scenario,
    subjects: &[Subject],
    found: Option<&Found>,
    args: &Args,
) -> Result<Story, Failure> {
    let by = whose(found, subjects).map_err(|e| miette!("{}: {e}", args.file))?;
    Ok(story::story(bench, scenario, by, found))
}
