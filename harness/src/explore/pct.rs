// SPDX-License-Identifier: MIT OR Apache-2.0
//! Probabilistic concurrency testing.

use super::{Hardware, Scheduler, one_step};
use crate::exec::Exec;
use crate::scenario::{Scenario, Slot, any};
use fastrand::Rng;

/// Priority changes of a run: a bug of depth d needs d - 1.
const CHANGES: usize = 3;
/// Steps that a run is taken to have, for where the changes may be: what matters is over early
/// in most runs, late in some.
const LENGTHS: &[u32] = &[50, 150, 300, 600];
/// Steps after which a CPU of the highest priority is taken to spin, waiting for another.
const PATIENCE: u32 = 200;

/// The CPU of the highest priority runs, until a change lowers it.
pub struct Pct {
    hardware: Hardware,
    /// CPUs, highest priority first.
    order: Vec<u8>,
    changes: [u32; CHANGES],
    step: u32,
    /// The CPU that ran last, and its steps in a row.
    run: (u8, u32),
}

impl Pct {
    /// Priorities and changes drawn at random.
    pub fn new(rng: &mut Rng, scenario: &Scenario) -> Pct {
        let hardware = Hardware::new(rng, scenario);
        let mut order: Vec<u8> = (0..scenario.machine.cpus).collect();
        rng.shuffle(&mut order);
        let length = any(rng, LENGTHS);
        let changes = core::array::from_fn(|_| rng.u32(..length));
        Pct {
            hardware,
            order,
            changes,
            step: 0,
            run: (0, 0),
        }
    }
}

impl Scheduler for Pct {
    fn next(&mut self, exec: &mut dyn Exec) -> Option<Slot> {
        let act = self.hardware.act(exec);
        if act.is_some() {
            return act;
        }
        let mut place = self.order.iter().position(|cpu| exec.ready(*cpu))?;
        let mut cpu = self.order[place];
        let change = self.changes.contains(&self.step);
        self.step += 1;
        if change || self.run == (cpu, PATIENCE) {
            self.order.remove(place);
            self.order.push(cpu);
            place = self.order.iter().position(|cpu| exec.ready(*cpu))?;
            cpu = self.order[place];
        }
        self.run = (cpu, if self.run.0 == cpu { self.run.1 + 1 } else { 1 });
        Some(one_step(cpu))
    }
}
