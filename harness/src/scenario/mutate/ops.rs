// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mutations of programs.

use super::super::generate::{Swarm, access, percent, va_of};
use super::super::{MAX_OPS, Scenario};
use fastrand::Rng;
use shootdown_machine::{Op, PAGE, Prot, Space};

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

pub(super) fn insert_op(s: &mut Scenario, rng: &mut Rng) -> bool {
    let swarm = Swarm::like(rng, s);
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

pub(super) fn remove_op(s: &mut Scenario, rng: &mut Rng) -> bool {
    let Some((cpu, at)) = place(s, rng) else {
        return false;
    };
    s.programs[cpu].remove(at);
    true
}

pub(super) fn replace_op(s: &mut Scenario, rng: &mut Rng) -> bool {
    let swarm = Swarm::like(rng, s);
    let Some((cpu, at)) = place(s, rng) else {
        return false;
    };
    let space = loaded(&s.programs[cpu][..at], rng, s.machine.spaces);
    s.programs[cpu][at] = swarm.op(rng, space);
    true
}

pub(super) fn duplicate_op(s: &mut Scenario, rng: &mut Rng) -> bool {
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

pub(super) fn swap_ops(s: &mut Scenario, rng: &mut Rng) -> bool {
    let (Some((cpu, at)), Some((other, to))) = (place(s, rng), place(s, rng)) else {
        return false;
    };
    let (a, b) = (s.programs[cpu][at], s.programs[other][to]);
    (s.programs[cpu][at], s.programs[other][to]) = (b, a);
    a != b
}

pub(super) fn move_op(s: &mut Scenario, rng: &mut Rng) -> bool {
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

pub(super) fn tweak_op(s: &mut Scenario, rng: &mut Rng) -> bool {
    let swarm = Swarm::like(rng, s);
    let Some((cpu, at)) = place(s, rng) else {
        return false;
    };
    let new_space = Space(rng.u8(..s.machine.spaces));
    let op = &mut s.programs[cpu][at];
    let before = *op;
    let new_va = match va_of(op) {
        // The next page is often in the same table or block.
        Some(va) if percent(rng, 25) => va ^ PAGE,
        _ => swarm.va(rng),
    };
    let which = rng.u32(..3);
    match op {
        Op::SchedOut => return false,
        Op::Switch(space) | Op::Exit(space) => *space = new_space,
        Op::Map(space, va)
        | Op::Unmap(space, va)
        | Op::Remap(space, va)
        | Op::Split(space, va)
        | Op::Collapse(space, va) => match which {
            0 => *space = new_space,
            _ => *va = new_va,
        },
        Op::Protect(space, va, prot) => match which {
            0 => *space = new_space,
            1 => *va = new_va,
            _ => {
                *prot = if *prot == Prot::Ro {
                    Prot::Rw
                } else {
                    Prot::Ro
                }
            }
        },
        Op::Touch(va, how) => match which {
            0 => *how = access(rng),
            _ => *va = new_va,
        },
    }
    *op != before
}

pub(super) fn rename_spaces(s: &mut Scenario, rng: &mut Rng) -> bool {
    let (a, b) = (
        Space(rng.u8(..s.machine.spaces)),
        Space(rng.u8(..s.machine.spaces)),
    );
    let mut changed = false;
    for op in s.programs.iter_mut().flatten() {
        if let Op::Switch(space)
        | Op::Exit(space)
        | Op::Map(space, _)
        | Op::Unmap(space, _)
        | Op::Protect(space, _, _)
        | Op::Remap(space, _)
        | Op::Split(space, _)
        | Op::Collapse(space, _) = op
        {
            let new = if *space == a {
                b
            } else if *space == b {
                a
            } else {
                continue;
            };
            changed |= *space != new;
            *space = new;
        }
    }
    changed
}

pub(super) fn swap_cpus(s: &mut Scenario, rng: &mut Rng) -> bool {
    let (a, b) = (rng.usize(..s.programs.len()), rng.usize(..s.programs.len()));
    s.programs.swap(a, b);
    s.programs[a] != s.programs[b]
}
