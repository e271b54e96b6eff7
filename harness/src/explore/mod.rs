// SPDX-License-Identifier: MIT OR Apache-2.0
//! Schedules made while the run goes on, by what the CPUs can do next: random, sticky, PCT.
//! What a scheduler chose is recorded as slots, so that its finding is a scenario like any.

mod pct;
mod random;
mod turns;

pub use pct::Pct;
pub use random::Random;
pub use turns::Turns;

use crate::check::{Found, Subject, check, input, run};
use crate::exec::{Bench, DONE, Exec};
use crate::fixed::Fixed;
use crate::scenario::{MAX_SLOTS, MAX_STEPS, Scenario, Slot, Stop, Word, any, generate, stale};
use fastrand::Rng;
use shootdown_machine::{Act, Machine, Memory, PAGE, PAGES, Pick, Va};

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

/// What hardware does at random between the steps of CPUs.
struct Hardware {
    rng: Rng,
    cpus: u8,
    /// Probability of any act of hardware before a CPU's step.
    rate: f64,
    /// Probability that an IPI on its way arrives before a CPU's step.
    arrival: f64,
    /// Probability that a host takes a virtual CPU away, or gives it back.
    preemption: f64,
    hot: [Va; 2],
    memory: Memory,
    /// What is to come before anything else: which of several entries a CPU's lookups take.
    opening: Vec<Slot>,
    /// Probability that a walker starts right after a TLBI, a DSB or a change of a descriptor, or where
    /// another CPU takes over. Most windows are about one: what was removed comes back, or what is
    /// new meets what is left.
    eager: f64,
    /// The access that each CPU is about to make: a walker may have been there before it.
    access: [Option<Va>; 4],
    /// Hand-overs that the scheduler has told of.
    windows: u64,
    /// TLBIs, DSBs, changes of descriptors and hand-overs so far.
    seen: u64,
}

/// An address that a program of the scenario is about.
fn some_va(rng: &mut Rng, scenario: &Scenario) -> Option<Va> {
    let ops = || scenario.programs.iter().flatten();
    let vas = || ops().filter_map(|op| op.va());
    vas().nth(rng.usize(..vas().count().max(1)))
}

impl Hardware {
    fn new(rng: &mut Rng, scenario: &Scenario) -> Hardware {
        let machine = &scenario.machine;
        let rate = any(rng, &[0.0, 0.02, 0.1, 0.3]);
        let arrival = any(rng, &[0.02, 0.1, 0.5]);
        let preemption = any(rng, &[0.005, 0.03, 0.1]);
        let hot = core::array::from_fn(|_| some_va(rng, scenario).unwrap_or(0));
        let pick = any(rng, Pick::ALL);
        let resolve = |cpu| Slot::Resolve { cpu, pick };
        Hardware {
            opening: match rng.bool() {
                true => (0..machine.cpus).map(resolve).collect(),
                false => Vec::new(),
            },
            eager: any(rng, &[0.0, 0.2, 0.6]),
            access: [None; 4],
            windows: 0,
            seen: 0,
            rng: rng.fork(),
            cpus: machine.cpus,
            rate,
            arrival,
            preemption,
            hot,
            memory: machine.memory,
        }
    }

    /// Whether there was a TLBI, a DSB, a change of a descriptor or a hand-over since the last look.
    fn opens_window(&mut self, machine: &Machine) -> bool {
        let state = machine.state();
        let (cost, changes) = (&state.cost, u64::from(state.pte_changes));
        let now = self.windows + cost.tlbis() + cost.dsb + changes;
        core::mem::replace(&mut self.seen, now) != now
    }

    /// A CPU that has come to an access since the last look, and the address.
    fn accesses(&mut self, exec: &dyn Exec) -> Option<(u8, Va)> {
        (0..self.cpus).find_map(|cpu| {
            let here = match exec.next(cpu)?.act {
                Act::Access(va, _) => Some(va),
                _ => None,
            };
            let was = core::mem::replace(&mut self.access[cpu as usize], here);
            here.filter(|_| was.is_none()).map(|va| (cpu, va))
        })
    }

    fn act(&mut self, exec: &dyn Exec) -> Option<Slot> {
        if let Some(slot) = self.opening.pop() {
            return Some(slot);
        }
        if exec.machine().state().has_host() && self.rng.f64() < self.preemption {
            let cpu = self.rng.u8(..self.cpus);
            return Some(if exec.machine().state().cpus[cpu as usize].preempted {
                Slot::Resume { cpu }
            } else {
                Slot::Preempt { cpu }
            });
        }
        let on_its_way = |cpu: &u8| exec.machine().state().awaits_ipi(*cpu);
        if let Some(cpu) = (0..self.cpus).find(on_its_way)
            && self.rng.f64() < self.arrival
        {
            return Some(Slot::Ipi { cpu });
        }
        if self.opens_window(exec.machine()) && self.rng.f64() < self.eager {
            let (cpu, va) = (self.rng.u8(..self.cpus), self.hot[self.rng.usize(..2)]);
            // One that stops on its way goes on after the next of these.
            let steps = any(&mut self.rng, &[None, None, Some(2)]);
            let old = false;
            return Some(Slot::Walk {
                cpu,
                va,
                old,
                steps,
            });
        }
        if let Some((cpu, va)) = self.accesses(exec)
            && self.rng.f64() < self.eager
        {
            let (old, steps) = (false, None);
            return Some(Slot::Walk {
                cpu,
                va,
                old,
                steps,
            });
        }
        if self.rng.f64() >= self.rate {
            return None;
        }
        let cpu = self.rng.u8(..self.cpus);
        match self.rng.u8(..8) {
            0..3 if self.memory.buffers() => {
                let last = self.rng.u8(..4) > 0;
                return Some(Slot::Drain { cpu, last });
            }
            3 if self.memory.stale_reads() => {
                let by = stale(&mut self.rng);
                return Some(Slot::Stale { cpu, by });
            }
            _ => {}
        }
        let page = self.rng.u64(..PAGES as u64) * PAGE;
        let va = if self.rng.u8(..4) == 0 {
            page
        } else {
            self.hot[self.rng.usize(..2)]
        };
        Some(match self.rng.u8(..16) {
            0 => Slot::Evict { cpu, va: None },
            1 => Slot::Evict { cpu, va: Some(va) },
            2 => Slot::Deliver { cpu, last: false },
            3 => Slot::Deliver { cpu, last: true },
            4 => {
                let pick = any(&mut self.rng, Pick::ALL);
                Slot::Resolve { cpu, pick }
            }
            5 => match self.rng.u8(..8) {
                0 => Slot::Preempt { cpu },
                1 | 2 => Slot::Resume { cpu },
                _ => Slot::Ipi { cpu },
            },
            6..9 => Slot::Walk {
                cpu,
                va,
                old: true,
                steps: None,
            },
            9..12 => Slot::Walk {
                cpu,
                va,
                old: false,
                steps: Some(self.rng.u8(1..4)),
            },
            _ => Slot::Walk {
                cpu,
                va,
                old: false,
                steps: None,
            },
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

/// A schedule as it grows.
struct Record {
    schedule: Vec<Slot>,
    /// Operations that the last turn has done, if it is one of single steps, and whether its last
    /// step ended one.
    done: u16,
    ends: bool,
}

impl Record {
    fn new(mut schedule: Vec<Slot>) -> Record {
        schedule.clear();
        Record {
            schedule,
            done: 0,
            ends: false,
        }
    }

    /// Adds a slot that was applied, or lengthens the last turn if that is the same CPU's.
    fn add(&mut self, slot: Slot, exec: &dyn Exec) {
        let step = match slot {
            Slot::Run {
                cpu,
                stop: Stop::Steps(1),
            } => Some(cpu),
            _ => None,
        };
        match (step, self.schedule.last_mut()) {
            (
                Some(cpu),
                Some(Slot::Run {
                    cpu: last,
                    stop: Stop::Steps(steps),
                }),
            ) if *last == cpu && *steps < MAX_STEPS => *steps += 1,
            _ => {
                self.close();
                self.schedule.push(slot);
            }
        }
        if let Some(cpu) = step {
            self.ends = exec.next(cpu).is_none();
            self.done += u16::from(self.ends);
        }
    }

    /// A turn that ended with an operation says so: it still will when programs have changed.
    fn close(&mut self) {
        if core::mem::take(&mut self.ends)
            && let Some(Slot::Run { stop, .. }) = self.schedule.last_mut()
        {
            *stop = Stop::Until {
                name: DONE.to_owned(),
                nth: self.done,
            };
        }
        self.done = 0;
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
