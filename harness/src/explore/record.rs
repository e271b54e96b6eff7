// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a scheduler chose, as slots.

use crate::exec::{DONE, Exec};
use crate::scenario::{MAX_STEPS, Slot, Stop};

/// A schedule as it grows.
pub struct Record {
    pub schedule: Vec<Slot>,
    /// Operations that the last turn has done, if it is one of single steps, and whether its last
    /// step ended one.
    done: u16,
    ends: bool,
}

impl Record {
    /// One that begins in the place of another schedule.
    pub fn new(mut schedule: Vec<Slot>) -> Record {
        schedule.clear();
        Record {
            schedule,
            done: 0,
            ends: false,
        }
    }

    /// Adds a slot that was applied, or lengthens the last turn if that is the same CPU's.
    pub fn add(&mut self, slot: Slot, exec: &dyn Exec) {
        let step = match slot {
            Slot::Run {
                cpu,
                stop: Stop::Steps(1),
            } => Some(cpu),
            _ => None,
        };
        match (step, self.schedule.last_mut()) {
            (
                Some(cpu),
                Some(Slot::Run {
                    cpu: last,
                    stop: Stop::Steps(steps),
                }),
            ) if *last == cpu && *steps < MAX_STEPS => *steps += 1,
            _ => {
                self.close();
                self.schedule.push(slot);
            }
        }
        if let Some(cpu) = step {
            self.ends = !exec.within(cpu);
            self.done += u16::from(self.ends);
        }
    }

    /// A turn that ended with an operation says so: it still will when programs have changed.
    pub fn close(&mut self) {
        if core::mem::take(&mut self.ends)
            && let Some(Slot::Run { stop, .. }) = self.schedule.last_mut()
        {
            *stop = Stop::Until {
                name: DONE.to_owned(),
                nth: self.done,
            };
        }
        self.done = 0;
    }
}
