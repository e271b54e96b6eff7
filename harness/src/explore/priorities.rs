// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who goes first.

use crate::exec::Exec;
use fastrand::Rng;

/// Steps in a row after which a CPU is taken to spin, waiting for another. A fault that comes back
/// for ever is taken for one after some 200.
pub(super) const PATIENCE: u32 = 400;

/// The CPUs in an order drawn at random, which changes as they are lowered.
pub(super) struct Priorities {
    /// CPUs, highest priority first.
    order: Vec<u8>,
    /// The CPU that ran last, and its steps in a row.
    run: (u8, u32),
}

impl Priorities {
    pub(super) fn new(rng: &mut Rng, cpus: u8) -> Priorities {
        let mut order: Vec<u8> = (0..cpus).collect();
        rng.shuffle(&mut order);
        Priorities { order, run: (0, 0) }
    }

    /// The CPU of the highest priority.
    pub(super) fn highest(&self) -> u8 {
        self.order[0]
    }

    /// The CPU of the lowest priority.
    pub(super) fn last(&self) -> Option<u8> {
        self.order.last().copied()
    }

    /// The first that can go on.
    pub(super) fn first(&self, exec: &dyn Exec) -> Option<u8> {
        self.order.iter().copied().find(|cpu| exec.ready(*cpu))
    }

    /// A CPU comes first from now on.
    pub(super) fn raise(&mut self, cpu: u8) {
        self.order.retain(|other| *other != cpu);
        self.order.insert(0, cpu);
    }

    /// Whether a CPU is taken to spin.
    pub(super) fn spins(&self, cpu: u8) -> bool {
        self.run == (cpu, PATIENCE)
    }

    /// A CPU comes last from now on.
    pub(super) fn lower(&mut self, cpu: u8) {
        self.order.retain(|other| *other != cpu);
        self.order.push(cpu);
        self.run = (cpu, 0);
    }

    /// A CPU takes a step.
    pub(super) fn ran(&mut self, cpu: u8) {
        self.run = (cpu, if self.run.0 == cpu { self.run.1 + 1 } else { 1 });
    }
}
