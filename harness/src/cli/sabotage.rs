// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shootdown sabotage`.

use super::{Failure, input, parallel};
use crate::check::Subject;
use crate::exec::Bench;
use crate::sabotage::{notice, sites};
use crate::scenario::Scenario;
use miette::miette;
use std::path::Path;
use std::process::ExitCode;

/// Arguments of `sabotage`.
#[derive(clap::Args)]
pub struct Args {
    /// Variants; default: every sound one.
    #[arg(long = "variant", value_name = "NAME")]
    variants: Vec<String>,
    /// Scenarios of a search for each site; a tenth where the port says why nobody will notice.
    #[arg(long, default_value_t = 20_000)]
    runs: u32,
    /// Seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// List the sites that were noticed, too.
    #[arg(long)]
    all: bool,
}

/// Ignores one call site at a time. Exit status 1 if one goes unnoticed without a reason.
pub fn sabotage(args: &Args) -> Result<ExitCode, Failure> {
    let here = std::env::current_dir().map_err(|e| miette!("{e}"))?;
    let root = crate::corpus::checkout(&here).ok_or_else(|| {
        miette!("not inside a checkout of Shootdown: the reasons are in the ports' sources")
    })?;
    let corpus = crate::corpus::load(&root.join("corpus")).map_err(|e| miette!("{e}"))?;
    let corpus: Vec<_> = corpus.into_iter().map(|(_, s)| s).collect();
    let variants = input::named(&args.variants)?;
    let mut unexplained = 0;
    let tell = |by: &Subject| one(*by, &corpus, root, args);
    parallel::in_order(&variants, parallel::cores(), tell, |told| {
        print!("{}", told.text);
        unexplained += told.unexplained;
        Ok::<_, Failure>(())
    })?;
    Ok(ExitCode::from(u8::from(unexplained > 0)))
}

/// What is said of a variant, and how many of its sites go unnoticed without a reason.
struct Told {
    text: String,
    unexplained: u32,
}

/// Ignores each site of a variant in turn.
fn one(by: Subject, corpus: &[Scenario], root: &Path, args: &Args) -> Told {
    let bench = &mut Bench::default();
    let (runs, seed) = (args.runs, args.seed);
    let found = sites(bench, by, corpus, runs.min(2000), seed);
    let (mut noticed, mut unexplained) = (0, 0);
    let mut lines = String::new();
    for (site, what) in &found {
        let file = site.file.rsplit('/').next().unwrap_or(site.file);
        let at = format!("{file}:{}", site.line);
        let reason = site.reason(root, &by.name());
        // Where a reason says that nobody will notice, that is not tried for long.
        let runs = if reason.is_some() { runs / 10 } else { runs };
        match notice(bench, by, site, corpus, runs, seed) {
            Some(n) => {
                noticed += 1;
                if args.all {
                    lines += &format!("  {at:24} {what:28} {} after {}\n", n.rule, n.runs);
                }
            }
            None => {
                unexplained += u32::from(reason.is_none());
                let reason = reason.unwrap_or_else(|| "UNEXPLAINED".into());
                lines += &format!("  {at:24} {what:28} unnoticed: {reason}\n");
            }
        }
    }
    let (name, all) = (by.name(), found.len());
    Told {
        text: format!("{name}: {all} sites, {noticed} noticed\n{lines}"),
        unexplained,
    }
}
