// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shootdown litmus`.

use super::{Failure, input, parallel};
use crate::litmus::{Judged, MAX_STATES, Row, run};
use indicatif::{ProgressBar, ProgressStyle};
use miette::miette;
use shootdown_machine::litmus::{ALL, EXCEPTIONS, Exception, Options, Test, Verdict, parse};
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `litmus`.
#[derive(clap::Args)]
pub struct Args {
    /// Tests: names of published ones, or files; `-` is standard input. Default: all that
    /// are published.
    #[arg(value_name = "NAME|FILE")]
    tests: Vec<String>,
    /// Only some of the published tests.
    #[arg(long, value_enum)]
    only: Option<Only>,
    /// With FEAT_ETS2, too.
    #[arg(long)]
    ets: bool,
    /// Print the steps that lead to the asked outcome.
    #[arg(long)]
    witness: bool,
    /// Give up a test after so many states.
    #[arg(long, default_value_t = MAX_STATES)]
    max_states: u64,
    /// Threads; default: one a core.
    #[arg(long)]
    jobs: Option<usize>,
    /// Write the table to a file, for scripts.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Which of the published tests.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Only {
    /// Those whose verdict without FEAT_ETS2 is in the paper and not contradicted.
    Certain,
}

/// A test, and the differences that are accepted for it.
struct Subject {
    test: Test,
    exceptions: &'static [Exception],
}

/// One exploration to be done.
type Job<'a> = (&'a Subject, bool);

/// Runs litmus tests and compares. Exit status 1 if a verdict is not met, or an exception
/// no longer needed.
pub fn litmus(args: &Args) -> Result<ExitCode, Failure> {
    let mut subjects = subjects(&args.tests)?;
    if args.only == Some(Only::Certain) {
        subjects.retain(|s| s.test.verdicts.certain());
    }
    let models: &[bool] = if args.ets { &[false, true] } else { &[false] };
    let jobs: Vec<Job<'_>> = subjects
        .iter()
        .flat_map(|s| models.iter().map(move |ets| (s, *ets)))
        .collect();
    let width = subjects.iter().map(|s| s.test.name.len()).max();
    let rows = run_all(args, &jobs, width.unwrap_or(0))?;
    println!("{}", summary(&rows));
    if let Some(path) = &args.json {
        let json = json(&rows);
        std::fs::write(path, json).map_err(|e| miette!("cannot write {}: {e}", path.display()))?;
    }
    let failed = rows.iter().any(|row| row.judged.fails());
    Ok(ExitCode::from(u8::from(failed)))
}

fn subjects(names: &[String]) -> Result<Vec<Subject>, Failure> {
    let published = |text| {
        let test = parse(text).map_err(|e| miette!("{e}"))?;
        Ok(Subject {
            test,
            exceptions: EXCEPTIONS,
        })
    };
    if names.is_empty() {
        return ALL.iter().map(|(_, text)| published(text)).collect();
    }
    let of = |name: &String| match ALL.iter().find(|(known, _)| known == name) {
        Some((_, text)) => published(text),
        None if name != "-" && !Path::new(name).exists() => {
            Err(miette!("{name} is neither a published test nor a file"))
        }
        None => Ok(Subject {
            test: input::litmus(name)?,
            exceptions: &[],
        }),
    };
    names.iter().map(of).collect()
}

/// Explores on all cores; prints in the order of the jobs.
fn run_all(args: &Args, jobs: &[Job<'_>], width: usize) -> Result<Vec<Row>, Failure> {
    let bar = progress(jobs.len());
    say(&bar, &head(width));
    let explore = |(subject, ets): &Job<'_>| {
        let options = Options {
            ets: *ets,
            max_states: args.max_states,
        };
        run(&subject.test, &options, subject.exceptions)
            .map_err(|e| miette!("{}: {e}", subject.test.name))
    };
    let threads = args.jobs.unwrap_or_else(parallel::cores).max(1);
    let mut rows = Vec::with_capacity(jobs.len());
    let told = parallel::in_order(jobs, threads, explore, |row: Result<Row, Failure>| {
        let row = row?;
        bar.inc(1);
        say(&bar, &line(&row, width, args.witness));
        rows.push(row);
        Ok::<_, Failure>(())
    });
    bar.finish_and_clear();
    told.map(|()| rows)
}

/// A bar on a terminal; elsewhere the rows, which come one by one, are enough.
fn progress(jobs: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(jobs as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos} of {len}, {elapsed}") {
        bar.set_style(style);
    }
    bar
}

fn say(bar: &ProgressBar, line: &str) {
    bar.suspend(|| println!("{line}"));
}

fn head(width: usize) -> String {
    format!(
        "{:width$}  {:4}  {:9}  {:9}  {:>8}  {:>10}  {:>8}  result",
        "test", "", "verdict", "ours", "outcomes", "states", "seconds"
    )
}

fn line(row: &Row, width: usize, witness: bool) -> String {
    let word = |v: Option<Verdict>, none| v.map_or(none, Verdict::word);
    let mut line = format!(
        "{:width$}  {:4}  {:9}  {:9}  {:8}  {:10}  {:8.2}  {}",
        row.test,
        model(row.ets),
        word(row.verdict, "-"),
        word(row.ours, "unknown"),
        row.explored.outcomes,
        row.explored.states,
        row.time.as_secs_f64(),
        row.judged.word()
    );
    for step in row.explored.witness.iter().filter(|_| witness) {
        let _ = write!(line, "\n    {step}"); // to a string
    }
    line
}

fn model(ets: bool) -> &'static str {
    if ets { "ets2" } else { "base" }
}

fn summary(rows: &[Row]) -> String {
    let count = |of: fn(Judged) -> bool| rows.iter().filter(|r| of(r.judged)).count();
    let mut out = format!(
        "{} explorations, {} verdicts: {} agree, {} exceptions, {} differ, {} undecided",
        rows.len(),
        count(|j| j != Judged::NotCompared),
        count(|j| j == Judged::Agrees),
        count(|j| matches!(j, Judged::Excepted(_))),
        count(|j| j == Judged::Differs),
        count(|j| j == Judged::Undecided),
    );
    for row in rows {
        let model = model(row.ets);
        // To a string.
        let _ = match row.judged {
            Judged::Excepted(e) => write!(
                out,
                "\nexception {} ({model}): {}\n    for findings: {}",
                row.test, e.reason, e.findings
            ),
            Judged::Stale(_) => write!(
                out,
                "\nSTALE {} ({model}): listed as an exception, but nothing differs",
                row.test
            ),
            Judged::Differs | Judged::Undecided => {
                write!(out, "\n{} {} ({model})", row.judged.word(), row.test)
            }
            Judged::Agrees | Judged::NotCompared => Ok(()),
        };
    }
    out
}

fn json(rows: &[Row]) -> String {
    let word = |v: Option<Verdict>| v.map_or("null".into(), |v| format!("\"{}\"", v.word()));
    let row = |row: &Row| {
        // Names are words of the text, or published: nothing to escape but these two.
        let name = row.test.replace('\\', "\\\\").replace('"', "\\\"");
        format!(
            "  {{\"test\": \"{name}\", \"model\": \"{}\", \"verdict\": {}, \"ours\": {}, \
             \"outcomes\": {}, \"states\": {}, \"complete\": {}, \"seconds\": {:.3}, \
             \"result\": {}}}",
            model(row.ets),
            word(row.verdict),
            word(row.ours),
            row.explored.outcomes,
            row.explored.states,
            row.explored.complete,
            row.time.as_secs_f64(),
            match row.judged {
                Judged::NotCompared => "null".into(),
                judged => format!("\"{}\"", judged.word().to_lowercase()),
            }
        )
    };
    let rows: Vec<String> = rows.iter().map(row).collect();
    format!("[\n{}\n]\n", rows.join(",\n"))
}
