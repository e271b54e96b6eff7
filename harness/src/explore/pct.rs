// SPDX-License-Identifier: MIT OR Apache-2.0
//! Probabilistic concurrency testing.

use super::{Hardware, Scheduler, one_step};
use crate::exec::Exec;
use crate::scenario::Slot;
use fastrand::Rng;
use shootdown_machine::Config;

/// Priority changes of a run: a bug of depth d needs d - 1.
const CHANGES: usize = 3;
/// Steps that a run is taken to have, for where the changes may be.
const LENGTH: u32 = 300;
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
    pub fn new(rng: &mut Rng, machine: &Config) -> Pct {
        let hardware = Hardware::new(rng, machine);
        let mut order: Vec<u8> = (0..machine.cpus).collect();
        rng.shuffle(&mut order);
        let changes = core::array::from_fn(|_| rng.u32(..LENGTH));
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
        let place = self.order.iter().position(|cpu| exec.ready(*cpu))?;
        let cpu = self.order[place];
        self.run = (cpu, if self.run.0 == cpu { self.run.1 + 1 } else { 1 });
        if self.changes.contains(&self.step) || self.run.1.is_multiple_of(PATIENCE) {
            let lowered = self.order.remove(place);
            self.order.push(lowered);
        }
        self.step += 1;
        Some(one_step(cpu))
    }
}
