// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs that are a duel: operations of two kinds for the same page or table, each with all
//! that it needs.
//!
//! Most bugs of page tables are two operations that do not get along. Of operations drawn one by
//! one, few have something to do, and fewer are about what another CPU is busy with.

use super::programs::{Programs, add};
use super::sketch::Sketch;
use super::{Swarm, access, any, percent, weighted};
use fastrand::Rng;
use shootdown_machine::{Op, OpKind, Space};

/// The kinds of operation of a duel.
pub(super) struct Kinds {
    /// The two that meet.
    pub(super) meet: [OpKind; 2],
    /// What is done before.
    pub(super) before: Vec<OpKind>,
    /// Whether one space is a copy of another first.
    pub(super) forked: bool,
}

/// Programs on their way to be one.
pub(super) struct Duel<'a> {
    pub(super) swarm: &'a Swarm,
    pub(super) kinds: &'a Kinds,
    /// The CPU that makes what the others meet for.
    pub(super) maker: usize,
    pub(super) sketch: &'a mut Sketch,
    pub(super) programs: &'a mut Programs,
}

impl Duel<'_> {
    /// An operation for each CPU, sometimes two, of which the first all find the same. `None`:
    /// there is none of a kind that has something to do.
    pub(super) fn duel(mut self, rng: &mut Rng) -> Option<()> {
        self.map(rng);
        if self.kinds.forked {
            self.fork(rng);
        }
        for kind in &self.kinds.before {
            if percent(rng, 75) {
                let space = self.space(rng);
                let op = self.fitting(rng, *kind, space, self.maker, &[])?;
                self.add(self.maker, op);
            }
        }
        let space = self.space(rng);
        let first = rng.usize(..2);
        let mut firsts = Vec::new();
        for cpu in 0..self.programs.len() {
            let which = match cpu {
                0 | 1 => cpu ^ first,
                // One more that uses the page is in nobody's way.
                _ if self.kinds.meet[0] == OpKind::Touch && percent(rng, 70) => 0,
                _ => rng.usize(..2),
            };
            let op = self.fitting(rng, self.kinds.meet[which], space, cpu, &firsts)?;
            firsts.push((cpu, op));
        }
        for (cpu, op) in firsts {
            self.add(cpu, op);
            if let Some(second) = self.second(rng, op, space) {
                self.add(cpu, second);
            }
        }
        self.look(rng, space);
        Some(())
    }

    fn add(&mut self, cpu: usize, op: Op) {
        add(self.programs, self.sketch, cpu, op);
    }

    /// What the maker has loaded, or any.
    fn space(&self, rng: &mut Rng) -> Space {
        let any = Space(rng.u8(..self.swarm.spaces));
        self.sketch.loaded(self.maker).unwrap_or(any)
    }

    /// What maps the page that it will be about, if the maker can and nothing is there.
    fn missing(&self, space: Space) -> Option<Op> {
        let map = Op::Map(space, self.swarm.hot[0]);
        let possible = self.swarm.kinds.has(OpKind::Map);
        (possible && self.sketch.has_effect(self.maker, map)).then_some(map)
    }

    /// Often there is something where it will be about.
    fn map(&mut self, rng: &mut Rng) {
        for space in (0..self.swarm.spaces).map(Space) {
            if let Some(map) = self.missing(space)
                && percent(rng, 50)
            {
                self.add(self.maker, map);
            }
        }
    }

    fn fork(&mut self, rng: &mut Rng) {
        let parent = Space(rng.u8(..self.swarm.spaces));
        let child = Space((parent.0 + 1) % self.swarm.spaces);
        if let Some(map) = self.missing(parent) {
            self.add(self.maker, map);
        }
        self.add(self.maker, Op::Exit(child));
        self.add(self.maker, Op::Fork(parent, child));
    }

    /// An operation of a kind that has something to do, if a few draws give one, or the maker can
    /// make what it needs and these still have something to do.
    fn fitting(
        &mut self,
        rng: &mut Rng,
        kind: OpKind,
        space: Space,
        cpu: usize,
        others: &[(usize, Op)],
    ) -> Option<Op> {
        (0..8).find_map(|_| {
            let op = self.swarm.op_of(rng, kind, space);
            (self.sketch.has_effect(cpu, op) || self.make(cpu, op, others)).then_some(op)
        })
    }

    /// Has the maker do what an operation needs, if that leaves these something to do. Whether it
    /// did.
    fn make(&mut self, cpu: usize, op: Op, others: &[(usize, Op)]) -> bool {
        let loaded = self.sketch.loaded(self.maker);
        let loaded = loaded.or(op.space()).unwrap_or(Space(0));
        // What a CPU loads, it loads itself.
        let by = |op: Op| {
            if matches!(op, Op::Switch(_)) {
                cpu
            } else {
                self.maker
            }
        };
        let mut needs = Vec::new();
        let mut needed = op;
        while needs.len() < 3
            && let Some(first) = self.swarm.before(self.sketch, needed, loaded)
        {
            needs.push(first);
            if self.sketch.has_effect(by(first), first) {
                break;
            }
            needed = first;
        }
        let needs: Vec<_> = needs.into_iter().rev().map(|op| (by(op), op)).collect();
        let mut made = *self.sketch;
        for (by, op) in &needs {
            made.did(*by, *op);
        }
        let mut all = others.iter().copied().chain([(cpu, op)]);
        let good = all.all(|(cpu, op)| made.has_effect(cpu, op));
        if good {
            for (by, op) in needs {
                self.add(by, op);
            }
        }
        good
    }

    /// What a CPU does after its first, if anything.
    fn second(&self, rng: &mut Rng, first: Op, space: Space) -> Option<Op> {
        let spaces = self.swarm.spaces;
        // What copies share, ends when all have let go of it.
        let weights = match spaces {
            _ if self.kinds.forked => [4, 1, 1, 1],
            1 => [2, 1, 1, 6],
            _ => [2, 1, 1, 1],
        };
        Some(match weighted(rng, &weights) {
            0 => {
                let mut draw = || self.swarm.op_of(rng, first.kind(), space);
                // The same to the other of two spaces, if a few draws give that.
                let twin = |op: &Op| op.va() == first.va() && op.space() != first.space();
                let twins = if spaces > 1 { 6 } else { 0 };
                (0..twins).map(|_| draw()).find(twin).unwrap_or_else(draw)
            }
            1 => Op::Touch(self.swarm.va(rng), access(rng)),
            2 => {
                let kind = any(rng, &self.kinds.meet);
                self.swarm.op_of(rng, kind, space)
            }
            _ => return None,
        })
    }

    /// Somebody sees what came of it, if nobody does anyway.
    fn look(&mut self, rng: &mut Rng, space: Space) {
        let certain = rng.usize(..self.programs.len());
        for cpu in 0..self.programs.len() {
            let loaded = self.sketch.loaded(cpu).is_some();
            if loaded && self.swarm.users || cpu != certain && !percent(rng, 25) {
                continue;
            }
            if !loaded {
                self.add(cpu, Op::Switch(space));
            }
            let touch = Op::Touch(self.swarm.va(rng), access(rng));
            self.add(cpu, touch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shootdown_machine::{Config, OpSet};

    fn swarm(rng: &mut Rng) -> Swarm {
        let machine = Config {
            cpus: 2,
            spaces: 2,
            ..Config::default()
        };
        core::iter::repeat_with(|| Swarm::new(rng, &machine, OpSet::ALL))
            .find(|swarm| swarm.duel.is_some())
            .unwrap()
    }

    /// Whether there is a point where both CPUs have something to do of the kinds that meet,
    /// once one of them has done all before it.
    fn meets(swarm: &Swarm, programs: &Programs) -> bool {
        let meet = swarm.duel.as_ref().unwrap().meet;
        let point = |maker: usize, i: usize, j: usize| {
            let other = 1 - maker;
            let mut sketch = Sketch::new(swarm.areas);
            for op in &programs[maker][..i] {
                sketch.did(maker, *op);
            }
            for op in &programs[other][..j] {
                sketch.did(other, *op);
            }
            let (one, two) = (programs[maker][i], programs[other][j]);
            let kinds = [one.kind(), two.kind()];
            let theirs = kinds == meet || kinds == [meet[1], meet[0]];
            theirs && sketch.has_effect(maker, one) && sketch.has_effect(other, two)
        };
        let all = |cpu: usize| 0..programs[cpu].len();
        (0..2).any(|maker| all(maker).any(|i| all(1 - maker).any(|j| point(maker, i, j))))
    }

    #[test]
    fn two_meet_who_both_have_something_to_do() {
        let mut rng = Rng::with_seed(1);
        let (mut made, mut drawn) = (0, 0);
        for _ in 0..3000 {
            let swarm = swarm(&mut rng);
            drawn += 1;
            let Some(programs) = swarm.together(&mut rng) else {
                continue;
            };
            made += 1;
            assert!(
                meets(&swarm, &programs),
                "{:?}\n{programs:?}",
                swarm.duel.unwrap().meet
            );
        }
        assert!(made * 2 > drawn, "{made} of {drawn}");
    }

    #[test]
    fn what_a_fork_copies_is_there_before() {
        let mut rng = Rng::with_seed(2);
        let mut copies = 0;
        for _ in 0..500 {
            let swarm = swarm(&mut rng);
            if !swarm.duel.as_ref().unwrap().forked {
                continue;
            }
            let Some(programs) = swarm.together(&mut rng) else {
                continue;
            };
            let forks = |op: &Op| matches!(op, Op::Fork(..));
            assert!(programs.iter().flatten().any(forks), "{programs:?}");
            // Whoever makes the copy has mapped the page in what it copies, if that can be.
            let maps = |(cpu, program): (usize, &Vec<Op>)| {
                let at = program.iter().position(forks)?;
                let mut sketch = Sketch::new(swarm.areas);
                program[..at].iter().for_each(|op| sketch.did(cpu, *op));
                let map = Op::Map(program[at].space()?, swarm.hot[0]);
                Some(!sketch.has_effect(cpu, map))
            };
            let maps = programs.iter().enumerate().filter_map(maps);
            assert!(maps.into_iter().any(|maps| maps), "{programs:?}");
            copies += 1;
        }
        assert!(copies > 20);
    }
}
