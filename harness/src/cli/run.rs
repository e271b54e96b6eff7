// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shootdown run`: generic search without an instrumented build.

use super::{Failure, input, parallel};
use crate::check::{Found, Subject};
use crate::exec::Bench;
use crate::explore::{self, Search, Strategy};
use crate::scenario::Scenario;
use indicatif::{ProgressBar, ProgressStyle};
use miette::miette;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Arguments of `run`.
#[derive(clap::Args)]
pub struct Args {
    /// Variants (VARIANT or VARIANT/DEFECT); default: every sound one, compared.
    #[arg(long = "variant", value_name = "NAME")]
    variants: Vec<String>,
    /// How to schedule; default: by all of them, most by races.
    #[arg(long, value_enum)]
    strategy: Option<Strategy>,
    /// Stop after so many seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Stop after so many scenarios on each core.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    runs: Option<u64>,
    /// Seed; the same seed makes the same scenarios.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads; default: one a core.
    #[arg(long)]
    jobs: Option<usize>,
    #[command(flatten)]
    machine: input::MachineArgs,
    /// Folder for findings.
    #[arg(long, default_value = "findings")]
    findings: PathBuf,
}

#[derive(Default)]
struct Shared {
    runs: AtomicU64,
    steps: AtomicU64,
    stop: AtomicBool,
    found: Mutex<Option<(Scenario, Found)>>,
}

/// Searches. Exit status 1 if a rule was broken.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let subjects = input::named(&args.variants)?;
    let jobs = args.jobs.unwrap_or_else(parallel::cores).max(1);
    let shared = Shared::default();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for job in 0..jobs as u64 {
            let (shared, subjects) = (&shared, &subjects);
            scope.spawn(move || search(args, subjects, job, shared));
        }
        progress(args, &shared, start);
    });
    let seconds = start.elapsed().as_secs_f64();
    let runs = shared.runs.load(Ordering::Relaxed);
    let steps = shared.steps.load(Ordering::Relaxed) as f64;
    println!(
        "{runs} scenarios in {seconds:.1} s ({:.0}/s, {:.1} M steps/s, {jobs} threads)",
        runs as f64 / seconds,
        steps / seconds / 1e6
    );
    let found = shared
        .found
        .into_inner()
        .map_err(|_| miette!("a search thread died"))?;
    let Some((scenario, found)) = found else {
        println!("no rule is broken");
        return Ok(ExitCode::SUCCESS);
    };
    let mut bench = Bench::default();
    let saved = crate::findings::save(&mut bench, &scenario, &found, &args.findings)
        .map_err(|e| miette!("cannot keep the finding: {e}"))?;
    println!("\n{}\nwritten to {}", saved.report, saved.path.display());
    Ok(ExitCode::FAILURE)
}

fn search(args: &Args, subjects: &[Subject], job: u64, shared: &Shared) {
    let mut bench = Bench::default();
    let rng = explore::rng(args.seed, job);
    let mut runs = 0;
    let after = |steps| {
        runs += 1;
        shared.runs.fetch_add(1, Ordering::Relaxed);
        shared.steps.fetch_add(steps, Ordering::Relaxed);
        !shared.stop.load(Ordering::Relaxed) && args.runs.is_none_or(|most| runs < most)
    };
    let fixed = args.machine.fixed();
    let search = Search::new(subjects, args.strategy, fixed, rng);
    let found = search.run(&mut bench, after);
    if let Some(found) = found {
        shared.stop.store(true, Ordering::Relaxed);
        if let Ok(mut slot) = shared.found.lock() {
            slot.get_or_insert(found);
        }
    }
    if args.runs.is_some() && job == 0 {
        shared.stop.store(true, Ordering::Relaxed);
    }
}

/// One line on a terminal, a plain line every ten seconds elsewhere.
fn progress(args: &Args, shared: &Shared, start: Instant) {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        bar.set_style(style);
    }
    let terminal = std::io::stderr().is_terminal();
    let mut said = Instant::now();
    while !shared.stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(50));
        let seconds = start.elapsed().as_secs_f64();
        let runs = shared.runs.load(Ordering::Relaxed);
        let line = format!(
            "{runs} scenarios, {:.0}/s, no finding yet",
            runs as f64 / seconds
        );
        if terminal {
            bar.set_message(line);
            bar.tick();
        } else if said.elapsed() > Duration::from_secs(10) {
            eprintln!("{seconds:.0} s: {line}");
            said = Instant::now();
        }
        if start.elapsed().as_secs() >= args.seconds {
            shared.stop.store(true, Ordering::Relaxed);
        }
    }
    bar.finish_and_clear();
}
