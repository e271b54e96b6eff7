// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making any scenario valid.

use super::words;
use super::{Choice, Expect, MAX_NTH, MAX_OPS, MAX_SLOTS, MAX_STALE, MAX_STEPS};
use super::{MAX_VARIANTS, Scenario, Slot, Stop};
use shootdown_machine::{Op, PAGE, PAGES, Space, Va};

/// The page of the space that an address falls on.
fn fit_va(va: &mut Va) {
    *va = (*va % (PAGES as u64 * PAGE)) & !(PAGE - 1);
}

fn fit_op(op: &mut Op, spaces: u8) {
    let fit_space = |space: &mut Space| space.0 %= spaces;
    op.space_mut().map(fit_space);
    op.other_space_mut().map(fit_space);
    op.va_mut().map(fit_va);
    op.to_mut().map(fit_va);
}

fn fit_stop(stop: &mut Stop) {
    match stop {
        Stop::Steps(steps) => *steps = (*steps).clamp(1, MAX_STEPS),
        Stop::Until { name, .. } if !words::is_until_name(name.as_bytes()) => {
            *stop = Stop::Steps(1);
        }
        Stop::Until { nth, .. } => *nth = (*nth).clamp(1, MAX_NTH),
    }
}

fn fit_slot(slot: &mut Slot, cpus: u8) {
    *slot.cpu_mut() %= cpus;
    match slot {
        Slot::Run { stop, .. } => fit_stop(stop),
        Slot::Walk { va, steps, .. } => {
            fit_va(va);
            *steps = steps.map(|n| n.max(1));
        }
        Slot::Evict { va, .. } => va.iter_mut().for_each(fit_va),
        Slot::Stale { by, .. } => *by = (*by).clamp(1, MAX_STALE),
        Slot::Deliver { .. }
        | Slot::Ipi { .. }
        | Slot::Resolve { .. }
        | Slot::Drain { .. }
        | Slot::Preempt { .. }
        | Slot::Resume { .. } => {}
    }
}

fn is_choice(choice: &Choice) -> bool {
    words::is_variant(choice.variant.as_bytes())
        && choice
            .defect
            .as_ref()
            .is_none_or(|d| words::is_name(d.as_bytes()))
}

impl Scenario {
    /// Brings everything within its limits, so that the scenario prints as a text
    /// that parses to it. A valid one is left as it is.
    ///
    /// CPUs, spaces and addresses wrap around, the program of a CPU that does not
    /// exist goes to one that does, counts go to the nearest end, and names that are
    /// none are dropped.
    pub fn repair(&mut self) {
        self.machine = self.machine.clamp();
        let cpus = usize::from(self.machine.cpus);
        if self.programs.len() > cpus {
            let orphans: Vec<Vec<Op>> = self.programs.drain(cpus..).collect();
            for (n, orphan) in orphans.into_iter().enumerate() {
                let heir = &mut self.programs[n % cpus];
                let room = MAX_OPS.saturating_sub(heir.len());
                heir.extend(orphan.into_iter().take(room));
            }
        }
        self.programs.resize(cpus, Vec::new());
        for program in &mut self.programs {
            program.truncate(MAX_OPS);
            program
                .iter_mut()
                .for_each(|op| fit_op(op, self.machine.spaces));
        }
        self.schedule.truncate(MAX_SLOTS);
        self.schedule
            .iter_mut()
            .for_each(|slot| fit_slot(slot, self.machine.cpus));
        self.variants.retain(is_choice);
        self.variants.truncate(MAX_VARIANTS);
        if let Some(Expect::Breach { rule, by }) = &self.expect
            && !(words::is_name(rule.as_bytes()) && is_choice(by))
        {
            self.expect = None;
        }
    }
}
