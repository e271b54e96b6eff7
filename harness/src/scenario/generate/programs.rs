// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random programs.

use super::duel::Duel;
use super::sketch::Sketch;
use super::{BLOCK, Swarm, access, any, page, percent, weighted};
use crate::scenario::MAX_OPS;
use fastrand::Rng;
use shootdown_machine::{Op, OpKind, Operands, PAGE, PAGES, Prot, Space, Va};

/// Operations of short programs, in percent, that are meant to race with another CPU's.
const RACES: u32 = 35;

/// Duels that are drawn, at most, until one has all that it needs.
const RETRIES: usize = 8;

pub(super) type Programs = Vec<Vec<Op>>;

/// Gives a CPU an operation more.
pub(super) fn add(programs: &mut Programs, sketch: &mut Sketch, cpu: usize, op: Op) {
    if programs[cpu].len() < MAX_OPS {
        sketch.did(cpu, op);
        programs[cpu].push(op);
    }
}

impl Swarm {
    pub(super) fn programs(&self, rng: &mut Rng) -> Programs {
        if self.tables
            && let Some(programs) = (0..RETRIES).find_map(|_| self.together(rng))
        {
            return programs;
        }
        if let Some(entries) = self.entries {
            return self.march(rng, entries);
        }
        (0..self.cpus).map(|_| self.program(rng)).collect()
    }

    /// Short programs whose operations mostly find something to do: what one needs is done
    /// before, by the same CPU or by another. `None`: a duel lacks what it needs.
    pub(super) fn together(&self, rng: &mut Rng) -> Option<Programs> {
        let cpus = usize::from(self.cpus);
        let mut sketch = Sketch::new(self.areas);
        let mut programs = vec![Vec::with_capacity(MAX_OPS); cpus];
        let (space, certain) = (Space(rng.u8(..self.spaces)), rng.usize(..cpus));
        if self.empty && self.kinds.has(OpKind::Exit) {
            add(&mut programs, &mut sketch, certain, Op::Exit(space));
        }
        if self.users {
            for cpu in 0..cpus {
                if cpu != certain && percent(rng, 45) {
                    continue;
                }
                add(&mut programs, &mut sketch, cpu, Op::Switch(space));
                if percent(rng, 80) {
                    let touch = Op::Touch(self.va(rng), access(rng));
                    add(&mut programs, &mut sketch, cpu, touch);
                }
            }
        }
        if let Some(kinds) = &self.duel {
            let programs = &mut programs;
            let sketch = &mut sketch;
            Duel {
                swarm: self,
                kinds,
                maker: certain,
                sketch,
                programs,
            }
            .duel(rng)?;
        } else {
            self.mix(rng, &mut sketch, &mut programs);
        }
        for cpu in (0..cpus).filter(|_| self.users) {
            if sketch.loaded(cpu).is_some() && percent(rng, 65) {
                let touch = Op::Touch(self.va(rng), access(rng));
                add(&mut programs, &mut sketch, cpu, touch);
            }
        }
        Some(programs)
    }

    /// One or two operations for each CPU, or more without users, all mixed.
    fn mix(&self, rng: &mut Rng, sketch: &mut Sketch, programs: &mut Programs) {
        let cpus = programs.len();
        let count = |cpu| match self.users {
            // No program is empty.
            true if sketch.loaded(cpu).is_some() => any(rng, &[0, 1, 1, 1, 1, 2, 2]),
            true => any(rng, &[1, 1, 2]),
            false => rng.usize(1..=self.most),
        };
        let mut left: Vec<_> = (0..cpus).map(count).collect();
        let mut cpu = rng.usize(..cpus);
        // Who did the last operation, and what was there before it.
        let mut last = (cpu, *sketch);
        while left.iter().any(|left| *left > 0) {
            if left[cpu] == 0 || percent(rng, 40) {
                cpu = (cpu + 1) % cpus;
                continue;
            }
            left[cpu] -= 1;
            // Two that race both find what was there before the first of them.
            let races = last.0 != cpu && percent(rng, RACES);
            let found = if races { last.1 } else { *sketch };
            for (cpu, op) in self.enabled(rng, &found, cpu) {
                last = (cpu, *sketch);
                add(programs, sketch, cpu, op);
            }
        }
    }

    /// What would have to be done first, of the kinds that there are.
    pub(super) fn before(&self, sketch: &Sketch, op: Op, loaded: Space) -> Option<Op> {
        let first = match sketch.before(op, loaded)? {
            Op::Zap(space, va) if !self.kinds.has(OpKind::Zap) => Op::Unmap(space, va),
            first => first,
        };
        self.kinds.has(first.kind()).then_some(first)
    }

    /// An operation for a CPU that has something to do, if a few draws give one, after what it
    /// needs.
    fn enabled(&self, rng: &mut Rng, sketch: &Sketch, cpu: usize) -> Vec<(usize, Op)> {
        let loaded = sketch.loaded(cpu).unwrap_or(Space(rng.u8(..self.spaces)));
        let mut ops = Vec::new();
        for _ in 0..4 {
            ops.clear();
            let (mut on, mut op) = (cpu, self.op(rng, loaded));
            ops.push((on, op));
            while !sketch.has_effect(on, op)
                && let Some(first) = self.before(sketch, op, loaded)
                && ops.len() < 3
            {
                if !matches!(first, Op::Switch(_)) && percent(rng, 35) {
                    on = rng.usize(..usize::from(self.cpus));
                }
                op = first;
                ops.push((on, op));
            }
            if sketch.has_effect(on, op) || percent(rng, 5) {
                break;
            }
        }
        ops.reverse();
        ops
    }

    fn program(&self, rng: &mut Rng) -> Vec<Op> {
        let mut loaded = Space(rng.u8(..self.spaces));
        let mut program = Vec::with_capacity(12);
        if percent(rng, 90) {
            program.push(Op::Switch(loaded));
        }
        let length = program.len() + rng.usize(1..=self.most);
        while program.len() < length {
            let mut op = self.op(rng, loaded);
            if self.rounds && percent(rng, 85) {
                op = match program.last() {
                    Some(Op::Switch(_)) => Op::Touch(self.va(rng), access(rng)),
                    _ => self.switch(rng, loaded),
                };
            }
            if let Op::Switch(space) = &mut op {
                // From the idle task, mostly back to where it came from.
                if matches!(program.last(), Some(Op::SchedOut)) && percent(rng, 60) {
                    *space = loaded;
                }
                loaded = *space;
            }
            // A copy goes to an empty space.
            if let Op::Fork(_, child) = op
                && program.len() + 1 < length
                && percent(rng, 70)
            {
                program.push(Op::Exit(child));
            }
            program.push(op);
        }
        debug_assert!(program.len() <= MAX_OPS);
        program
    }

    /// An operation for a CPU that has probably loaded this space.
    pub(in crate::scenario) fn op(&self, rng: &mut Rng, loaded: Space) -> Op {
        let kind = OpKind::ALL[weighted(rng, &self.ops)];
        self.op_of(rng, kind, loaded)
    }

    /// An operation of a kind, for a CPU that has probably loaded this space.
    pub(super) fn op_of(&self, rng: &mut Rng, kind: OpKind, loaded: Space) -> Op {
        let other = Space(rng.u8(..self.spaces));
        let space = if percent(rng, 60) { loaded } else { other };
        let va = match kind {
            OpKind::Switch => return self.switch(rng, loaded),
            // A hot page can be mapped once it was unmapped, others at once.
            OpKind::Map if !self.tables && percent(rng, 50) => page(rng, 0..PAGES),
            OpKind::Split | OpKind::Collapse if !self.tables => self.block_va(rng),
            _ => self.va(rng),
        };
        kind.with(&Operands {
            space,
            other: Space(rng.u8(..self.spaces)),
            va,
            to: match rng.u32(..10) {
                // And back.
                0..6 if va == self.to => self.hot[0],
                0..6 => self.to,
                6..8 if self.to != va => self.va(rng),
                _ => page(rng, 0..PAGES),
            },
            // Pages begin writable, so read-only is the change to make first.
            prot: if percent(rng, 65) { Prot::Ro } else { Prot::Rw },
            access: access(rng),
        })
    }

    /// A switch, mostly to another space than the loaded one, rarely to another thread of that.
    fn switch(&self, rng: &mut Rng, loaded: Space) -> Op {
        let by = if percent(rng, 8) {
            0
        } else if self.in_order || self.spaces < 3 {
            1
        } else {
            rng.u8(1..self.spaces)
        };
        Op::Switch(Space((loaded.0 + by) % self.spaces))
    }

    /// An address within the one block, mostly.
    fn block_va(&self, rng: &mut Rng) -> Va {
        let hot = self.hot[0];
        if BLOCK.contains(&((hot / PAGE) as usize)) && percent(rng, 60) {
            hot
        } else if percent(rng, 70) {
            page(rng, BLOCK)
        } else {
            self.va(rng)
        }
    }
}
