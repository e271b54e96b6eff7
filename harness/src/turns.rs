// SPDX-License-Identifier: MIT OR Apache-2.0
//! The turns of a schedule, by how long they are and by where they end.

use crate::check::{Subject, input, run};
use crate::exec::{Bench, DONE, Exec};
use crate::explore::one_step;
use crate::names::names;
use crate::scenario::{MAX_STEPS, Scenario, Slot, Stop};
use shootdown_machine::Announced;

/// What a turn came to in a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Turn {
    /// Steps taken.
    pub steps: u16,
    /// Where the CPU stands then, as an `until` says it: the name of its next step, and how
    /// many of that name the turn has come to; or how many operations are done. `None`: it cannot
    /// go on.
    pub end: Option<Stop>,
    /// Operations that the turn has brought to their end.
    pub done: u16,
    /// The same in several turns: the operations that it has done, the name of a step in the one
    /// that it has begun, the steps of that access.
    pub parts: Vec<Stop>,
}

/// The turns of a scenario's schedule as `by` runs it; `None` for slots that are none, or that
/// the run did not come to.
pub fn turns(bench: &mut Bench, by: Subject, scenario: &Scenario) -> Vec<Option<Turn>> {
    let mut turns = vec![None; scenario.schedule.len()];
    run(bench, by, input(scenario), |exec| {
        for (slot, turn) in scenario.schedule.iter().zip(&mut turns) {
            if exec.over() {
                break;
            }
            match slot {
                Slot::Run { cpu, stop } => *turn = Some(take(exec, *cpu, stop)),
                _ => {
                    exec.apply(slot);
                }
            }
        }
    });
    turns
}

/// A step that a turn has come to: the word for it, the variable it accesses, and the number of
/// its announcement. One that is announced again after an interrupt counts once.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Met {
    word: Option<&'static str>,
    variable: Option<&'static str>,
    announcement: u32,
}

impl Met {
    fn new(exec: &dyn Exec, cpu: u8, next: &Announced) -> Met {
        let state = exec.machine().state();
        let (word, variable) = names(&state, &next.act);
        Met {
            word,
            variable,
            announcement: state.cpus[cpu as usize].announcements,
        }
    }

    /// What it is called: a variable by its own name.
    fn name(&self) -> &'static str {
        self.variable.or(self.word).unwrap_or_default()
    }

    fn is(&self, name: &str) -> bool {
        self.word == Some(name) || self.variable == Some(name)
    }
}

/// A turn as it goes on.
#[derive(Default)]
struct Taken {
    met: Vec<Met>,
    steps: u16,
    done: u16,
    /// How many were met when the last operation was done.
    met_then: usize,
    /// The steps when the last of `met` was.
    steps_at: u16,
}

fn until(name: &str, nth: u16) -> Stop {
    let name = name.to_owned();
    Stop::Until { name, nth }
}

/// How many of these bear a name.
fn count(met: &[Met], name: &str) -> u16 {
    met.iter().filter(|met| met.is(name)).count() as u16
}

impl Taken {
    fn meet(&mut self, here: Met) {
        if self.met.last() != Some(&here) {
            self.met.push(here);
            self.steps_at = self.steps;
        }
    }

    fn step(&mut self, exec: &dyn Exec, cpu: u8) {
        self.steps += 1;
        if exec.next(cpu).is_none() {
            self.done += 1;
            self.met_then = self.met.len();
        }
    }

    fn parts(&self) -> Vec<Stop> {
        let mut parts = Vec::new();
        if self.done > 0 {
            parts.push(until(DONE, self.done));
        }
        let begun = &self.met[self.met_then..];
        if let Some(here) = begun.last() {
            let name = here.name();
            parts.push(until(name, count(begun, name)));
            if self.steps > self.steps_at {
                parts.push(Stop::Steps(self.steps - self.steps_at));
            }
        }
        parts
    }

    fn over(self, end: Option<Stop>) -> Turn {
        Turn {
            parts: self.parts(),
            steps: self.steps,
            end,
            done: self.done,
        }
    }
}

/// Takes a turn, step by step.
fn take(exec: &mut dyn Exec, cpu: u8, stop: &Stop) -> Turn {
    let mut taken = Taken::default();
    loop {
        // Between two operations, the next one has not begun.
        let there = match stop {
            Stop::Until { name, nth } => name == DONE && taken.done == *nth,
            Stop::Steps(most) => taken.steps == *most && taken.done > 0 && exec.next(cpu).is_none(),
        };
        if there {
            let end = until(DONE, taken.done);
            return taken.over(Some(end));
        }
        let next = exec.come_to(cpu);
        let Some(next) = next.filter(|_| exec.ready(cpu)) else {
            return taken.over(None);
        };
        let here = Met::new(exec, cpu, &next);
        taken.meet(here);
        let there = match stop {
            Stop::Until { name, nth } => {
                taken.steps == MAX_STEPS || count(&taken.met, name) == *nth
            }
            Stop::Steps(most) => taken.steps == *most,
        };
        if there {
            let name = here.name();
            let end = until(name, count(&taken.met, name));
            return taken.over(Some(end));
        }
        exec.apply(&one_step(cpu));
        taken.step(exec, cpu);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::parse;

    const TEXT: &str = "scenario 1
variants arm64-asid
machine cpus=2 spaces=4 tags=4
cpu0: switch A; switch B
cpu1: switch C; touch 0x1000; switch D; switch B
schedule: cpu1 until TTBR0 #3, cpu0 until asid_map #5, walk cpu1 0x1000, cpu1 x3
";

    fn turns_of(schedule: &[Slot]) -> Vec<Option<Turn>> {
        let mut scenario = parse(TEXT.as_bytes()).unwrap();
        scenario.schedule = schedule.to_vec();
        let by = Subject::of(&scenario).unwrap()[0];
        turns(&mut Bench::default(), by, &scenario)
    }

    #[test]
    fn a_turn_of_steps_and_one_until_are_the_same() {
        let named = parse(TEXT.as_bytes()).unwrap().schedule;
        let turns = turns_of(&named);
        assert!(turns[2].is_none(), "a walk is no turn");
        let (mut counted, mut again) = (named.clone(), named.clone());
        for (at, turn) in turns.iter().enumerate() {
            let Some(turn) = turn else { continue };
            for (slot, to) in [
                (&mut counted[at], Some(Stop::Steps(turn.steps))),
                (&mut again[at], turn.end.clone()),
            ] {
                if let (Slot::Run { stop, .. }, Some(to)) = (slot, to) {
                    *stop = to;
                }
            }
        }
        assert_eq!(again[..2], named[..2], "the end of `until` is what it says");
        assert_ne!(counted[0], named[0]);
        assert_eq!(turns_of(&counted), turns);
        assert_eq!(turns_of(&again), turns);
    }

    #[test]
    fn a_turn_may_end_with_an_operation() {
        let turn = |stop| {
            let turns = turns_of(&[Slot::Run { cpu: 0, stop }]);
            turns[0].clone().unwrap()
        };
        let done = |nth| Stop::Until {
            name: DONE.into(),
            nth,
        };
        let (one, two) = (turn(done(1)), turn(done(2)));
        assert!(one.steps > 10 && one.steps < two.steps && two.steps < 200);
        assert_eq!(
            (one.end.clone(), two.end.clone()),
            (Some(done(1)), Some(done(2)))
        );
        // By its steps, it is the same turn.
        assert_eq!(turn(Stop::Steps(one.steps)), one);
        assert_ne!(turn(Stop::Steps(one.steps - 1)).end, one.end);
        // In parts, too, and so where it stops within the second one.
        assert_eq!(two.parts, [done(2)]);
        let within = turn(Stop::Steps(one.steps + 20));
        assert_eq!(within.parts.len(), 2);
        let parts = within.parts.iter().map(|stop| Slot::Run {
            cpu: 0,
            stop: stop.clone(),
        });
        let parts = turns_of(&parts.collect::<Vec<_>>());
        let steps = parts.iter().flatten().map(|turn| turn.steps);
        assert_eq!(steps.sum::<u16>(), within.steps);
        // There is no third one.
        let third = turn(done(3));
        assert_eq!((third.steps, third.end), (two.steps, None));
    }
}
