// SPDX-License-Identifier: MIT OR Apache-2.0
//! Schedules made while the run goes on, by what the CPUs can do next: random, sticky, PCT, turns,
//! races. What a scheduler chose is recorded as slots, so that its finding is a scenario like any.

mod conflicts;
mod hardware;
mod pct;
mod priorities;
mod prologue;
mod races;
mod random;
mod rarity;
mod record;
mod turns;
mod unfinished;

pub use conflicts::Conflicts;
pub use pct::Pct;
pub use races::Races;
pub use random::Random;
pub use turns::Turns;

use crate::check::{Found, Subject, check_ignoring, input, run};
use crate::exec::{Bench, Exec, Input};
use crate::fixed::Fixed;
use crate::scenario::{MAX_SLOTS, Scenario, Slot, Stop, generate, reschedule, weighted};
use fastrand::Rng;
use rarity::{Meetings, Rarity};
use record::Record;
use shootdown_machine::{Announced, OpSet, Sabotage};

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
    /// PCT whose changes are at steps that race, as earlier runs of the same programs show.
    Races,
    /// Schedules drawn before the run, in bursts, as the fuzz target's generator does.
    Bursts,
}

impl Strategy {
    /// Every strategy.
    pub const ALL: [Strategy; 6] = [
        Strategy::Random,
        Strategy::Sticky,
        Strategy::Pct,
        Strategy::Turns,
        Strategy::Races,
        Strategy::Bursts,
    ];

    fn scheduler(
        self,
        rng: &mut Rng,
        scenario: &Scenario,
        conflicts: &Conflicts,
    ) -> Option<Box<dyn Scheduler>> {
        Some(match self {
            Strategy::Random => Box::new(Random::new(rng, scenario, 0.0)),
            Strategy::Sticky => Box::new(Random::new(rng, scenario, 0.75)),
            Strategy::Pct => Box::new(Pct::new(rng, scenario)),
            Strategy::Turns => Box::new(Turns::new(rng, scenario)),
            Strategy::Races => Box::new(Races::new(rng, scenario, conflicts)),
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

/// Schedules that all programs get, one after the other. What their first runs show helps the
/// later ones; a bug that any schedule shows needs many programs, though.
const SCHEDULES: usize = 3;

/// Schedules that programs get beside these whose CPUs meet as few others' do.
const MORE: usize = 20;

/// How often each strategy's turn is, where none is asked for.
const WEIGHTS: [u32; Strategy::ALL.len()] = [1, 3, 4, 2, 12, 2];

/// The same once much is known of the programs.
const LATER: [u32; Strategy::ALL.len()] = [0, 1, 3, 2, 12, 0];

/// Scenario after scenario, by one strategy or by all: programs, and several schedules for each.
pub struct Search<'a> {
    subjects: &'a [Subject],
    /// The kinds of operation that they have.
    ops: OpSet,
    strategy: Option<Strategy>,
    fixed: Fixed,
    rng: Rng,
    /// What is tried.
    scenario: Scenario,
    /// Which steps of its programs race, as their runs show.
    conflicts: Conflicts,
    /// Where their CPUs meet.
    meetings: Meetings,
    /// By subject: what was seen of all programs that it drove.
    rarity: Vec<Rarity>,
    /// The subject that drives these.
    driver: usize,
    /// Schedules that they have had.
    had: usize,
    /// Schedules that they get.
    gets: usize,
    /// What the machine ignores.
    sabotage: Option<Sabotage>,
}

impl<'a> Search<'a> {
    /// One that tries these, under machines that are fixed so. `None`: by all strategies.
    pub fn new(
        subjects: &'a [Subject],
        strategy: Option<Strategy>,
        fixed: Fixed,
        rng: Rng,
    ) -> Search<'a> {
        Search {
            ops: Subject::ops(subjects),
            subjects,
            strategy,
            fixed,
            rng,
            scenario: Scenario::default(),
            conflicts: Conflicts::default(),
            meetings: Meetings::default(),
            rarity: vec![Rarity::default(); subjects.len()],
            driver: 0,
            had: 0,
            gets: 0,
            sabotage: None,
        }
    }

    /// The same, on a machine that ignores some maintenance.
    pub fn ignoring(self, sabotage: Sabotage) -> Search<'a> {
        Search {
            sabotage: Some(sabotage),
            ..self
        }
    }

    /// The next scenario: its schedule is made on the way by one variant's run, and then given to
    /// the others. What was found, and how many steps it took.
    pub fn next(&mut self, bench: &mut Bench) -> (Option<Found>, u64) {
        if self.had == SCHEDULES && self.is_rare() {
            self.gets += MORE;
        }
        if self.had == self.gets {
            self.begin();
        }
        let (schedule_number, by) = (self.had, self.subjects[self.driver]);
        self.had += 1;
        let weights = match schedule_number {
            0..SCHEDULES => &WEIGHTS,
            _ => &LATER,
        };
        let any = |rng: &mut Rng| Strategy::ALL[weighted(rng, weights)];
        let strategy = self.strategy.unwrap_or_else(|| any(&mut self.rng));
        if strategy == Strategy::Bursts && schedule_number > 0 {
            reschedule(&mut self.rng, &mut self.scenario, self.ops);
        }
        let (scenario, rng) = (&mut self.scenario, &mut self.rng);
        self.conflicts.begin();
        self.meetings.begin();
        let scheduler = strategy.scheduler(rng, scenario, &self.conflicts);
        let sabotage = self.sabotage;
        let driven = scheduler.map(|scheduler| {
            drive(bench, by, scenario, sabotage, scheduler, |cpu, next| {
                self.conflicts.saw(cpu, next);
                if let Some(next) = next {
                    self.meetings.saw(cpu, next);
                }
            })
        });
        let mut steps = 0;
        if let Some(driven) = driven {
            steps += driven;
            let finding = bench.oracle.finding.clone();
            let found = finding.map(|finding| Found { by, finding });
            if found.is_some() || self.subjects.len() == 1 {
                return (found, steps);
            }
        }
        let outcome = check_ignoring(bench, scenario, self.subjects, sabotage);
        steps += outcome.results.iter().map(|r| r.cost.steps).sum::<u64>();
        (outcome.found, steps)
    }

    /// Other programs, and the next to drive them.
    fn begin(&mut self) {
        self.driver = (self.driver + 1) % self.subjects.len();
        (self.had, self.gets) = (0, SCHEDULES);
        self.scenario = generate(&mut self.rng, self.ops);
        self.fixed.apply(&mut self.scenario);
        self.conflicts.clear();
        self.meetings.clear();
    }

    /// Whether the programs are worth more schedules, by a strategy that learns from runs.
    fn is_rare(&mut self) -> bool {
        let learns = matches!(self.strategy, None | Some(Strategy::Races));
        learns && self.rarity[self.driver].is_rare(&mut self.meetings)
    }

    /// What was tried last.
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// Goes on until a rule is broken. `after` is told how many steps a scenario took; it says
    /// whether to go on.
    pub fn run(
        mut self,
        bench: &mut Bench,
        mut after: impl FnMut(u64) -> bool,
    ) -> Option<(Scenario, Found)> {
        loop {
            let (found, steps) = self.next(bench);
            let go_on = after(steps);
            if let Some(found) = found {
                return Some((self.scenario, found));
            }
            if !go_on {
                return None;
            }
        }
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
    conflicts: &mut Conflicts,
    rng: &mut Rng,
) -> Option<u64> {
    conflicts.begin();
    let scheduler = strategy.scheduler(rng, scenario, conflicts)?;
    let saw = |cpu, next| conflicts.saw(cpu, next);
    Some(drive(bench, driver, scenario, None, scheduler, saw))
}

/// Gives the programs of a scenario the schedule that this one makes, and tells what the CPUs do.
fn drive(
    bench: &mut Bench,
    driver: Subject,
    scenario: &mut Scenario,
    sabotage: Option<Sabotage>,
    mut scheduler: Box<dyn Scheduler>,
    mut saw: impl FnMut(u8, Option<Announced>),
) -> u64 {
    let mut record = Record::new(core::mem::take(&mut scenario.schedule));
    let input = Input {
        sabotage,
        ..input(scenario)
    };
    run(bench, driver, input, |exec| {
        while record.schedule.len() < MAX_SLOTS
            && let Some(slot) = scheduler.next(exec)
        {
            if let Slot::Run { cpu, .. } = slot {
                saw(cpu, exec.next(cpu));
            }
            let go_on = exec.apply(&slot);
            record.add(slot, exec);
            if !go_on {
                break;
            }
        }
    });
    record.close();
    scenario.schedule = record.schedule;
    bench.machine.state().cost.steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::check;

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
                    let mut conflicts = Conflicts::default();
                    let mut drive = |bench: &mut Bench, by| {
                        schedule(bench, subject, &mut scenario, by, &mut conflicts, &mut rng)
                    };
                    if strategy == Strategy::Races {
                        drive(&mut bench, Strategy::Sticky);
                    }
                    drive(&mut bench, strategy);
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

    /// How often programs came in a row.
    fn schedules(strategy: Option<Strategy>) -> Vec<usize> {
        let subjects = [Subject::parse("arm64-asid").unwrap()];
        let mut search = Search::new(&subjects, strategy, Fixed::default(), rng(7, 0));
        let mut bench = Bench::default();
        let mut programs = Vec::new();
        for _ in 0..3000 {
            search.next(&mut bench);
            programs.push(search.scenario().programs.clone());
        }
        let each = programs.chunk_by(|one, other| one == other).map(<[_]>::len);
        each.collect()
    }

    #[test]
    fn rare_programs_get_more_schedules() {
        let each = schedules(None);
        let more = each.iter().filter(|n| **n > 2 * SCHEDULES).count();
        assert!(more > 10 && more * 5 < each.len(), "{each:?}");
        // Uniform random scheduling is what the others are measured by: it learns nothing.
        let each = schedules(Some(Strategy::Random));
        assert!(each.iter().all(|n| *n <= 2 * SCHEDULES), "{each:?}");
    }

    /// How many of so many schedules for the programs of this scenario, of one defect, show it.
    fn hits(file: &[u8], strategy: Strategy, learns: bool, runs: u32) -> usize {
        let file = crate::scenario::parse(file).unwrap();
        let [subject] = Subject::of(&file).unwrap()[..] else {
            panic!("{file}");
        };
        let mut bench = Bench::default();
        let (mut rng, mut conflicts) = (rng(3, 0), Conflicts::default());
        let broken = |_: &u32| {
            if !learns {
                conflicts.clear();
            }
            let mut s = file.clone();
            schedule(
                &mut bench,
                subject,
                &mut s,
                strategy,
                &mut conflicts,
                &mut rng,
            );
            bench.oracle.finding.is_some()
        };
        (0..runs).filter(broken).count()
    }

    /// What earlier runs of the programs show is worth something: beside PCT, and beside itself
    /// without it.
    #[test]
    fn races_find_what_others_hardly_do() {
        let file = include_bytes!("../../../corpus/mm-arm64-B-31.scenario");
        let found = |strategy, learns| hits(file, strategy, learns, 3000);
        let races = found(Strategy::Races, true);
        let others = [
            found(Strategy::Races, false),
            found(Strategy::Pct, true),
            found(Strategy::Sticky, true),
        ];
        assert!(
            others.iter().all(|other| races > 2 * other),
            "{races} {others:?}"
        );
    }

    /// Of three CPUs, one stops in the middle of something, and another where it has met that:
    /// 90 of 20,000 schedules show this one, and 25 without such stops.
    #[test]
    fn races_find_what_needs_two_of_three_cpus_to_stop() {
        let file = include_bytes!("../../../corpus/mm-arm64-B-32.scenario");
        let found = hits(file, Strategy::Races, true, 8000);
        assert!(found > 20, "{found}");
    }
}
