// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shootdown fuzz`.

mod build;
mod campaign;
mod finding;
mod job;
mod progress;
mod solo;
mod stats;
mod summary;

pub(super) use build::{build, root};
pub(super) use solo::solo;

use super::{Failure, input};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `fuzz`.
#[derive(clap::Args)]
pub struct Args {
    /// Fuzz this variant, perhaps with a defect, instead of all sound ones at once.
    /// May be given several times.
    #[arg(long = "variant", value_name = "NAME[/DEFECT]")]
    variants: Vec<String>,
    #[command(flatten)]
    machine: input::MachineArgs,
    /// Stop after so many seconds [default: never].
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Seed of the first process; each other one has the next [default: a random one].
    #[arg(long, value_name = "N")]
    seed: Option<u32>,
    /// Processes [default: one for each CPU].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    jobs: Option<u16>,
    /// Go on after a finding.
    #[arg(long)]
    keep_going: bool,
    /// Where inputs that reached something new are kept [default:
    /// target/shootdown/corpus/ and the names of the variants, model and switches].
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,
    /// Do without the committed corpus, which has a scenario for many a known defect: for
    /// measuring how long a search takes.
    #[arg(long)]
    from_scratch: bool,
    /// Where findings are written.
    #[arg(long, value_name = "DIR", default_value = "findings")]
    findings: PathBuf,
    /// Write the figures of this run to a file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Show libFuzzer's own output.
    #[arg(short, long, visible_alias = "plain")]
    verbose: bool,
    /// More arguments for libFuzzer.
    #[arg(last = true, value_name = "LIBFUZZER ARGUMENTS")]
    libfuzzer: Vec<String>,
}

/// Fuzzes: 0 if the time ran out, 1 on a finding.
///
/// # Errors
/// Bad names, no checkout, no compiler, a failed build, or a target that ended by itself.
pub fn fuzz(args: &Args) -> Result<ExitCode, Failure> {
    let subjects = input::named(&args.variants)?;
    let root = build::root()?;
    let target = build::build(&root)?;
    campaign::run(args, &subjects, &root, &target)
}

/// Something that could not be done to a file, as a failure.
fn at(path: &std::path::Path, doing: &str, error: &std::io::Error) -> Failure {
    miette::miette!("cannot {doing} {}: {error}", path.display())
}
