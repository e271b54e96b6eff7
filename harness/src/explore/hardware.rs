// SPDX-License-Identifier: MIT OR Apache-2.0
//! What hardware does while CPUs take their steps.

use crate::exec::Exec;
use crate::scenario::{Scenario, Slot, Word, any, stale};
use fastrand::Rng;
use shootdown_machine::{Act, Memory, PAGE, PAGES, Pick, State, Va};

/// What hardware does at random between the steps of CPUs.
pub struct Hardware {
    rng: Rng,
    cpus: u8,
    /// Probability of any act of hardware before a CPU's step.
    rate: f64,
    /// Probability that an IPI on its way arrives before a CPU's step.
    arrival: f64,
    /// Probability that a host takes a virtual CPU away, or gives it back.
    preemption: f64,
    hot: [Va; 2],
    memory: Memory,
    /// What is to come before anything else: which of several entries a CPU's lookups take.
    opening: Vec<Slot>,
    /// Probability that a walker starts right after a TLBI, a DSB or a change of a descriptor, or where
    /// another CPU takes over. Most windows are about one: what was removed comes back, or what is
    /// new meets what is left.
    eager: f64,
    /// The access that each CPU is about to make: a walker may have been there before it.
    access: [Option<Va>; 4],
    /// Hand-overs that the scheduler has told of.
    pub windows: u64,
    /// TLBIs, DSBs, changes of descriptors and hand-overs so far.
    seen: u64,
}

/// An address that a program of the scenario is about.
fn some_va(rng: &mut Rng, scenario: &Scenario) -> Option<Va> {
    let ops = || scenario.programs.iter().flatten();
    let vas = || ops().filter_map(|op| op.va());
    vas().nth(rng.usize(..vas().count().max(1)))
}

/// A walk under what the CPU has loaded.
fn walk(cpu: u8, va: Va, steps: Option<u8>) -> Slot {
    Slot::Walk {
        cpu,
        va,
        old: false,
        steps,
    }
}

impl Hardware {
    pub fn new(rng: &mut Rng, scenario: &Scenario) -> Hardware {
        let machine = &scenario.machine;
        let rate = any(rng, &[0.0, 0.02, 0.1, 0.3]);
        let arrival = any(rng, &[0.02, 0.1, 0.5]);
        let preemption = any(rng, &[0.005, 0.03, 0.1]);
        let hot = core::array::from_fn(|_| some_va(rng, scenario).unwrap_or(0));
        let pick = any(rng, Pick::ALL);
        let resolve = |cpu| Slot::Resolve { cpu, pick };
        Hardware {
            opening: match rng.u8(..4) > 0 {
                true => (0..machine.cpus).map(resolve).collect(),
                false => Vec::new(),
            },
            eager: any(rng, &[0.0, 0.3, 0.8]),
            access: [None; 4],
            windows: 0,
            seen: 0,
            rng: rng.fork(),
            cpus: machine.cpus,
            rate,
            arrival,
            preemption,
            hot,
            memory: machine.memory,
        }
    }

    /// Whether there was a TLBI, a DSB, a change of a descriptor or a hand-over since the last look.
    fn opens_window(&mut self, state: &State) -> bool {
        let (cost, changes) = (&state.cost, u64::from(state.pte_changes));
        let now = self.windows + cost.tlbis() + cost.dsb + changes;
        core::mem::replace(&mut self.seen, now) != now
    }

    /// A CPU that has come to an access since the last look, and the address.
    fn accesses(&mut self, state: &State) -> Option<(u8, Va)> {
        for (cpu, c) in (0..).zip(&state.cpus) {
            let Some(next) = &c.next else {
                continue;
            };
            let here = match next.act {
                Act::Access(va, _) => Some(va),
                _ => None,
            };
            let was = core::mem::replace(&mut self.access[cpu as usize], here);
            if let (Some(va), None) = (here, was) {
                return Some((cpu, va));
            }
        }
        None
    }

    /// The next act of hardware; `None`: the turn is the CPUs'.
    pub fn act(&mut self, exec: &dyn Exec) -> Option<Slot> {
        if let Some(slot) = self.opening.pop() {
            return Some(slot);
        }
        let state = exec.machine().state();
        if state.has_host() && self.rng.f64() < self.preemption {
            let cpu = self.rng.u8(..self.cpus);
            return Some(if state.cpus[cpu as usize].preempted {
                Slot::Resume { cpu }
            } else {
                Slot::Preempt { cpu }
            });
        }
        if let Some(cpu) = (0..self.cpus).find(|cpu| state.awaits_ipi(*cpu))
            && self.rng.f64() < self.arrival
        {
            return Some(Slot::Ipi { cpu });
        }
        if self.opens_window(&state) && self.rng.f64() < self.eager {
            let (cpu, va) = (self.rng.u8(..self.cpus), self.hot[self.rng.usize(..2)]);
            // One that stops on its way goes on after the next of these.
            let steps = any(&mut self.rng, &[None, None, Some(2)]);
            return Some(walk(cpu, va, steps));
        }
        if let Some((cpu, va)) = self.accesses(&state)
            && self.rng.f64() < self.eager
        {
            return Some(walk(cpu, va, None));
        }
        if self.rng.f64() >= self.rate {
            return None;
        }
        let cpu = self.rng.u8(..self.cpus);
        match self.rng.u8(..8) {
            0..3 if self.memory.buffers() => {
                let last = self.rng.u8(..4) > 0;
                return Some(Slot::Drain { cpu, last });
            }
            3 if self.memory.stale_reads() => {
                let by = stale(&mut self.rng);
                return Some(Slot::Stale { cpu, by });
            }
            _ => {}
        }
        let page = self.rng.u64(..PAGES as u64) * PAGE;
        let va = if self.rng.u8(..4) == 0 {
            page
        } else {
            self.hot[self.rng.usize(..2)]
        };
        Some(match self.rng.u8(..16) {
            0 => Slot::Evict { cpu, va: None },
            1 => Slot::Evict { cpu, va: Some(va) },
            2 => Slot::Deliver { cpu, last: false },
            3 => Slot::Deliver { cpu, last: true },
            4 => {
                let pick = any(&mut self.rng, Pick::ALL);
                Slot::Resolve { cpu, pick }
            }
            5 => match self.rng.u8(..8) {
                0 => Slot::Preempt { cpu },
                1 | 2 => Slot::Resume { cpu },
                _ => Slot::Ipi { cpu },
            },
            6..9 => Slot::Walk {
                cpu,
                va,
                old: true,
                steps: None,
            },
            9..12 => walk(cpu, va, Some(self.rng.u8(1..4))),
            _ => walk(cpu, va, None),
        })
    }
}
