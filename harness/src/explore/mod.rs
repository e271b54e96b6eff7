// SPDX-License-Identifier: MIT OR Apache-2.0
//! Schedules made while the run goes on, by what the CPUs can do next: random, sticky, PCT, turns.
//! What a scheduler chose is recorded as slots, so that its finding is a scenario like any.

mod hardware;
mod pct;
mod random;
mod record;
mod turns;

pub use pct::Pct;
pub use random::Random;
pub use turns::Turns;

use crate::check::{Found, Subject, check, input, run};
use crate::exec::{Bench, Exec};
use crate::fixed::Fixed;
use crate::scenario::{MAX_SLOTS, Scenario, Slot, Stop, generate};
use fastrand::Rng;
use record::Record;

/// Steps in a row after which a CPU is taken to spin, waiting for another. A fault that comes back
/// for ever is taken for one after some 200.
const PATIENCE: u32 = 400;

/// Chooses who acts next.
pub trait Scheduler {
    /// The next slot; `None`: let the run go on to its end.
    fn next(&mut self, exec: &mut dyn Exec) -> Option<Slot>;
}

/// The ways to schedule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Strategy {
    /// Any CPU that can, with equal probability, at every step.
    Random,
    /// Stays on a CPU with a probability of three in four.
    Sticky,
    /// Probabilistic concurrency testing: fixed priorities, lowered at a few random steps
    /// (Burckhardt et al., ASPLOS 2010).
    Pct,
    /// Turns that end with an operation, or before a step that others can see.
    Turns,
    /// Schedules drawn before the run, in bursts, as the fuzz target's generator does.
    Bursts,
}

impl Strategy {
    /// Every strategy.
    pub const ALL: [Strategy; 5] = [
        Strategy::Random,
        Strategy::Sticky,
        Strategy::Pct,
        Strategy::Turns,
        Strategy::Bursts,
    ];

    fn scheduler(self, rng: &mut Rng, scenario: &Scenario) -> Option<Box<dyn Scheduler>> {
        Some(match self {
            Strategy::Random => Box::new(Random::new(rng, scenario, 0.0)),
            Strategy::Sticky => Box::new(Random::new(rng, scenario, 0.75)),
            Strategy::Pct => Box::new(Pct::new(rng, scenario)),
            Strategy::Turns => Box::new(Turns::new(rng, scenario)),
            Strategy::Bursts => return None,
        })
    }
}

/// One step of a CPU.
pub(crate) fn one_step(cpu: u8) -> Slot {
    Slot::Run {
        cpu,
        stop: Stop::Steps(1),
    }
}

/// Scenario after scenario by `strategy`, or by each in turn, until one breaks a rule. `after`
/// is told how many steps a scenario took; it says whether to go on.
pub fn search(
    bench: &mut Bench,
    subjects: &[Subject],
    strategy: Option<Strategy>,
    fixed: Fixed,
    rng: &mut Rng,
    mut after: impl FnMut(u64) -> bool,
) -> Option<(Scenario, Found)> {
    let mut run = 0;
    loop {
        let strategy = strategy.unwrap_or(Strategy::ALL[run % Strategy::ALL.len()]);
        let (scenario, found, steps) = try_one(bench, subjects, strategy, run, fixed, rng);
        let go_on = after(steps);
        if let Some(found) = found {
            return Some((scenario, found));
        }
        if !go_on {
            return None;
        }
        run += 1;
    }
}

/// The numbers that thread `job` of a search with this seed draws.
pub fn rng(seed: u64, job: u64) -> Rng {
    Rng::with_seed(seed.wrapping_mul(1 << 20).wrapping_add(job))
}

/// Gives the programs of a scenario a schedule that is made on the way, by what the CPUs of
/// `driver` can do next. The bench holds that run, whose steps are returned; `None`: `strategy`
/// needs no run, and the schedule stays.
pub fn schedule(
    bench: &mut Bench,
    driver: Subject,
    scenario: &mut Scenario,
    strategy: Strategy,
    rng: &mut Rng,
) -> Option<u64> {
    let mut scheduler = strategy.scheduler(rng, scenario)?;
    let mut record = Record::new(core::mem::take(&mut scenario.schedule));
    run(bench, driver, input(scenario), |exec| {
        while record.schedule.len() < MAX_SLOTS
            && let Some(slot) = scheduler.next(exec)
        {
            let go_on = exec.apply(&slot);
            record.add(slot, exec);
            if !go_on {
                break;
            }
        }
    });
    record.close();
    scenario.schedule = record.schedule;
    Some(bench.machine.state().cost.steps)
}

/// One scenario, its schedule made on the way by one variant's run and then given to the
/// others. What was found, with its scenario, and how many steps it took; `driver` says whose
/// run it is.
pub fn try_one(
    bench: &mut Bench,
    subjects: &[Subject],
    strategy: Strategy,
    driver: usize,
    fixed: Fixed,
    rng: &mut Rng,
) -> (Scenario, Option<Found>, u64) {
    let by = subjects[driver % subjects.len()];
    let mut scenario = generate(rng, Subject::ops(subjects));
    fixed.apply(&mut scenario);
    let driven = schedule(bench, by, &mut scenario, strategy, rng);
    let mut steps = 0;
    if let Some(driven) = driven {
        steps += driven;
        let finding = bench.oracle.finding.clone();
        let found = finding.map(|finding| Found { by, finding });
        if found.is_some() || subjects.len() == 1 {
            return (scenario, found, steps);
        }
    }
    let outcome = check(bench, &scenario, subjects);
    steps += outcome.results.iter().map(|r| r.cost.steps).sum::<u64>();
    (scenario, outcome.found, steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is recorded, turns to the end of operations among it, is what was done.
    #[test]
    fn a_schedule_replays() {
        let mut bench = Bench::default();
        let mut rng = rng(5, 0);
        let (mut findings, mut ends) = (0, 0);
        for subject in ["canary", "x86-tlbgen/B-34", "riscv-ipi", "kvm-s2/B-18"] {
            let subject = Subject::parse(subject).unwrap();
            for strategy in Strategy::ALL {
                for _ in 0..60 {
                    let mut scenario = generate(&mut rng, Subject::ops(&[subject]));
                    schedule(&mut bench, subject, &mut scenario, strategy, &mut rng);
                    let first = bench.oracle.finding.take();
                    let again = check(&mut bench, &scenario, &[subject]).found;
                    if strategy != Strategy::Bursts {
                        let first = first.map(|f| (f.rule.name, f.step));
                        let again = again.map(|f| (f.finding.rule.name, f.finding.step));
                        assert_eq!(first, again, "{scenario}");
                        findings += u32::from(first.is_some());
                    }
                    let until = |slot: &&Slot| {
                        matches!(
                            slot,
                            Slot::Run {
                                stop: Stop::Until { .. },
                                ..
                            }
                        )
                    };
                    ends += scenario.schedule.iter().filter(until).count();
                }
            }
        }
        assert!(findings > 50 && ends > 500, "{findings} {ends}");
    }
}
