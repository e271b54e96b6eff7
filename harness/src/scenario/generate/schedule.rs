// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random schedules.

use super::{Swarm, Word, any, percent, stale, weighted};
use crate::scenario::{Slot, Stop};
use fastrand::Rng;
use shootdown_machine::Pick;

impl Swarm {
    pub(in crate::scenario) fn schedule(&self, rng: &mut Rng) -> Vec<Slot> {
        if self.long {
            return self.long_turns(rng);
        }
        let mut schedule = Vec::with_capacity(60);
        for _ in 0..rng.usize(8..=60) {
            schedule.push(self.slot(rng, schedule.last()));
        }
        schedule
    }

    /// What PCT does: few hand-overs, since most bugs need no more than two or three, at places
    /// that are anywhere; hardware acts within turns as well as between them.
    fn long_turns(&self, rng: &mut Rng) -> Vec<Slot> {
        let mut schedule = Vec::with_capacity(60);
        let gap = any(rng, &[4, 10, 30]);
        let most = any(rng, &[30, 60, 120]);
        let mut cpu = rng.u8(..self.cpus);
        for _ in 0..rng.usize(2..=6) {
            let mut left = rng.u16(1..=most);
            while left > 0 && schedule.len() < 60 {
                let steps = rng.u16(1..=2 * gap).min(left);
                left -= steps;
                let stop = Stop::Steps(steps);
                schedule.push(Slot::Run { cpu, stop });
                schedule.push(self.act(rng, schedule.last()));
            }
            if self.cpus > 1 {
                cpu = (cpu + rng.u8(1..self.cpus)) % self.cpus;
            }
        }
        schedule
    }

    /// A slot to follow this one.
    pub(in crate::scenario) fn slot(&self, rng: &mut Rng, after: Option<&Slot>) -> Slot {
        if !percent(rng, self.agency) {
            let mut cpu = rng.u8(..self.cpus);
            // Two turns of one CPU in a row are only a longer turn.
            if matches!(after, Some(Slot::Run { cpu: last, .. }) if *last == cpu) {
                cpu = (cpu + 1) % self.cpus;
            }
            return Slot::Run {
                cpu,
                stop: Stop::Steps(self.steps(rng)),
            };
        }
        self.act(rng, after)
    }

    /// A slot of hardware to follow this one: mostly on the CPU that has just run, where the
    /// window is.
    fn act(&self, rng: &mut Rng, after: Option<&Slot>) -> Slot {
        let cpu = match after {
            Some(slot) if self.long && percent(rng, 50) => slot.cpu(),
            _ => rng.u8(..self.cpus),
        };
        match weighted(rng, &self.agents) {
            0 => Slot::Walk {
                cpu,
                va: self.va(rng),
                old: percent(rng, 15),
                steps: if percent(rng, 60) {
                    None
                } else {
                    Some(rng.u8(1..=4))
                },
            },
            1 => Slot::Evict {
                cpu,
                va: if percent(rng, 40) {
                    None
                } else {
                    Some(self.va(rng))
                },
            },
            2 => Slot::Deliver {
                cpu,
                last: percent(rng, 30),
            },
            3 => Slot::Resolve {
                cpu,
                pick: any(rng, Pick::ALL),
            },
            4 => Slot::Ipi { cpu },
            // A buffer has something in it after a turn of its CPU. In order is how stores
            // reach memory anyway, at the next barrier.
            5 => Slot::Drain {
                cpu: match after {
                    Some(slot) if percent(rng, 75) => slot.cpu(),
                    _ => cpu,
                },
                last: percent(rng, 70),
            },
            6 => Slot::Stale {
                cpu,
                by: stale(rng),
            },
            _ if percent(rng, 40) => Slot::Preempt { cpu },
            _ => Slot::Resume { cpu },
        }
    }

    /// Steps of a turn: one, or a burst of geometric length.
    pub(in crate::scenario) fn steps(&self, rng: &mut Rng) -> u16 {
        let mut steps = 1;
        if !percent(rng, self.single) {
            while steps < 4 * self.burst && rng.u32(..self.burst) != 0 {
                steps += 1;
            }
        }
        steps as u16
    }
}
