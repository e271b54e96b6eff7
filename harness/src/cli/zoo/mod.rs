// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shootdown zoo`: how long it takes to find each defect, without a hint, by each way to
//! search.

mod document;
mod store;
mod table;
mod trial;

use super::{Failure, fuzz, parallel};
use crate::check::Subject;
use indicatif::{ProgressBar, ProgressStyle};
use miette::miette;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use store::{Record, Store};
use table::Table;
use trial::{Engine, Trial};

/// Arguments of `zoo`.
#[derive(clap::Args)]
pub struct Args {
    /// Defects (VARIANT/DEFECT), or variants with all of theirs; default: every defect.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Searches for each defect by each engine: seeds 1 to N.
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    seeds: u32,
    /// Another number of seeds for one engine, or fewer for one defect (VARIANT/DEFECT=N). May be
    /// given several times.
    #[arg(long, value_name = "ENGINE=N", value_parser = seeds_of)]
    seeds_of: Vec<(Of, u32)>,
    /// CPU seconds after which a search is given up.
    #[arg(long, default_value_t = 60, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=300))]
    seconds: u32,
    /// Another limit for one engine. May be given several times.
    #[arg(long = "limit", value_name = "ENGINE=N", value_parser = |text: &str| of_engine(text, 300))]
    limits: Vec<(Engine, u32)>,
    /// How to search. May be given several times [default: fuzz, run and random].
    #[arg(long = "engine", value_enum, value_name = "ENGINE")]
    engines: Vec<Engine>,
    /// Searches at a time, each on one core [default: one for each core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    jobs: Option<u16>,
    /// Where results are kept; what is there is not measured again.
    #[arg(long, value_name = "FILE", default_value = "target/shootdown/zoo.json")]
    state: PathBuf,
    /// Forget what is there.
    #[arg(long)]
    fresh: bool,
    /// Write a line for each search to a file.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write each search with its minimized scenario to a file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the table to a file: docs/zoo.md is made so.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

/// What has a number of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Of {
    Engine(Engine),
    /// By its name.
    Defect(String),
}

impl Of {
    fn name(&self) -> &str {
        match self {
            Of::Engine(engine) => engine.name(),
            Of::Defect(name) => name,
        }
    }
}

/// A number of seeds of an engine's or a defect's own.
fn seeds_of(text: &str) -> Result<(Of, u32), String> {
    let Some((name, _)) = text.split_once('=').filter(|(name, _)| name.contains('/')) else {
        return of_engine(text, 1000).map(|(engine, number)| (Of::Engine(engine), number));
    };
    let defect = Subject::parse(name)?.name();
    number(text, 1000).map(|(_, number)| (Of::Defect(defect), number))
}

/// A number of one engine's own, up to `most`.
fn of_engine(text: &str, most: u32) -> Result<(Engine, u32), String> {
    let (engine, number) = number(text, most)?;
    Ok((
        <Engine as clap::ValueEnum>::from_str(engine, false)?,
        number,
    ))
}

fn number(text: &str, most: u32) -> Result<(&str, u32), String> {
    let (name, number) = text.split_once('=').ok_or("expected ENGINE=N")?;
    match number.parse() {
        Ok(number) if (1..=most).contains(&number) => Ok((name, number)),
        _ => Err(format!("expected 1 to {most}")),
    }
}

/// The last number that one of these has of its own.
fn own<T: PartialEq>(numbers: &[(T, u32)], of: &T) -> Option<u32> {
    let own = numbers.iter().rev().find(|(other, _)| other == of);
    own.map(|(_, number)| *number)
}

/// Measures. Exit status 0 if each defect is found by one engine at least in nine of ten seeds.
pub fn zoo(args: &Args) -> Result<ExitCode, Failure> {
    let subjects = subjects(&args.names)?;
    let engines = match &args.engines[..] {
        [] => vec![Engine::Fuzz, Engine::Run, Engine::Random],
        some => {
            let mut engines = some.to_vec();
            engines.sort();
            engines.dedup();
            engines
        }
    };
    let trials = trials(args, &subjects, &engines);
    let mut store = Store::open(&args.state, args.fresh)?;
    let left: Vec<_> = missing(&trials, &store);
    if !left.is_empty() {
        run(args, &left, trials.len(), &mut store)?;
    }
    let records: Vec<&Record> = trials.iter().filter_map(|t| store.get(t)).collect();
    let names = subjects.iter().map(Subject::name).collect();
    let table = Table::new(names, engines, &records);
    print!("{}", table.text());
    let write = |path: &Option<PathBuf>, text: &dyn Fn() -> String| match path {
        Some(path) => std::fs::write(path, text())
            .map_err(|e| miette!("cannot write {}: {e}", path.display())),
        None => Ok(()),
    };
    write(&args.csv, &|| table::csv(&records))?;
    write(&args.json, &|| table::json(&records))?;
    let command = command(args);
    write(&args.markdown, &|| {
        table.markdown(&seeds(args), args.seconds, &command)
    })?;
    Ok(ExitCode::from(u8::from(!table.missed().is_empty())))
}

/// The defects that names stand for; none: all, and the canary.
fn subjects(names: &[String]) -> Result<Vec<Subject>, Failure> {
    let of = |name: &String| Subject::parse(name).map_err(|e| miette!("{e}"));
    let named: Vec<Subject> = match names {
        [] => {
            let all = shootdown_variants::all().iter();
            all.map(|info| Subject { info, defect: None }).collect()
        }
        some => some.iter().map(of).collect::<Result<_, _>>()?,
    };
    let mut subjects = Vec::new();
    for by in named {
        let defects = by.info.defects.iter();
        let mut of: Vec<Subject> = match by.defect {
            None if by.info.canary => vec![by],
            None => defects
                .map(|defect| Subject {
                    defect: Some(defect),
                    ..by
                })
                .collect(),
            Some(_) => vec![by],
        };
        if of.is_empty() && !names.is_empty() {
            return Err(miette!("{} has no defect", by.name()));
        }
        of.retain(|by| subjects.iter().all(|s: &Subject| s.name() != by.name()));
        subjects.extend(of);
    }
    Ok(subjects)
}

/// Every search, seed by seed: what there is after the first round says something about each
/// defect.
fn trials(args: &Args, subjects: &[Subject], engines: &[Engine]) -> Vec<Trial> {
    let known: Vec<(Subject, u64)> = subjects
        .iter()
        .map(|by| (*by, trial::fingerprint(*by)))
        .collect();
    let mut trials = Vec::new();
    let seeds = |engine: &Engine| own(&args.seeds_of, &Of::Engine(*engine)).unwrap_or(args.seeds);
    for seed in 1..=engines.iter().map(seeds).max().unwrap_or(0) {
        for &(subject, fingerprint) in &known {
            let most = own(&args.seeds_of, &Of::Defect(subject.name())).unwrap_or(u32::MAX);
            let engines = engines
                .iter()
                .filter(|engine| seed <= seeds(engine).min(most));
            trials.extend(engines.map(|&engine| Trial {
                subject,
                fingerprint,
                engine,
                seed,
                seconds: own(&args.limits, &engine).unwrap_or(args.seconds),
            }));
        }
    }
    trials
}

/// Those that have no result yet.
fn missing(trials: &[Trial], store: &Store) -> Vec<Trial> {
    let missing = trials.iter().filter(|trial| store.get(trial).is_none());
    missing.cloned().collect()
}

/// Runs trials, several at a time, and keeps what they come to.
fn run(args: &Args, left: &[Trial], all: usize, store: &mut Store) -> Result<(), Failure> {
    let mut target = None;
    if left.iter().any(|trial| trial.engine == Engine::Fuzz) {
        target = Some(fuzz::build(&fuzz::root()?)?);
    }
    let folder = std::env::temp_dir().join(format!("shootdown-zoo-{}", std::process::id()));
    let jobs = args.jobs.map_or_else(parallel::cores, usize::from);
    let progress = Progress::new(all - left.len(), all);
    let search = |number: usize, trial: &Trial| {
        trial::run(trial, target.as_deref(), &folder.join(number.to_string()))
    };
    let done = parallel::each(left, jobs, search, |_, record| {
        let record = record?;
        progress.done(&record);
        store.put(record)
    });
    progress.bar.finish_and_clear();
    let _ = std::fs::remove_dir_all(&folder); // harmless if it stays
    done
}

/// How many seeds there were, in words.
fn seeds(args: &Args) -> String {
    let plural = if args.seeds == 1 { "" } else { "s" };
    let mut words = format!("{} seed{plural} each", args.seeds);
    let others = args.seeds_of.iter();
    let others = others.map(|(of, seeds)| format!("{} {seeds}", of.name()));
    let others = others.collect::<Vec<_>>().join(", ");
    if !others.is_empty() {
        words += &format!(" ({others})");
    }
    words
}

/// What to type to have the same table again.
fn command(args: &Args) -> String {
    let mut command = String::from("shootdown zoo");
    for name in &args.names {
        command += &format!(" {name}");
    }
    for engine in &args.engines {
        command += &format!(" --engine {}", engine.name());
    }
    command += &format!(" --seeds {} --seconds {}", args.seeds, args.seconds);
    for (of, number) in &args.seeds_of {
        command += &format!(" --seeds-of {}={number}", of.name());
    }
    for (engine, number) in &args.limits {
        command += &format!(" --limit {}={number}", engine.name());
    }
    let file = args.markdown.as_deref().unwrap_or(Path::new("FILE"));
    command + &format!(" --markdown {}", file.display())
}

/// A bar on a terminal, a line for each search elsewhere.
struct Progress {
    bar: ProgressBar,
    all: usize,
}

impl Progress {
    fn new(done: usize, all: usize) -> Progress {
        let bar = if std::io::stderr().is_terminal() {
            ProgressBar::new(all as u64).with_position(done as u64)
        } else {
            ProgressBar::no_length()
        };
        if !std::io::stderr().is_terminal() {
            bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
            bar.set_position(done as u64);
        }
        let style = "{bar:20} {pos} of {len}, {elapsed}, {wide_msg}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Progress { bar, all }
    }

    fn done(&self, record: &Record) {
        self.bar.inc(1);
        let line = said(record);
        if self.bar.is_hidden() {
            eprintln!("{} of {}: {line}", self.bar.position(), self.all);
        } else {
            self.bar.set_message(line);
        }
    }
}

/// What a search came to, in a line.
fn said(record: &Record) -> String {
    let (defect, engine, seed) = (&record.defect, record.engine.name(), record.seed);
    let found = match &record.finding {
        None => "nothing found".to_owned(),
        Some(finding) if finding.explained => finding.rule.clone(),
        Some(finding) => format!("OTHER RULE {}", finding.rule),
    };
    format!(
        "{defect} {engine} seed {seed}: {found}, {} runs, {:.2} CPU s",
        record.executions, record.cpu_seconds
    )
}

#[cfg(test)]
mod tests;
