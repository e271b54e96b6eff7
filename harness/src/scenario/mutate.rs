// SPDX-License-Identifier: MIT OR Apache-2.0
//! Scenarios from other scenarios.

mod ops;
mod slots;

use super::Scenario;
use super::generate::{machine, percent, weighted};
use fastrand::Rng;
use shootdown_machine::{OpSet, Switches};

/// Changes one to four things about a scenario; new operations are of these kinds. The result is valid; it keeps its
/// variants, has its switches off, and expects nothing any more.
pub fn mutate(scenario: &mut Scenario, rng: &mut Rng, ops: OpSet) {
    scenario.repair();
    for _ in 0..rng.u32(1..=4) {
        // Some mutations find nothing to change; then it is another one's turn.
        for _ in 0..8 {
            let (_, mutation) = MUTATIONS[weighted(rng, &WEIGHTS)];
            if mutation(scenario, rng, ops) {
                break;
            }
        }
    }
    finish(scenario);
}

/// A child of two scenarios, with the variants and mostly the machine of the first.
pub fn crossover(a: &Scenario, b: &Scenario, rng: &mut Rng) -> Scenario {
    let mut child = a.clone();
    if percent(rng, 10) {
        child.machine = b.machine;
    }
    child.machine = child.machine.clamp();
    child.programs.resize(child.machine.cpus.into(), Vec::new());
    for (cpu, program) in child.programs.iter_mut().enumerate() {
        let Some(other) = b.programs.get(cpu) else {
            continue;
        };
        match rng.u32(..4) {
            0 => {}
            1 => program.clone_from(other),
            _ => splice(program, other, rng),
        }
    }
    if percent(rng, 80) {
        splice(&mut child.schedule, &b.schedule, rng);
    }
    finish(&mut child);
    child
}

/// The beginning of one list and the end of the other.
fn splice<T: Clone>(list: &mut Vec<T>, other: &[T], rng: &mut Rng) {
    list.truncate(rng.usize(..=list.len()));
    list.extend_from_slice(&other[rng.usize(..=other.len())..]);
}

fn finish(scenario: &mut Scenario) {
    scenario.expect = None;
    scenario.machine.switches = Switches::default();
    scenario.repair();
}

/// Changes a valid scenario; `false` if there was nothing to change. What it leaves
/// may need repair.
pub(super) type Mutation = fn(&mut Scenario, &mut Rng, OpSet) -> bool;

/// Every mutation and how often it is chosen.
pub(super) const MUTATIONS: [(u32, Mutation); 21] = [
    (6, ops::insert_op),
    (6, ops::remove_op),
    (6, ops::replace_op),
    (3, ops::duplicate_op),
    (4, ops::swap_ops),
    (4, ops::move_op),
    (8, ops::tweak_op),
    (8, slots::insert_slot),
    (6, slots::remove_slot),
    (4, slots::duplicate_slot),
    (6, slots::swap_slots),
    (10, slots::tweak_slot),
    (6, slots::split_run),
    (8, slots::nudge_count),
    (4, slots::change_count),
    (1, slots::truncate_schedule),
    (3, slots::regrow_schedule),
    (1, change_machine),
    (1, reroll_machine),
    (1, ops::rename_spaces),
    (1, ops::swap_cpus),
];

const WEIGHTS: [u32; MUTATIONS.len()] = {
    let mut weights = [0; MUTATIONS.len()];
    let mut i = 0;
    while i < weights.len() {
        weights[i] = MUTATIONS[i].0;
        i += 1;
    }
    weights
};

fn change_machine(s: &mut Scenario, rng: &mut Rng, kinds: OpSet) -> bool {
    let before = s.machine;
    let new = machine(rng, kinds);
    match rng.u32(..6) {
        0 => s.machine.spaces = new.spaces,
        1 => s.machine.domain = new.domain,
        2 => s.machine.bbm = new.bbm,
        3 => s.machine.memory = new.memory,
        4 => s.machine.granule = new.granule,
        _ => s.machine.levels = new.levels,
    }
    // Later mutations rely on a valid scenario.
    s.repair();
    s.machine != before
}

fn reroll_machine(s: &mut Scenario, rng: &mut Rng, kinds: OpSet) -> bool {
    let before = s.machine;
    s.machine = machine(rng, kinds);
    s.repair();
    s.machine != before
}
