// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shootdown replay` and `shootdown minimize`.

use super::{Failure, input};
use crate::check::unmet::unmet;
use crate::check::{Outcome, Subject, check, input as input_of, run_one};
use crate::exec::{Bench, Input};
use crate::minimize::minimize_telling;
use crate::report::report;
use crate::scenario::{Expect, Scenario};
use indicatif::ProgressBar;
use miette::miette;
use std::process::ExitCode;

/// Arguments of `replay`.
#[derive(clap::Args)]
pub struct Args {
    /// A scenario file; `-` for standard input.
    file: String,
    /// Run these variants (VARIANT or VARIANT/DEFECT) instead of those that it names.
    #[arg(long = "variant", value_name = "NAME")]
    variants: Vec<String>,
    /// Print every event of every run, one a line, instead of a report. Two runs of one file
    /// print the same bytes, in debug and in release.
    #[arg(long)]
    trace: bool,
}

/// Arguments of `minimize`.
#[derive(clap::Args)]
pub struct MinimizeArgs {
    /// A scenario file; `-` for standard input.
    file: String,
    /// Write the result here instead of to standard output.
    #[arg(long, short)]
    output: Option<String>,
}

/// Runs a scenario and reports. Exit status 0 if it ends as its `expect` line says (without
/// one: if no rule is broken), 1 if not.
pub fn replay(args: &Args) -> Result<ExitCode, Failure> {
    let (mut scenario, text) = input::scenario_and_text(&args.file)?;
    if !args.variants.is_empty() {
        let named = input::named(&args.variants)?;
        scenario.variants = named.iter().map(|s| s.choice()).collect();
    }
    let subjects = input::subjects(&scenario)?;
    let mut bench = Bench::default();
    if args.trace {
        trace(&mut bench, &scenario, &subjects);
        return Ok(ExitCode::SUCCESS);
    }
    let never = unmet(&mut bench, &scenario, &subjects);
    input::warn_of_unmet(&args.file, &text, &never);
    let outcome = check(&mut bench, &scenario, &subjects);
    match &outcome.found {
        Some(found) => print!("{}", report(&mut bench, &scenario, found)),
        None => print!("{}", table(&outcome)),
    }
    let met = expected(&scenario, &outcome);
    match (&scenario.expect, met) {
        (Some(_), true) => println!("as expected"),
        (Some(_), false) => println!("not as expected"),
        (None, _) => {}
    }
    Ok(ExitCode::from(u8::from(!met)))
}

/// Prints the events of each variant's run.
fn trace(bench: &mut Bench, scenario: &Scenario, subjects: &[Subject]) {
    use std::io::Write as _;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for &by in subjects {
        let input = Input {
            trace: true,
            ..input_of(scenario)
        };
        let result = run_one(bench, by, scenario, input);
        // A reader that goes away early is no reason to fail.
        let _ = writeln!(out, "{}", by.name());
        for (step, event) in &bench.trace {
            let _ = writeln!(out, "{step} {}", named(&format!("{event:?}")));
        }
        let _ = writeln!(out, "{:?}", result.finding.map(|f| (f.rule.name, f.step)));
    }
}

/// The same text, of whatever checkout its source files are.
fn named(event: &str) -> String {
    const FILE: &str = "file: \"";
    let parts = event.split(FILE).map(shootdown_variants::source);
    parts.collect::<Vec<_>>().join(FILE)
}

/// Whether a scenario ended as it says.
fn expected(scenario: &Scenario, outcome: &Outcome) -> bool {
    match (&scenario.expect, &outcome.found) {
        (None | Some(Expect::Pass), found) => found.is_none(),
        (Some(Expect::Breach { .. }), None) => false,
        (Some(expect), Some(found)) => *expect == found.expect(),
    }
}

/// What each variant's run cost.
fn table(outcome: &Outcome) -> String {
    use std::fmt::Write as _;
    let mut out = String::from("no rule is broken\n\n");
    let head = [
        "steps", "tlbi", "is", "dsb", "ipi", "lost", "fills", "refill", "faults", "slow",
    ];
    let _ = write!(out, "{:16}", "");
    for name in head {
        let _ = write!(out, "{name:>7}");
    }
    out.push('\n');
    for result in &outcome.results {
        let c = &result.cost;
        let row = [
            c.steps,
            c.tlbi_local,
            c.tlbi_broadcast,
            c.dsb,
            c.ipi,
            c.entries_lost,
            c.fills,
            c.refills,
            c.faults,
            c.slow_paths,
        ];
        let _ = write!(out, "{:16}", result.by.name());
        for n in row {
            let _ = write!(out, "{n:>7}");
        }
        out.push('\n');
    }
    if outcome.results.len() > 1 {
        let _ = writeln!(
            out,
            "\ncompared between variants: {} table slots",
            outcome.comparable
        );
    }
    out
}

/// Minimizes a scenario that breaks a rule.
pub fn minimize(args: &MinimizeArgs) -> Result<ExitCode, Failure> {
    let scenario = input::scenario(&args.file)?;
    let mut bench = Bench::default();
    let size = |s: &Scenario| {
        let ops = s.programs.iter().flatten().count();
        format!("{ops} operations and {} slots", s.schedule.len())
    };
    let bar = ProgressBar::new_spinner(); // on a terminal only
    let progress = &mut |runs: u32, least: &Scenario| {
        bar.set_message(format!("{}, in {runs} runs", size(least)));
        bar.tick();
    };
    let minimized =
        minimize_telling(&mut bench, &scenario, progress).map_err(|e| miette!("{e}"))?;
    bar.finish_and_clear();
    let Some(minimized) = minimized else {
        return Err(refused(&args.file, &scenario));
    };
    eprintln!(
        "{} became {}, in {} runs",
        size(&scenario),
        size(&minimized.scenario),
        minimized.trials
    );
    match &args.output {
        Some(path) => std::fs::write(path, minimized.scenario.to_string())
            .map_err(|e| miette!("cannot write {path}: {e}"))?,
        None => print!("{}", minimized.scenario),
    }
    Ok(ExitCode::SUCCESS)
}

/// Why there is nothing to minimize.
fn refused(file: &str, scenario: &Scenario) -> Failure {
    let ran = match &scenario.variants[..] {
        [] => "every sound variant passes, and all agree".into(),
        [one] => format!("{} passes", one.name()),
        all => format!("the {} variants that it names pass, and agree", all.len()),
    };
    let expected = match &scenario.expect {
        Some(Expect::Breach { rule, by }) => {
            format!(
                "; its last line expects {rule} to be broken in {}",
                by.name()
            )
        }
        _ => String::new(),
    };
    miette!("{file}: {ran}, so there is nothing to make small{expected}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_the_same_in_every_checkout() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = root.parent().expect("the checkout").display().to_string();
        let event =
            |file: &str| format!("Did {{ site: Location {{ file: \"{file}\", line: 1 }} }}");
        let port = "variants/src/ports/naive.rs";
        assert_eq!(named(&event(&format!("{root}/{port}"))), event(port));
        assert_eq!(named(&event(port)), event(port));
        assert_eq!(named("Livelock"), "Livelock");
    }
}
