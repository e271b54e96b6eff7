// SPDX-License-Identifier: MIT OR Apache-2.0
//! Priorities that change at steps that race.

use super::conflicts::{Conflicts, Place, Words};
use super::hardware::Hardware;
use super::priorities::Priorities;
use super::prologue::Prologue;
use super::unfinished::Unfinished;
use super::{Scheduler, one_step};
use crate::exec::Exec;
use crate::scenario::{Scenario, Slot, any, stale};
use fastrand::Rng;
use shootdown_machine::Act;

/// Where a CPU of a program that was never run is lowered, at most, in steps of an operation that
/// race.
const UNKNOWN: usize = 10;

/// PCT, but each CPU has a few places of its own where its priority is lowered, and these are
/// steps that race: an operation has a dozen of them, and not the hundred of all its steps.
pub struct Races {
    rng: Rng,
    hardware: Hardware,
    /// What is known before the run: a step that is counted as one that races stays one.
    words: Words,
    priorities: Priorities,
    /// By CPU: where it is lowered.
    lowered: [Vec<Place>; 4],
    /// Stops of CPUs that come upon what another has half done, if these are what this run is about.
    unfinished: Option<Unfinished>,
    /// By CPU: the last step so far that races.
    at: [Option<Place>; 4],
    /// CPUs whose next step is `at`.
    counted: [bool; 4],
    prologue: Prologue,
    /// Probability that a load that races reads an older value.
    lag: f64,
}

impl Races {
    /// Priorities and changes drawn at random, among what earlier runs of the programs show.
    pub fn new(rng: &mut Rng, scenario: &Scenario, conflicts: &Conflicts) -> Races {
        let cpus = scenario.machine.cpus;
        let mut priorities = Priorities::new(rng, cpus);
        let mut lowered = [const { Vec::new() }; 4];
        // Of three CPUs, every other time one is stopped, and another where it has met that.
        let unfinished = if cpus > 2 && rng.bool() {
            // Mostly with TLBs not told yet; who changes descriptors is not often the first by chance.
            let window = match rng.u8(..5) > 0 {
                true => conflicts.window(rng),
                false => None,
            };
            let (first, place) = window.unwrap_or_else(|| {
                let first = priorities.highest();
                (first, some_place(rng, scenario, conflicts, first))
            });
            priorities.raise(first);
            lowered[first as usize].push(place);
            Some(Unfinished::new(rng, priorities.last()))
        } else {
            lower(rng, scenario, conflicts, priorities.last(), &mut lowered);
            None
        };
        let prologue = match rng.u8(..4) > 0 {
            true => prologue(rng, scenario, &lowered),
            false => Vec::new(),
        };
        let lag = if scenario.machine.memory.stale_reads() {
            any(rng, &[0.0, 0.05, 0.2])
        } else {
            0.0
        };
        Races {
            hardware: Hardware::new(rng, scenario),
            rng: rng.fork(),
            words: conflicts.words.clone(),
            priorities,
            lowered,
            unfinished,
            at: [None; 4],
            counted: [false; 4],
            prologue: Prologue::new(rng, prologue),
            lag,
        }
    }

    /// A CPU takes this step; `None`: it begins an operation.
    fn step(&mut self, cpu: u8, act: Option<Act>) -> Slot {
        self.counted[cpu as usize] = false;
        if let Some(unfinished) = &mut self.unfinished {
            unfinished.did(cpu, act);
        }
        self.priorities.ran(cpu);
        one_step(cpu)
    }

    /// Where the next step of a CPU is, if that races and was not counted yet.
    fn comes_to_race(&mut self, cpu: u8, act: Option<Act>) -> Option<Place> {
        let c = cpu as usize;
        if self.counted[c] || !self.words.race(cpu, act) {
            return None;
        }
        self.counted[c] = true;
        let place = match (self.at[c], act) {
            (Some(Place { op, step }), Some(_)) => Place { op, step: step + 1 },
            (Some(Place { op, .. }), None) => Place {
                op: op + 1,
                step: 0,
            },
            (None, _) => Place::default(),
        };
        self.at[c] = Some(place);
        self.at[c]
    }
}

/// Where CPUs are lowered: two where they are about one thing, or each at a few places of its own.
fn lower(
    rng: &mut Rng,
    scenario: &Scenario,
    conflicts: &Conflicts,
    last: Option<u8>,
    lowered: &mut [Vec<Place>; 4],
) {
    let pair = if rng.bool() {
        conflicts.pair(rng)
    } else {
        None
    };
    for (cpu, place) in pair.into_iter().flatten() {
        lowered[cpu as usize].push(place);
    }
    // Mostly each comes to a place within the window of the one before, and the last goes on,
    // but for a stop of the pair's.
    let through = last.filter(|_| rng.u8(..3) > 0);
    for cpu in 0..scenario.machine.cpus {
        // With a pair, more is mostly in its way.
        if pair.is_some() && rng.u8(..3) > 0 || through == Some(cpu) {
            continue;
        }
        let counts: &[usize] = match through {
            Some(_) => &[1, 1, 1, 1, 1, 1, 2, 2],
            None => &[0, 0, 1, 1, 1, 1, 2, 2, 3],
        };
        for _ in 0..any(rng, counts) {
            lowered[cpu as usize].push(some_place(rng, scenario, conflicts, cpu));
        }
    }
}

/// A step of a CPU that races or, before its first run, may.
fn some_place(rng: &mut Rng, scenario: &Scenario, conflicts: &Conflicts, cpu: u8) -> Place {
    let ops = scenario.programs[cpu as usize].len().max(1);
    let unknown = Place {
        op: rng.usize(..ops),
        step: rng.usize(..UNKNOWN),
    };
    conflicts.any(rng, cpu).unwrap_or(unknown)
}

/// How many of its operations each CPU does before it races: mostly all before the first that is
/// interrupted, for they are what this one needs.
fn prologue(rng: &mut Rng, scenario: &Scenario, lowered: &[Vec<Place>; 4]) -> Vec<(u8, usize)> {
    let mut before = |cpu: u8| {
        let last = scenario.programs[cpu as usize].len().saturating_sub(1);
        match lowered[cpu as usize].iter().min() {
            Some(place) => place.op.min(last),
            None => match rng.u8(..6) {
                0 => 0,
                1..4 => last,
                4 => last.saturating_sub(1),
                _ => rng.usize(..=last),
            },
        }
    };
    (0..scenario.machine.cpus)
        .map(|cpu| (cpu, before(cpu)))
        .collect()
}

impl Scheduler for Races {
    fn next(&mut self, exec: &mut dyn Exec) -> Option<Slot> {
        let act = self.hardware.act(exec);
        if act.is_some() {
            return act;
        }
        let step_of = |cpu| exec.next(cpu).map(|next| next.act);
        if let Some(cpu) = self.prologue.next(exec) {
            let act = step_of(cpu);
            self.comes_to_race(cpu, act);
            if self.priorities.spins(cpu) {
                self.prologue.give_up();
            }
            return Some(self.step(cpu, act));
        }
        let cpu = self.priorities.first(exec)?;
        let act = step_of(cpu);
        let race = self.comes_to_race(cpu, act);
        let lowered = &self.lowered[cpu as usize];
        let mut change = race.is_some_and(|place| lowered.contains(&place));
        if race.is_some()
            && let Some(unfinished) = &mut self.unfinished
        {
            change |= unfinished.stops(cpu, act, |other| exec.within(other));
        }
        if change || self.priorities.spins(cpu) {
            self.priorities.lower(cpu);
            self.hardware.windows += 1;
            return self.next(exec);
        }
        let loads = matches!(act, Some(Act::Load(..)));
        if race.is_some() && self.rng.f64() < self.lag && loads {
            let by = stale(&mut self.rng);
            return Some(Slot::Stale { cpu, by });
        }
        Some(self.step(cpu, act))
    }
}
