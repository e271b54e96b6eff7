// SPDX-License-Identifier: MIT OR Apache-2.0
//! Turns that end where a window may be.

use super::hardware::Hardware;
use super::priorities::PATIENCE;
use super::{Scheduler, one_step};
use crate::exec::Exec;
use crate::scenario::{Scenario, Slot, any, weighted};
use fastrand::Rng;
use shootdown_machine::{Act, Announced};

/// What ends a turn.
#[derive(Clone, Copy)]
enum End {
    /// So many operations are done.
    Ops(u32),
    /// So many steps that others can see are done, and the next is one.
    Seen(u32),
    /// So many steps.
    Steps(u32),
    /// Nothing: the program.
    Program,
}

/// Each CPU goes on until an operation is done, or until it comes to a step that others can see:
/// between two of those, it does not matter where another takes over, but for what it reads.
/// A window is as wide as an operation then has such steps, a dozen, and not as all its steps.
pub struct Turns {
    rng: Rng,
    hardware: Hardware,
    cpus: u8,
    cpu: u8,
    end: End,
    /// How likely each end is.
    weights: [u32; 4],
    /// Steps to be seen in a turn, at most.
    most: u32,
    /// Steps of the turn so far.
    steps: u32,
}

/// 1 to `most`, small ones most often: what reads without a lock is short.
fn short(rng: &mut Rng, most: u32) -> u32 {
    let most = rng.u32(1..=most);
    rng.u32(1..=most)
}

/// Whether others can see that this step was done.
fn is_seen(next: Announced) -> bool {
    !matches!(
        next.act,
        Act::Load(..) | Act::Isb | Act::Fence(_) | Act::IrqOff | Act::IrqOn
    )
}

impl Turns {
    /// Ends drawn at random.
    pub fn new(rng: &mut Rng, scenario: &Scenario) -> Turns {
        let hardware = Hardware::new(rng, scenario);
        let cpus = scenario.machine.cpus;
        let mut turns = Turns {
            hardware,
            cpus,
            cpu: rng.u8(..cpus),
            end: End::Program,
            weights: [
                rng.u32(10..=40),
                rng.u32(20..=60),
                any(rng, &[10, 40]),
                rng.u32(2..=15),
            ],
            most: any(rng, &[5, 10, 20]),
            steps: 0,
            rng: rng.fork(),
        };
        turns.begin();
        turns
    }

    /// A new turn.
    fn begin(&mut self) {
        let rng = &mut self.rng;
        self.steps = 0;
        self.end = match weighted(rng, &self.weights) {
            0 => End::Ops(any(rng, &[1, 1, 1, 2, 3])),
            1 => End::Seen(short(rng, self.most) - 1),
            2 => End::Steps(short(rng, 3 * self.most)),
            _ => End::Program,
        };
    }

    /// Whether the turn is over, before what the CPU would do next.
    fn ends(&mut self, exec: &mut dyn Exec) -> bool {
        let next = exec.next(self.cpu);
        let done = self.steps > 0 && next.is_none();
        let seen = next.is_some_and(is_seen);
        self.steps == PATIENCE
            || match &mut self.end {
                End::Ops(left) => {
                    *left -= u32::from(done);
                    *left == 0
                }
                End::Seen(left) if seen => {
                    let over = *left == 0;
                    *left = left.saturating_sub(1);
                    over
                }
                End::Seen(_) | End::Program => false,
                End::Steps(left) => {
                    *left -= 1;
                    *left == 0
                }
            }
    }
}

impl Scheduler for Turns {
    fn next(&mut self, exec: &mut dyn Exec) -> Option<Slot> {
        let act = self.hardware.act(exec);
        if act.is_some() {
            return act;
        }
        if !exec.ready(self.cpu) || self.ends(exec) {
            self.begin();
            self.hardware.windows += 1;
            let first = self.cpu + self.rng.u8(1..=self.cpus.max(2) - 1);
            let mut order = (0..self.cpus).map(|i| (first + i) % self.cpus);
            self.cpu = order.find(|cpu| exec.ready(*cpu))?;
            let act = self.hardware.act(exec);
            if act.is_some() {
                return act;
            }
        }
        self.steps += 1;
        Some(one_step(self.cpu))
    }
}
