// SPDX-License-Identifier: MIT OR Apache-2.0
//! Uniform and sticky scheduling.

use super::hardware::Hardware;
use super::{Scheduler, one_step};
use crate::exec::Exec;
use crate::scenario::{Scenario, Slot};
use fastrand::Rng;

/// Any CPU that can, with a preference for the one that has just run.
pub struct Random {
    rng: Rng,
    hardware: Hardware,
    cpus: u8,
    stay: f64,
    last: u8,
}

impl Random {
    /// `stay`: probability of staying on a CPU; 0: uniform.
    pub fn new(rng: &mut Rng, scenario: &Scenario, stay: f64) -> Random {
        let hardware = Hardware::new(rng, scenario);
        Random {
            rng: rng.fork(),
            hardware,
            cpus: scenario.machine.cpus,
            stay,
            last: 0,
        }
    }
}

impl Scheduler for Random {
    fn next(&mut self, exec: &mut dyn Exec) -> Option<Slot> {
        let act = self.hardware.act(exec);
        if act.is_some() {
            return act;
        }
        if self.rng.f64() < self.stay && exec.ready(self.last) {
            return Some(one_step(self.last));
        }
        let first = self.rng.u8(..self.cpus);
        let mut order = (0..self.cpus).map(|i| (first + i) % self.cpus);
        self.last = order.find(|cpu| exec.ready(*cpu))?;
        Some(one_step(self.last))
    }
}
