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
    pub(super) fn next(&mut self, exec: &mut dyn Exec) -> Option<u8> {
        loop {
            let (cpu, ops) = self.left.last_mut()?;
            if self.began && exec.next(*cpu).is_none() {
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
