// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random scenarios.
//!
//! Swarm testing: each run turns most kinds of operation and of hardware action off
//! and gives the rest wild weights, so that runs differ from each other far more than
//! a single distribution would let them.

mod duel;
mod march;
mod programs;
mod schedule;
mod sketch;
mod swarm;

use super::words::Word;
use super::{MAX_STALE, Scenario};
use fastrand::Rng;
use shootdown_machine::arm64::Granule;
use shootdown_machine::{Access, Bbm, Config, Domain, Memory, Op, OpKind, OpSet, PAGE};
use shootdown_machine::{Switches, Va};
use swarm::BLOCK;
pub(super) use swarm::Swarm;

/// A random scenario, of these kinds of operation.
pub fn generate(rng: &mut Rng, ops: OpSet) -> Scenario {
    let machine = machine(rng, ops);
    let swarm = Swarm::new(rng, &machine, ops);
    let mut scenario = Scenario {
        machine,
        programs: swarm.programs(rng),
        schedule: swarm.schedule(rng),
        ..Scenario::default()
    };
    scenario.repair();
    scenario
}

/// Gives a scenario's programs another random schedule.
pub fn reschedule(rng: &mut Rng, scenario: &mut Scenario, ops: OpSet) {
    scenario.schedule = Swarm::like(rng, scenario, ops).schedule(rng);
    scenario.repair();
}

/// Random programs for a machine, for a scheduler that decides as it goes.
pub fn programs(rng: &mut Rng, machine: &Config, ops: OpSet) -> Vec<Vec<Op>> {
    Swarm::new(rng, machine, ops).programs(rng)
}

/// Whether something of this probability happens.
pub(super) fn percent(rng: &mut Rng, probability: u32) -> bool {
    rng.u32(..100) < probability
}

/// Any of these.
pub(crate) fn any<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.usize(..from.len())]
}

/// An index, each as probable as its weight.
pub(crate) fn weighted(rng: &mut Rng, weights: &[u32]) -> usize {
    let mut left = rng.u32(..weights.iter().sum::<u32>().max(1));
    for (index, weight) in weights.iter().enumerate() {
        match left.checked_sub(*weight) {
            Some(rest) => left = rest,
            None => return index,
        }
    }
    0
}

/// A random machine. Switches stay off: a finding must be one that the architecture
/// allows.
pub(super) fn machine(rng: &mut Rng, ops: OpSet) -> Config {
    // Where two CPUs work on one space's tables at a time, it takes a third to use them.
    let crowded = ops.has(OpKind::Zap);
    let weights = if crowded {
        [55, 37, 3, 5]
    } else {
        [84, 10, 3, 3]
    };
    let cpus = [2, 3, 1, 4][weighted(rng, &weights)];
    // With few tags they roll over early, which is where allocators are interesting.
    let tags = cpus + 2 + if percent(rng, 85) { 0 } else { rng.u8(1..=4) };
    Config {
        cpus,
        // A rollover needs more spaces than there are tags to hand out.
        spaces: if crowded && percent(rng, 50) {
            any(rng, &[1, 2, 2])
        } else {
            // With one, everything is about that one's tables.
            any(rng, &[1, 1, 2, 3, 4, 4, 4, 5, 5])
        },
        tags,
        memory: [Memory::Sc, Memory::Arm, Memory::Tso][weighted(rng, &[50, 35, 15])],
        domain: if percent(rng, 75) {
            Domain::Smt
        } else {
            Domain::Private
        },
        bbm: any(rng, Bbm::ALL),
        levels: if percent(rng, 85) { 2 } else { 3 },
        granule: Granule::ALL[weighted(rng, &[88, 6, 6])],
        switches: Switches::default(),
        ..Config::default()
    }
    .clamp()
}

/// How many stores a read goes back: mostly one, sometimes as far as it may.
pub(crate) fn stale(rng: &mut Rng) -> u8 {
    match rng.u32(..10) {
        0..6 => 1,
        6..9 => rng.u8(2..=4),
        _ => MAX_STALE,
    }
}

/// Any of these pages.
fn page(rng: &mut Rng, of: core::ops::Range<usize>) -> Va {
    rng.usize(of) as Va * PAGE
}

pub(super) fn access(rng: &mut Rng) -> Access {
    // What is lost of a mapping, writes show best.
    if percent(rng, 70) {
        Access::Write
    } else {
        Access::Read
    }
}
