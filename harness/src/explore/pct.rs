// SPDX-License-Identifier: MIT OR Apache-2.0
//! Probabilistic concurrency testing.

use super::hardware::Hardware;
use super::priorities::Priorities;
use super::{Scheduler, one_step};
use crate::exec::Exec;
use crate::scenario::{Scenario, Slot, any};
use fastrand::Rng;
use shootdown_machine::Announced;
use shootdown_variants::source;

/// Priority changes of a run, at most: a bug of depth d needs d - 1, and one too many early in the
/// run is in its way.
const CHANGES: usize = 4;
/// Steps that an operation is taken to have, for where the changes may be: most are shorter than
/// the longest of these, and what matters is over early in most runs, late in some.
const LENGTHS: &[u32] = &[5, 10, 20, 40];

/// Where priorities change.
enum Changes {
    /// At these steps of the run.
    Steps(Vec<u32>),
    /// Before steps at some places of the code. A window is as long as the code between two
    /// places, however long the run: of a few dozen places, two are drawn far more often
    /// than two steps of hundreds.
    Places {
        salt: u32,
        /// One place in so many.
        one_in: u32,
        /// Probability of a change on coming to one.
        rate: f64,
        left: usize,
    },
}

/// The CPU of the highest priority runs, until a change lowers it.
pub struct Pct {
    rng: Rng,
    hardware: Hardware,
    priorities: Priorities,
    changes: Changes,
    step: u32,
    /// CPUs that stand at the place where a change has lowered them.
    lowered: [bool; 4],
}

impl Pct {
    /// Priorities and changes drawn at random.
    pub fn new(rng: &mut Rng, scenario: &Scenario) -> Pct {
        let hardware = Hardware::new(rng, scenario);
        let priorities = Priorities::new(rng, scenario.machine.cpus);
        let changes = if rng.bool() {
            let ops = scenario.programs.iter().map(Vec::len).sum::<usize>().max(1);
            let length = any(rng, LENGTHS) * ops as u32;
            let changes = 0..rng.usize(1..=CHANGES);
            Changes::Steps(changes.map(|_| rng.u32(..length)).collect())
        } else {
            Changes::Places {
                salt: rng.u32(..),
                one_in: any(rng, &[2, 5, 12]),
                rate: any(rng, &[0.15, 0.4, 0.8]),
                left: rng.usize(1..=CHANGES + 2),
            }
        };
        Pct {
            rng: rng.fork(),
            hardware,
            priorities,
            changes,
            step: 0,
            lowered: [false; 4],
        }
    }

    /// Whether priorities change before this step of a CPU.
    fn changes(&mut self, exec: &dyn Exec, cpu: u8) -> bool {
        match &mut self.changes {
            Changes::Steps(steps) => steps.contains(&self.step),
            Changes::Places {
                salt,
                one_in,
                rate,
                left,
            } => {
                let here = *left > 0 && hash(*salt, exec.next(cpu)).is_multiple_of(*one_in);
                let change = here && !self.lowered[cpu as usize] && self.rng.f64() < *rate;
                *left -= usize::from(change);
                change
            }
        }
    }
}

/// A number for a place in the code; between operations is one, too.
fn hash(salt: u32, next: Option<Announced>) -> u32 {
    let (file, line) = next.map_or((0, 0), |n| {
        (source(n.site.file()).len() as u32, n.site.line())
    });
    let place = salt ^ line.wrapping_mul(0x9e37_79b1) ^ file.wrapping_mul(0x85eb_ca6b);
    let mixed = (place ^ place >> 15).wrapping_mul(0x2c1b_3c6d);
    mixed ^ mixed >> 13
}

impl Scheduler for Pct {
    fn next(&mut self, exec: &mut dyn Exec) -> Option<Slot> {
        let act = self.hardware.act(exec);
        if act.is_some() {
            return act;
        }
        let cpu = self.priorities.first(exec)?;
        let change = self.changes(exec, cpu);
        if change || self.priorities.spins(cpu) {
            self.priorities.lower(cpu);
            self.lowered[cpu as usize] = true;
            self.step += 1;
            self.hardware.windows += 1;
            return self.next(exec);
        }
        self.step += 1;
        self.lowered[cpu as usize] = false;
        self.priorities.ran(cpu);
        Some(one_step(cpu))
    }
}
