// SPDX-License-Identifier: MIT OR Apache-2.0
//! One search for one defect: an engine, a seed, a budget.

use super::super::{Failure, fuzz};
use super::store::{Finding, Record};
use crate::check::{Found, Subject, check};
use crate::exec::Bench;
use crate::explore::{self, Search, Strategy};
use crate::findings::hash;
use crate::fixed::Fixed;
use crate::minimize::minimize;
use crate::scenario::{Scenario, parse};
use miette::miette;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Instant;

/// A way to search.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, clap::ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// libFuzzer, as `fuzz --from-scratch --jobs 1`.
    Fuzz,
    /// `run`, by all strategies.
    Run,
    /// `run --strategy bursts`.
    Bursts,
    /// `run --strategy pct`.
    Pct,
    /// `run --strategy races`.
    Races,
    /// `run --strategy turns`.
    Turns,
    /// `run --strategy sticky`.
    Sticky,
    /// `run --strategy random`.
    Random,
}

impl Engine {
    /// Its name, as an option gives it.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Fuzz => "fuzz",
            Engine::Run => "run",
            Engine::Bursts => "bursts",
            Engine::Pct => "pct",
            Engine::Races => "races",
            Engine::Turns => "turns",
            Engine::Sticky => "sticky",
            Engine::Random => "random",
        }
    }

    /// The strategy of its `run`, unless that is every one, or it is no `run`.
    fn strategy(self) -> Option<Strategy> {
        match self {
            Engine::Fuzz | Engine::Run => None,
            Engine::Bursts => Some(Strategy::Bursts),
            Engine::Pct => Some(Strategy::Pct),
            Engine::Races => Some(Strategy::Races),
            Engine::Turns => Some(Strategy::Turns),
            Engine::Sticky => Some(Strategy::Sticky),
            Engine::Random => Some(Strategy::Random),
        }
    }
}

/// What is to be measured.
#[derive(Clone)]
pub struct Trial {
    /// A variant with a defect, or the canary.
    pub subject: Subject,
    /// What [`fingerprint`] says of it.
    pub fingerprint: u64,
    /// How to search.
    pub engine: Engine,
    /// Seed of the search.
    pub seed: u32,
    /// CPU seconds after which it is given up.
    pub seconds: u32,
}

/// Scenarios that a fingerprint is made of. They take some twentieth of a second.
const SAMPLES: usize = 800;

/// What a search for this defect depends on, in short: the generator and the strategies, the
/// machine, the port and the rules, by what they come to on a few hundred scenarios, and the
/// version of this crate. Figures of another fingerprint are out of date; a comment or a
/// variant more changes nothing. That it stays the same is no proof: a change that only a rare
/// scenario shows, or one of libFuzzer's settings, asks for `--fresh`.
pub fn fingerprint(subject: Subject) -> u64 {
    let mut bench = Bench::default();
    let (subjects, fixed) = ([subject], Fixed::needed(subject));
    let mut search = Search::new(&subjects, None, fixed, explore::rng(0, 0));
    let mut text = format!("{} {}\n", env!("CARGO_PKG_VERSION"), subject.name());
    for _ in 0..SAMPLES {
        let (found, steps) = search.next(&mut bench);
        let rule = found.map(|found| (found.finding.rule.name, found.finding.step));
        text += &format!("{}{steps} {rule:?}\n", search.scenario());
    }
    hash(text.bytes())
}

/// Searches. `target` is the instrumented target, `folder` the trial's own.
pub fn run(trial: &Trial, target: Option<&Path>, folder: &Path) -> Result<Record, Failure> {
    let (executions, cpu, found) = match (trial.engine, target) {
        (Engine::Fuzz, Some(target)) => {
            let seconds = trial.seconds.into();
            let solo = fuzz::solo(target, folder, trial.subject, trial.seed, seconds)?;
            (solo.executions, solo.cpu, solo.found)
        }
        (Engine::Fuzz, None) => return Err(miette!("there is no instrumented target")),
        _ => explore(trial),
    };
    let finding = found
        .map(|(scenario, found)| small(trial.subject, &scenario, &found))
        .transpose()?;
    Ok(Record {
        defect: trial.subject.name(),
        engine: trial.engine,
        seed: trial.seed,
        seconds: trial.seconds,
        fingerprint: format!("{:016x}", trial.fingerprint),
        executions,
        cpu_seconds: cpu,
        finding,
    })
}

/// Searches in this thread.
fn explore(trial: &Trial) -> (u64, f64, Option<(Scenario, Found)>) {
    /// Scenarios between two looks at the clock.
    const UNWATCHED: u64 = 32;
    let mut bench = Bench::default();
    let rng = explore::rng(trial.seed.into(), 0);
    let clock = Clock::start();
    let mut runs: u64 = 0;
    let after = |_| {
        runs += 1;
        !runs.is_multiple_of(UNWATCHED) || clock.seconds() < trial.seconds.into()
    };
    let (strategy, fixed) = (trial.engine.strategy(), Fixed::needed(trial.subject));
    let subjects = [trial.subject];
    let search = Search::new(&subjects, strategy, fixed, rng);
    let found = search.run(&mut bench, after);
    (runs, clock.seconds(), found)
}

/// Minimizes a finding, and sees that the text of what is left breaks the same rule.
fn small(subject: Subject, scenario: &Scenario, found: &Found) -> Result<Finding, Failure> {
    let mut bench = Bench::default();
    let alone = subject.alone(scenario, None);
    let rule = found.finding.rule.name;
    let broken = |what: &str| {
        miette!(
            "this is an error of Shootdown: {rule}, broken by {}, {what}\n\n{alone}",
            subject.name()
        )
    };
    let least = minimize(&mut bench, &alone).map_err(|e| miette!("{e}"))?;
    let least = least.ok_or_else(|| broken("does not replay"))?.scenario;
    let text = least.to_string();
    let again = parse(text.as_bytes()).map_err(|e| miette!("{e}\n\n{text}"))?;
    let again = check(&mut bench, &again, &[subject]).found;
    if again.is_none_or(|again| again.expect() != found.expect()) {
        return Err(broken("is another finding once minimized"));
    }
    // Whatever the canary breaks, it is there to break something.
    let explained = subject.defect.is_none_or(|defect| defect.explains(rule));
    Ok(Finding {
        rule: rule.to_owned(),
        explained,
        operations: least.programs.iter().flatten().count(),
        slots: least.schedule.len(),
        scenario: text,
    })
}

/// CPU time of a thread.
struct Clock {
    wall: Instant,
    cpu: Option<f64>,
}

impl Clock {
    fn start() -> Clock {
        Clock {
            wall: Instant::now(),
            cpu: thread_seconds(),
        }
    }

    /// CPU time since the start, of the thread that asks; where the system does not tell, the
    /// time.
    fn seconds(&self) -> f64 {
        match (self.cpu, thread_seconds()) {
            (Some(start), Some(now)) => now - start,
            _ => self.wall.elapsed().as_secs_f64(),
        }
    }
}

/// CPU time of this thread so far, where there is a /proc to look into.
fn thread_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds: u64 = text.split_ascii_whitespace().next()?.parse().ok()?;
    Some(nanoseconds as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_the_same_again_and_another_for_each_defect() {
        let of = |name| fingerprint(Subject::parse(name).unwrap());
        assert_eq!(of("canary"), of("canary"));
        assert_ne!(of("arm64-asid/B-4"), of("arm64-asid/B-1"));
    }

    #[test]
    fn a_search_finds_the_canary_and_the_same_again() {
        let trial = Trial {
            subject: Subject::parse("canary").unwrap(),
            fingerprint: 7,
            engine: Engine::Run,
            seed: 3,
            seconds: 60,
        };
        let one = || run(&trial, None, Path::new("")).unwrap();
        let (first, second) = (one(), one());
        let finding = first.finding.clone().unwrap();
        assert!(finding.explained && finding.operations > 0);
        assert!(parse(finding.scenario.as_bytes()).is_ok());
        assert_eq!(second.finding, Some(finding));
        assert_eq!(second.executions, first.executions);
    }
}
