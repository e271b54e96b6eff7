// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mutations of programs.

use super::super::generate::{Swarm, access, percent};
use super::super::{MAX_OPS, Scenario};
use fastrand::Rng;
use shootdown_machine::{Op, OpSet, PAGE, Prot, Space};

/// A CPU whose program is not empty, and the index of one of its operations.
fn place(s: &Scenario, rng: &mut Rng) -> Option<(usize, usize)> {
    let mut nth = rng.usize(..s.programs.iter().map(Vec::len).sum::<usize>().max(1));
    for (cpu, program) in s.programs.iter().enumerate() {
        match nth.checked_sub(program.len()) {
            Some(rest) => nth = rest,
            None => return Some((cpu, nth)),
        }
    }
    None
}

/// The space that a CPU has probably loaded by then.
fn loaded(program: &[Op], rng: &mut Rng, spaces: u8) -> Space {
    let last = program.iter().rev().find_map(|op| match op {
        Op::Switch(space) => Some(*space),
        _ => None,
    });
    last.unwrap_or_else(|| Space(rng.u8(..spaces)))
}

pub(super) fn insert_op(s: &mut Scenario, rng: &mut Rng, ops: OpSet) -> bool {
    let swarm = Swarm::like(rng, s, ops);
    let cpu = rng.usize(..s.programs.len());
    let program = &mut s.programs[cpu];
    if program.len() >= MAX_OPS {
        return false;
    }
    let at = rng.usize(..=program.len());
    let space = loaded(&program[..at], rng, s.machine.spaces);
    program.insert(at, swarm.op(rng, space));
    true
}

pub(super) fn remove_op(s: &mut Scenario, rng: &mut Rng, _: OpSet) -> bool {
    let Some((cpu, at)) = place(s, rng) else {
        return false;
    };
    s.programs[cpu].remove(at);
    true
}

pub(super) fn replace_op(s: &mut Scenario, rng: &mut Rng, ops: OpSet) -> bool {
    let swarm = Swarm::like(rng, s, ops);
    let Some((cpu, at)) = place(s, rng) else {
        return false;
    };
    let space = loaded(&s.programs[cpu][..at], rng, s.machine.spaces);
    s.programs[cpu][at] = swarm.op(rng, space);
    true
}

pub(super) fn duplicate_op(s: &mut Scenario, rng: &mut Rng, _: OpSet) -> bool {
    let Some((cpu, at)) = place(s, rng) else {
        return false;
    };
    let program = &mut s.programs[cpu];
    if program.len() >= MAX_OPS {
        return false;
    }
    let to = rng.usize(..=program.len());
    program.insert(to, program[at]);
    true
}

pub(super) fn swap_ops(s: &mut Scenario, rng: &mut Rng, _: OpSet) -> bool {
    let (Some((cpu, at)), Some((other, to))) = (place(s, rng), place(s, rng)) else {
        return false;
    };
    let (a, b) = (s.programs[cpu][at], s.programs[other][to]);
    (s.programs[cpu][at], s.programs[other][to]) = (b, a);
    a != b
}

pub(super) fn move_op(s: &mut Scenario, rng: &mut Rng, _: OpSet) -> bool {
    let Some((cpu, at)) = place(s, rng) else {
        return false;
    };
    let cpus = s.programs.len();
    if cpus < 2 {
        return false;
    }
    let other = (cpu + rng.usize(1..cpus)) % cpus;
    if s.programs[other].len() >= MAX_OPS {
        return false;
    }
    let op = s.programs[cpu].remove(at);
    let to = rng.usize(..=s.programs[other].len());
    s.programs[other].insert(to, op);
    true
}

pub(super) fn tweak_op(s: &mut Scenario, rng: &mut Rng, ops: OpSet) -> bool {
    let swarm = Swarm::like(rng, s, ops);
    let Some((cpu, at)) = place(s, rng) else {
        return false;
    };
    let new_space = Space(rng.u8(..s.machine.spaces));
    let op = &mut s.programs[cpu][at];
    let before = *op;
    let new_va = match op.va() {
        // The next page is often in the same table or block.
        Some(va) if percent(rng, 25) => va ^ PAGE,
        _ => swarm.va(rng),
    };
    match (rng.u32(..3), &mut *op) {
        (0, Op::Protect(_, _, prot)) => {
            *prot = if *prot == Prot::Ro {
                Prot::Rw
            } else {
                Prot::Ro
            };
        }
        (0, Op::Touch(_, how)) => *how = access(rng),
        (0, Op::Fork(_, other)) => *other = new_space,
        (0, Op::Move(_, _, to)) => *to = new_va,
        (1, op) if op.space().is_some() && op.va().is_some() => {
            op.space_mut()
                .into_iter()
                .for_each(|space| *space = new_space);
        }
        (_, op) => {
            if let Some(va) = op.va_mut() {
                *va = new_va;
            } else if let Some(space) = op.space_mut() {
                *space = new_space;
            }
        }
    }
    *op != before
}

pub(super) fn rename_spaces(s: &mut Scenario, rng: &mut Rng, _: OpSet) -> bool {
    let (a, b) = (
        Space(rng.u8(..s.machine.spaces)),
        Space(rng.u8(..s.machine.spaces)),
    );
    let mut changed = false;
    let mut rename = |space: &mut Space| {
        let new = if *space == a {
            b
        } else if *space == b {
            a
        } else {
            return;
        };
        changed |= *space != new;
        *space = new;
    };
    for op in s.programs.iter_mut().flatten() {
        op.space_mut().map(&mut rename);
        op.other_space_mut().map(&mut rename);
    }
    changed
}

pub(super) fn swap_cpus(s: &mut Scenario, rng: &mut Rng, _: OpSet) -> bool {
    let (a, b) = (rng.usize(..s.programs.len()), rng.usize(..s.programs.len()));
    s.programs.swap(a, b);
    s.programs[a] != s.programs[b]
}
