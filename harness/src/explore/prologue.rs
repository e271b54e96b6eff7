// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is done before CPUs race.

use crate::exec::Exec;
use fastrand::Rng;

/// Operations that CPUs do one after the other, whole, before anything is interrupted: they make
/// the state that a race needs, and chance would interrupt them first.
#[derive(Default)]
pub(super) struct Prologue {
    rng: Rng,
    /// The operations that CPUs have left; the last CPU's turn it is.
    left: Vec<(u8, usize)>,
    /// Whether that is in the middle of one.
    began: bool,
}

impl Prologue {
    /// These many operations of these CPUs.
    pub(super) fn new(rng: &mut Rng, mut left: Vec<(u8, usize)>) -> Prologue {
        left.retain(|(_, ops)| *ops > 0);
        rng.shuffle(&mut left);
        Prologue {
            rng: rng.fork(),
            left,
            began: false,
        }
    }

    /// Whose step is next; `None`: all is done.
    pub(super) fn next(&mut self, exec: &dyn Exec) -> Option<u8> {
        loop {
            let (cpu, ops) = self.left.last_mut()?;
            if self.began && !exec.within(*cpu) {
                self.began = false;
                *ops -= 1;
                if *ops == 0 {
                    self.left.pop();
                }
                // Mostly who makes something makes all of it.
                let last = self.left.len().checked_sub(1)?;
                if self.rng.bool() {
                    self.left.swap(self.rng.usize(..=last), last);
                }
                continue;
            }
            // One that waits for another waits until that races.
            if exec.ready(*cpu) {
                self.began = true;
                return Some(*cpu);
            }
            self.give_up();
        }
    }

    /// The CPU whose turn it is does not come to an end.
    pub(super) fn give_up(&mut self) {
        self.left.pop();
        self.began = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Slot;
    use shootdown_machine::{Act, Announced, Machine};
    use std::panic::Location;

    /// CPUs whose operations have three steps each.
    struct Threes {
        machine: Machine,
        steps: [u32; 4],
        blocked: Option<u8>,
    }

    impl Exec for Threes {
        fn apply(&mut self, _: &Slot) -> bool {
            unreachable!("a prologue only chooses")
        }
        fn ready(&self, cpu: u8) -> bool {
            self.blocked != Some(cpu)
        }
        fn over(&self) -> bool {
            false
        }
        fn next(&self, cpu: u8) -> Option<Announced> {
            let within = !self.steps[cpu as usize].is_multiple_of(3);
            within.then_some(Announced {
                act: Act::Isb,
                site: Location::caller(),
            })
        }
        fn come_to(&mut self, cpu: u8) -> Option<Announced> {
            self.next(cpu)
        }
        fn machine(&self) -> &Machine {
            &self.machine
        }
    }

    /// Whose the steps are of a prologue of these operations.
    fn steps(left: &[(u8, usize)], blocked: Option<u8>, seed: u64) -> Vec<u8> {
        let mut prologue = Prologue::new(&mut Rng::with_seed(seed), left.to_vec());
        let (machine, steps) = (Machine::default(), [0; 4]);
        let mut exec = Threes {
            machine,
            steps,
            blocked,
        };
        let step = || {
            let cpu = prologue.next(&exec)?;
            exec.steps[cpu as usize] += 1;
            Some(cpu)
        };
        core::iter::from_fn(step).collect()
    }

    #[test]
    fn operations_are_done_whole_in_any_order() {
        let mut orders = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let steps = steps(&[(0, 2), (1, 0), (2, 1)], None, seed);
            assert_eq!(steps.len(), 9);
            let ops: Vec<_> = steps.chunks(3).map(|op| op[0]).collect();
            assert!(steps.chunks(3).all(|op| op == [op[0]; 3]), "{steps:?}");
            orders.insert(ops);
        }
        let all = [[0, 0, 2], [0, 2, 0], [2, 0, 0]].map(Vec::from);
        assert_eq!(orders, all.into());
    }

    #[test]
    fn one_that_waits_is_left_out() {
        for seed in 0..10 {
            assert_eq!(steps(&[(0, 1), (3, 2)], Some(3), seed), [0; 3]);
        }
        assert!(steps(&[], None, 0).is_empty());
    }

    #[test]
    fn one_that_does_not_end_is_given_up() {
        let mut prologue = Prologue::new(&mut Rng::with_seed(1), vec![(1, 2)]);
        let (machine, steps) = (Machine::default(), [0; 4]);
        let exec = Threes {
            machine,
            steps,
            blocked: None,
        };
        assert_eq!(prologue.next(&exec), Some(1));
        prologue.give_up();
        assert_eq!(prologue.next(&exec), None);
    }
}
