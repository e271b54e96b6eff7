// SPDX-License-Identifier: MIT OR Apache-2.0
//! A schedule whose turns are counted, and the steps that each turn takes.

use crate::check::{Found, Subject, input, run};
use crate::exec::Bench;
use crate::explore::one_step;
use crate::report::{Run, Span, with_run};
use crate::scenario::{Scenario, Slot, Stop};
use crate::turns::turns;
use shootdown_machine::{Announced, Event};

/// A step that a slot takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    /// The slot.
    pub slot: usize,
    /// Number of the run's last step once it is taken.
    pub step: u32,
}

/// Where a CPU stands once its turn is over.
#[derive(Clone, Copy, Debug)]
pub struct Stand {
    /// What it does next; `None`: it is between operations, or done.
    pub next: Option<Announced>,
    /// Number of the run's last step.
    pub step: u32,
}

/// A scenario with its turns counted: another form of the same run.
pub struct Unrolled {
    /// The scenario.
    pub scenario: Scenario,
    /// What its turns come to.
    pub taken: Vec<Taken>,
}

impl Unrolled {
    /// As `by` runs it.
    pub fn new(bench: &mut Bench, by: Subject, scenario: &Scenario) -> Unrolled {
        let mut counted = scenario.clone();
        let lengths = turns(bench, by, scenario);
        for (slot, turn) in counted.schedule.iter_mut().zip(lengths) {
            if let (Slot::Run { stop, .. }, Some(turn)) = (slot, turn) {
                *stop = Stop::Steps(turn.steps);
            }
        }
        let mut taken = Vec::new();
        run(bench, by, input(scenario), |exec| {
            for (at, slot) in counted.schedule.iter().enumerate() {
                let (times, one) = match *slot {
                    Slot::Run {
                        cpu,
                        stop: Stop::Steps(steps),
                    } => (steps, one_step(cpu)),
                    _ => (1, slot.clone()),
                };
                for _ in 0..times {
                    exec.apply(&one);
                    let step = exec.machine().state().step;
                    taken.push(Taken { slot: at, step });
                }
            }
        });
        Unrolled {
            scenario: counted,
            taken,
        }
    }

    /// The steps of a turn.
    pub fn steps(&self, slot: usize) -> u16 {
        match self.scenario.schedule.get(slot) {
            Some(Slot::Run {
                stop: Stop::Steps(steps),
                ..
            }) => *steps,
            _ => 0,
        }
    }

    /// The scenario without an operation, and without the steps that it takes: what the others do
    /// then is done where it was.
    pub fn without_op(&self, bench: &mut Bench, found: &Found, cpu: u8, index: usize) -> Scenario {
        let steps = with_run(bench, &self.scenario, found.by, &found.finding, |run| {
            let mut spans = run.spans.iter();
            let span = spans.find(|s| s.cpu == cpu && usize::from(s.index) == index);
            span.map_or(Vec::new(), |span| steps_of(run, span))
        });
        let mut less = self.scenario.clone();
        less.programs[cpu as usize].remove(index);
        for taken in self.taken.iter().filter(|t| steps.contains(&t.step)) {
            if let Some(Slot::Run {
                cpu: c,
                stop: Stop::Steps(left),
            }) = less.schedule.get_mut(taken.slot)
                && *c == cpu
            {
                *left = left.saturating_sub(1);
            }
        }
        less
    }

    /// The scenario with turns of these lengths.
    pub fn with_steps(&self, lengths: &[(usize, u16)]) -> Scenario {
        let mut scenario = self.scenario.clone();
        for (slot, steps) in lengths {
            if let Some(Slot::Run { stop, .. }) = scenario.schedule.get_mut(*slot) {
                *stop = Stop::Steps(*steps);
            }
        }
        scenario
    }
}

/// The steps of an operation.
fn steps_of(run: &Run<'_>, span: &Span) -> Vec<u32> {
    let end = span.end.unwrap_or(run.trace.len());
    let mine = |event: &Event| match *event {
        Event::Did { cpu, .. } => cpu == span.cpu,
        // The steps of an access are those of its walk.
        Event::WalkRead { cpu, demand, .. } => cpu == span.cpu && demand,
        _ => false,
    };
    let within = run.trace[span.begin..end].iter();
    let mut steps: Vec<u32> = within.filter(|t| mine(&t.1)).map(|t| t.0).collect();
    steps.dedup();
    steps
}

/// Where the CPU of a slot stands after it.
pub fn stand(bench: &mut Bench, by: Subject, scenario: &Scenario, slot: usize) -> Option<Stand> {
    let mut stand = None;
    run(bench, by, input(scenario), |exec| {
        for (at, s) in scenario.schedule.iter().enumerate() {
            exec.apply(s);
            if at == slot {
                stand = Some(Stand {
                    next: exec.next(s.cpu()),
                    step: exec.machine().state().step,
                });
            }
        }
    });
    stand
}
