// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shootdown sabotage`.

use super::{Failure, input};
use crate::exec::Bench;
use crate::sabotage::{notice, sites};
use miette::miette;
use std::process::ExitCode;

/// Arguments of `sabotage`.
#[derive(clap::Args)]
pub struct Args {
    /// Variants; default: every sound one.
    #[arg(long = "variant", value_name = "NAME")]
    variants: Vec<String>,
    /// Random scenarios for each site.
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
    let mut bench = Bench::default();
    let mut unexplained = 0;
    for by in input::named(&args.variants)? {
        let mut rng = fastrand::Rng::with_seed(args.seed);
        let found = sites(&mut bench, by, &corpus, args.runs.min(2000), &mut rng);
        let mut noticed = 0;
        let mut lines = Vec::new();
        for (site, what) in &found {
            let file = site.file.rsplit('/').next().unwrap_or(site.file);
            let at = format!("{file}:{}", site.line);
            match notice(&mut bench, by, site, &corpus, args.runs, &mut rng) {
                Some(n) => {
                    noticed += 1;
                    if args.all {
                        lines.push(format!("  {at:24} {what:28} {} after {}", n.rule, n.runs));
                    }
                }
                None => {
                    let reason = site.reason(root);
                    unexplained += u32::from(reason.is_none());
                    let reason = reason.unwrap_or_else(|| "UNEXPLAINED".into());
                    lines.push(format!("  {at:24} {what:28} unnoticed: {reason}"));
                }
            }
        }
        println!("{}: {} sites, {noticed} noticed", by.name(), found.len());
        for line in lines {
            println!("{line}");
        }
    }
    Ok(ExitCode::from(u8::from(unexplained > 0)))
}
