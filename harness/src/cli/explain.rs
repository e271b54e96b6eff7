// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shootdown explain`.

use super::{Failure, input};
use crate::check::{Found, Subject, check, whose};
use crate::exec::Bench;
use crate::explain::{causes, hand_overs, told, why_not};
use crate::scenario::Scenario;
use crate::story::at::{self, Watch};
use crate::story::story;
use clap::builder::PossibleValuesParser;
use miette::miette;
use std::process::ExitCode;

/// Arguments of `explain`.
#[derive(clap::Args)]
pub struct Args {
    /// A scenario file; `-` for standard input.
    file: String,
    /// Explain the run of this variant (VARIANT or VARIANT/DEFECT).
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
    /// Only the events without which the verdict changes, found by running without each.
    #[arg(long)]
    cause: bool,
    /// What keeps this rule from being broken.
    #[arg(long, value_name = "RULE", value_parser = rules())]
    why_not: Option<String>,
    /// The machine after this step of the run.
    #[arg(long, value_name = "N", conflicts_with_all = ["cause", "why_not"])]
    step: Option<u32>,
    /// Everything that happens to a page (va=0x1000), a tag (asid=1, vmid=1, pcid=1) or a
    /// CPU (cpu=0).
    #[arg(long, value_name = "WHAT", value_parser = Watch::parse)]
    #[arg(conflicts_with_all = ["cause", "why_not", "step"])]
    watch: Option<Watch>,
}

fn rules() -> PossibleValuesParser {
    let names = shootdown_oracle::RULES.iter().map(|rule| rule.name);
    PossibleValuesParser::new(names.collect::<Vec<_>>())
}

/// Explains a run. Exit status 0: the verdict is `replay`'s.
pub fn explain(args: &Args) -> Result<ExitCode, Failure> {
    let mut scenario = input::scenario(&args.file)?;
    if let Some(name) = &args.variant {
        let named = input::named(std::slice::from_ref(name))?;
        scenario.variants = named.iter().map(Subject::choice).collect();
    }
    let subjects = input::subjects(&scenario)?;
    let mut bench = Bench::default();
    let found = check(&mut bench, &scenario, &subjects).found;
    let by = whose(found.as_ref(), &subjects).map_err(|e| miette!("{}: {e}", args.file))?;
    if args.step.is_some() || args.watch.is_some() {
        let story = story(&mut bench, &scenario, by, found.as_ref());
        if let Some(what) = &args.watch {
            print!("{}", at::watch(&story, what));
        }
        if let Some(step) = args.step {
            let last = story.steps.last().map_or(0, |s| s.number);
            if step > last {
                return Err(miette!(
                    "there is no step {step}: the run of {} has {last}",
                    by.name()
                ));
            }
            print!("{}", at::at(&story, step));
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(name) = &args.why_not {
        let rule = shootdown_oracle::rule(name).ok_or_else(|| miette!("no rule {name}"))?;
        print!(
            "{}",
            told::why_not(&why_not(&mut bench, &scenario, by, rule), by, rule)
        );
        return Ok(ExitCode::SUCCESS);
    }
    match found {
        Some(found) => print!("{}", of_finding(&mut bench, &scenario, &found, args.cause)),
        None if args.cause => {
            return Err(miette!(
                "{}: breaks no rule, so there is nothing that it takes; --why-not RULE says what keeps one",
                args.file
            ));
        }
        None => print!("{}", crate::report::passing(&mut bench, &scenario, by)),
    }
    Ok(ExitCode::SUCCESS)
}

fn of_finding(bench: &mut Bench, scenario: &Scenario, found: &Found, cause: bool) -> String {
    if cause {
        let (causes, tried) = causes(bench, scenario, found);
        return told::causes(&causes, tried, found);
    }
    let summary = told::summary(bench, scenario, found);
    let windows = told::windows(&hand_overs(bench, scenario, found));
    format!("{summary}\n{windows}")
}
