// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several libFuzzer processes on one corpus, until time is up or something is found.

use super::finding::{read, save_finding};
use super::job::{End, Job, Plan, Said};
use super::progress::Progress;
use super::stats::Stats;
use super::summary::Summary;
use super::{Args, Failure, at};
use crate::breach;
use crate::check::Subject;
use crate::exec::Bench;
use crate::findings::Saved;
use miette::miette;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// A campaign under way.
struct Campaign<'a> {
    args: &'a Args,
    subjects: &'a [Subject],
    plan: Plan<'a>,
    /// Those that run; `None` has ended.
    jobs: Vec<Option<Job>>,
    to: Sender<(usize, Said)>,
    next_seed: u32,
    /// Figures of the processes that have ended.
    summary: Summary,
    progress: Progress,
    bench: Bench,
    findings: Vec<Saved>,
    /// All of them, those that were found before included.
    found: usize,
}

/// Fuzzes.
pub fn run(
    args: &Args,
    subjects: &[Subject],
    root: &Path,
    target: &Path,
) -> Result<ExitCode, Failure> {
    let shown = if args.variants.is_empty() {
        "differential".into()
    } else {
        names(subjects, "+")
    };
    let folder = root.join("target/shootdown");
    let fixed = args.machine.fixed();
    // Inputs for one machine say little about another.
    let own = || {
        let mut name = vec![shown.replace('/', "-")];
        name.extend(fixed.words().into_iter().map(String::from));
        folder.join("corpus").join(name.join("-"))
    };
    let mut corpora = vec![args.corpus.clone().unwrap_or_else(own)];
    std::fs::create_dir_all(&corpora[0]).map_err(|e| at(&corpora[0], "make", &e))?;
    corpora.extend(Some(root.join("corpus")).filter(|dir| !args.from_scratch && dir.is_dir()));
    let variants = names(subjects, " ");
    let artifacts = folder.join(format!("artifacts/{}", std::process::id()));
    let seed = args
        .seed
        .unwrap_or_else(|| fastrand::u32(1..=i32::MAX as u32));
    let (to, from) = channel();
    let plan = Plan {
        target,
        variants: &variants,
        fixed,
        corpora: &corpora,
        artifacts: &artifacts,
        known: String::new(),
        more: &args.libfuzzer,
    };
    let mut campaign = Campaign {
        args,
        subjects,
        plan,
        jobs: Vec::new(),
        to,
        next_seed: seed,
        summary: Summary {
            seed,
            ..Summary::default()
        },
        progress: Progress::new(args.verbose),
        bench: Bench::default(),
        findings: Vec::new(),
        found: 0,
    };
    eprintln!(
        "fuzzing {}, seed {seed}, corpus {}",
        [&[variants.as_str()], &fixed.words()[..]]
            .concat()
            .join(" "),
        corpora[0].display()
    );
    let done = campaign.go(&from);
    campaign.stop(&from);
    campaign.progress.end();
    let _ = std::fs::remove_dir(&artifacts); // unless something is kept there
    campaign.summary.seconds = campaign.progress.elapsed().as_secs_f64();
    println!("{}", campaign.summary.line());
    if campaign.found == 0 && done.is_ok() {
        println!("no rule is broken");
    }
    if let Some(path) = &args.json {
        campaign
            .summary
            .write_json(path, campaign.findings.first())?;
    }
    done?;
    Ok(ExitCode::from(u8::from(campaign.found > 0)))
}

fn names(subjects: &[Subject], by: &str) -> String {
    subjects
        .iter()
        .map(Subject::name)
        .collect::<Vec<_>>()
        .join(by)
}

impl Campaign<'_> {
    fn go(&mut self, from: &Receiver<(usize, Said)>) -> Result<(), Failure> {
        let cores = crate::cli::parallel::cores;
        for _ in 0..self.args.jobs.map_or_else(cores, usize::from) {
            self.jobs.push(None);
            self.start(self.jobs.len() - 1)?;
        }
        while self.jobs.iter().any(Option::is_some) {
            match from.recv_timeout(Duration::from_millis(200)) {
                Ok((number, Said::Line(line))) => self.said(number, line),
                Ok((number, Said::End)) => {
                    self.ended(number)?;
                    if self.found > 0 && !self.args.keep_going {
                        return Ok(());
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            self.progress.show(&self.stats(), self.found);
        }
        Ok(())
    }

    /// Starts a process in a place, unless time is up.
    fn start(&mut self, number: usize) -> Result<(), Failure> {
        let spent = self.progress.elapsed().as_secs();
        let left = self.args.seconds.map(|all| all.saturating_sub(spent));
        if left == Some(0) {
            return Ok(());
        }
        let seed = self.next_seed;
        // Seed 0 is libFuzzer's word for a random one.
        self.next_seed = self.next_seed.wrapping_add(1).max(1);
        let job = Job::start(&self.plan, number, seed, left, self.to.clone())?;
        self.jobs[number] = Some(job);
        Ok(())
    }

    fn said(&mut self, number: usize, line: String) {
        if self.args.verbose {
            eprintln!("{line}");
        }
        if let Some(job) = &mut self.jobs[number] {
            job.said(line);
        }
    }

    /// The figures of all processes. Coverage is that of the best: they share a corpus.
    fn stats(&self) -> Stats {
        let mut all = Stats {
            executions: self.summary.executions,
            ..Stats::default()
        };
        for stats in self.jobs.iter().flatten().map(|job| job.stats) {
            all.executions += stats.executions;
            all.coverage = all.coverage.max(stats.coverage);
            all.features = all.features.max(stats.features);
            all.corpus = all.corpus.max(stats.corpus);
        }
        all
    }

    /// Takes a process out of the campaign.
    fn take(&mut self, number: usize) -> Option<(Job, End)> {
        let mut job = self.jobs[number].take()?;
        let end = job.wait();
        self.summary.executions += job.stats.executions;
        self.summary.cpu += end.cpu;
        Some((job, end))
    }

    /// A process has ended by itself.
    fn ended(&mut self, number: usize) -> Result<(), Failure> {
        let Some((job, end)) = self.take(number) else {
            return Ok(());
        };
        match (&job.line, &end.artifact) {
            (Some(line), Some(artifact)) => {
                let bytes = std::fs::read(artifact).map_err(|e| at(artifact, "read", &e))?;
                let Some((scenario, found)) =
                    read(&mut self.bench, &bytes, self.subjects, self.plan.fixed)
                else {
                    return Err(miette!(
                        help = "was this `shootdown` built from another state of the checkout?",
                        "{line}\ndoes not happen in this process; the input is in {}",
                        artifact.display()
                    ));
                };
                self.found += 1;
                let expect = found.expect();
                let known = |s: &Saved| s.minimized.found.expect() == expect;
                if !self.findings.iter().any(known) {
                    let saved =
                        save_finding(&mut self.bench, &scenario, &found, &self.args.findings)?;
                    if self.findings.is_empty() {
                        self.summary.seed = job.seed;
                    }
                    self.tell(&saved);
                    // Whoever starts from now on looks for something else.
                    self.plan.known.push(' ');
                    self.plan
                        .known
                        .push_str(&breach::known(&saved.minimized.found));
                    self.findings.push(saved);
                }
                remove(artifact);
                if self.args.keep_going {
                    self.start(number)
                } else {
                    Ok(())
                }
            }
            (None, None) if end.status.is_some_and(|s| s.success()) => Ok(()),
            _ => Err(broken(&job, &end)),
        }
    }

    fn tell(&self, saved: &Saved) {
        let path = saved.path.display();
        self.progress.aside(|| {
            println!(
                "\n{}\nwritten to {path}; see it again with\n    shootdown replay {path}\n",
                saved.report
            );
        });
    }

    /// Ends what still runs.
    fn stop(&mut self, from: &Receiver<(usize, Said)>) {
        for job in self.jobs.iter_mut().flatten() {
            job.kill();
        }
        // What they said to the end has the last counts.
        while self.jobs.iter().any(Option::is_some) {
            match from.recv_timeout(Duration::from_secs(2)) {
                Ok((number, Said::Line(line))) => {
                    if let Some(job) = &mut self.jobs[number] {
                        job.said(line);
                    }
                }
                Ok((number, Said::End)) => drop(self.take(number)),
                Err(_) => return,
            }
        }
    }
}

/// Removes an artifact and its folder: what it said is in a file of its own now.
fn remove(artifact: &Path) {
    let _ = std::fs::remove_file(artifact); // nobody will miss it, nor mind it
    if let Some(folder) = artifact.parent() {
        let _ = std::fs::remove_dir(folder);
    }
}

/// A process that ended otherwise than with a finding or in time.
pub(super) fn broken(job: &Job, end: &End) -> Failure {
    let tail: Vec<_> = job.tail.iter().map(String::as_str).collect();
    let status = end
        .status
        .map_or("an unknown status".to_owned(), |s| s.to_string());
    let kept = |path: &PathBuf| format!("the input is kept in {}", path.display());
    let kept = end
        .artifact
        .as_ref()
        .map_or("there is no input that it ended on".to_owned(), kept);
    miette!(
        help = kept,
        "this is an error of Shootdown: the fuzz target (seed {}) ended with {status}\n{}",
        job.seed,
        tail.join("\n")
    )
}
