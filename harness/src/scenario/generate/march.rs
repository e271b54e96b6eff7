// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs that use tags up: one CPU goes through all spaces, and the others do little. A
//! rollover comes while something else goes on, and what had a tag before is used after.

use super::programs::{Programs, add};
use super::sketch::Sketch;
use super::{Swarm, access, any, percent};
use fastrand::Rng;
use shootdown_machine::{Op, OpKind, Space};

/// Programs on their way to be a march.
struct March<'a> {
    swarm: &'a Swarm,
    /// How many of the spaces that are loaded are used, in percent.
    entries: u32,
    sketch: Sketch,
    programs: Programs,
}

impl Swarm {
    /// A march, and up to two operations of other kinds somewhere among it.
    pub(super) fn march(&self, rng: &mut Rng, entries: u32) -> Programs {
        let cpus = usize::from(self.cpus);
        let march = March {
            swarm: self,
            entries,
            sketch: Sketch::new(self.areas),
            programs: vec![Vec::new(); cpus],
        };
        march.march(rng)
    }
}

impl March<'_> {
    fn march(mut self, rng: &mut Rng) -> Programs {
        let spaces = self.swarm.spaces;
        let any_space = |rng: &mut Rng| Space(rng.u8(..spaces));
        let cpus = self.programs.len();
        let (marcher, first) = (rng.usize(..cpus), any_space(rng));
        let others: Vec<_> = (0..cpus).filter(|cpu| *cpu != marcher).collect();
        // One rollover or two.
        let rounds = spaces + rng.u8(1..=spaces);
        let last = Space((first.0 + rounds - 1) % spaces);
        let some = any_space(rng);
        // Mostly all are about one.
        let about = any(rng, &[first, first, last, last, some]);
        for cpu in &others {
            if percent(rng, 70) {
                let some = any_space(rng);
                let space = if percent(rng, 60) { about } else { some };
                self.enter(rng, *cpu, space);
            }
        }
        let rest = self.rest(rng, rounds);
        for round in 0..=rounds {
            for (_, kind) in rest.iter().filter(|(when, _)| *when == round) {
                let any_cpu = rng.usize(..cpus);
                let cpu = if percent(rng, 65) { marcher } else { any_cpu };
                self.fitting(rng, cpu, *kind, about);
            }
            if round < rounds {
                self.enter(rng, marcher, Space((first.0 + round) % spaces));
            }
        }
        for cpu in others {
            let least = usize::from(self.programs[cpu].is_empty());
            for _ in 0..any(rng, &[0, 1, 1, 2]).max(least) {
                let space = any_space(rng);
                self.enter(rng, cpu, space);
            }
        }
        self.programs
    }

    /// What else there is: before which round, mostly at one end, and its kind.
    fn rest(&self, rng: &mut Rng, rounds: u8) -> Vec<(u8, OpKind)> {
        let kinds = self.swarm.others();
        let count = any(rng, &[0, 1, 1, 2, 2]);
        let mut draw = || {
            let some = rng.u8(..=rounds);
            let when = any(rng, &[0, 0, 1, rounds, rounds, some]);
            Some((when, rng.choice(kinds.iter().copied())?))
        };
        (0..count).filter_map(|_| draw()).collect()
    }

    fn add(&mut self, cpu: usize, op: Op) {
        add(&mut self.programs, &mut self.sketch, cpu, op);
    }

    /// A CPU loads a space, and may use it: the tag of some is not taken before.
    fn enter(&mut self, rng: &mut Rng, cpu: usize, space: Space) {
        self.add(cpu, Op::Switch(space));
        if self.swarm.kinds.has(OpKind::Touch) && percent(rng, self.entries) {
            self.add(cpu, Op::Touch(self.swarm.va(rng), access(rng)));
        }
    }

    /// An operation of a kind that has something to do, if a few draws give one, after what it
    /// needs.
    fn fitting(&mut self, rng: &mut Rng, cpu: usize, kind: OpKind, about: Space) {
        for _ in 0..4 {
            let op = self.swarm.op_of(rng, kind, about);
            if !self.sketch.has_effect(cpu, op) {
                let first = self.swarm.before(&self.sketch, op, about);
                match first.filter(|first| self.sketch.has_effect(cpu, *first)) {
                    Some(first) => self.add(cpu, first),
                    None => continue,
                }
            }
            return self.add(cpu, op);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shootdown_machine::{Config, OpSet};

    #[test]
    fn one_goes_through_all_spaces_and_others_have_something_to_do() {
        let mut rng = Rng::with_seed(1);
        let (mut marches, mut rests, mut twice) = (0, 0, 0);
        for _ in 0..2000 {
            let machine = Config {
                cpus: rng.u8(1..=4),
                spaces: rng.u8(3..=5),
                ..Config::default()
            };
            let swarm = Swarm::new(&mut rng, &machine, OpSet::ALL);
            let Some(entries) = swarm.entries else {
                continue;
            };
            marches += 1;
            let programs = swarm.march(&mut rng, entries);
            assert!(programs.iter().all(|program| !program.is_empty()));
            let loads = |program: &Vec<Op>| {
                let load = |op: &Op| match op {
                    Op::Switch(space) => Some(space.0),
                    _ => None,
                };
                program.iter().filter_map(load).collect::<Vec<_>>()
            };
            // All spaces one after the other, but for what an operation between needs.
            let spaces = usize::from(machine.spaces);
            let all = |loads: Vec<u8>| {
                let next = |two: &[u8]| (two[0] + 1) % machine.spaces == two[1];
                loads.len() >= spaces && loads.windows(spaces).any(|some| some.windows(2).all(next))
            };
            assert!(programs.iter().map(loads).any(all), "{programs:?}");
            let longest = programs.iter().map(|program| loads(program).len()).max();
            twice += usize::from(longest.unwrap_or(0) >= 2 * spaces);
            let rest = |op: &Op| !matches!(op, Op::Switch(_) | Op::Touch(..));
            rests += usize::from(programs.iter().flatten().any(rest));
        }
        assert!(marches > 50, "{marches}");
        assert!(rests * 2 > marches && rests < marches && twice > 0);
    }
}
