// SPDX-License-Identifier: MIT OR Apache-2.0
//! The events without which the verdict changes.

use super::unroll::{Taken, Unrolled};
use super::{Guard, Verdict, removable, without};
use crate::check::Found;
use crate::exec::Bench;
use crate::report::with_run;
use crate::scenario::{Scenario, Slot};
use shootdown_machine::Event;

/// An event that the verdict needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cause {
    /// The step; of an operation, its first.
    pub step: u32,
    /// The CPU.
    pub cpu: u8,
    /// What it is.
    pub what: String,
    /// Where in the port: file and line. Empty: it has no place there.
    pub site: String,
    /// What the run comes to without it.
    pub without: Verdict,
}

/// The operations, acts of the hardware, TLBIs, barriers, locks and stores of a run without
/// which it breaks another rule, or none; in order, with how many were tried.
pub fn causes(bench: &mut Bench, scenario: &Scenario, found: &Found) -> (Vec<Cause>, usize) {
    let by = found.by;
    let unrolled = Unrolled::new(bench, by, scenario);
    let events = events(bench, scenario, found, &unrolled);
    let wanted = Verdict::of(Some(found));
    let tried = events.len();
    let needed = |(what, mut cause): (What, Cause)| {
        cause.without = match what {
            What::Step => without(bench, by, scenario, cause.step),
            What::Slot(slot) => {
                let mut less = unrolled.scenario.clone();
                less.schedule.remove(slot);
                Verdict::check(bench, &less, &[by])
            }
            What::Op(index) => {
                let less = unrolled.without_op(bench, found, cause.cpu, index);
                Verdict::check(bench, &less, &[by])
            }
        };
        (cause.without != wanted).then_some(cause)
    };
    (events.into_iter().filter_map(needed).collect(), tried)
}

/// What an event is, for leaving it out.
enum What {
    /// A step of a CPU.
    Step,
    /// A slot that is no CPU's turn.
    Slot(usize),
    /// An operation, by its place in the program.
    Op(usize),
}

/// Everything that can be left out, in order.
fn events(
    bench: &mut Bench,
    scenario: &Scenario,
    found: &Found,
    unrolled: &Unrolled,
) -> Vec<(What, Cause)> {
    let cause = |step, cpu, what, site| Cause {
        step,
        cpu,
        what,
        site,
        without: Verdict::of(None),
    };
    let mut events: Vec<(What, Cause)> =
        with_run(bench, scenario, found.by, &found.finding, |run| {
            let step = |s: Guard| (What::Step, cause(s.step, s.cpu, s.what, s.site));
            let op = |(step, event): &(u32, Event)| match *event {
                Event::Begin { cpu, op, index, .. } => {
                    let cause = cause(*step, cpu, format!("\"{op}\""), String::new());
                    Some((What::Op(index.into()), cause))
                }
                _ => None,
            };
            let steps = removable(run).into_iter().map(step);
            steps.chain(run.trace.iter().filter_map(op)).collect()
        });
    for (at, slot) in scenario.schedule.iter().enumerate() {
        if matches!(slot, Slot::Run { .. }) {
            continue;
        }
        if let Some(Taken { step, .. }) = unrolled.taken.iter().find(|t| t.slot == at) {
            let cause = cause(*step, slot.cpu(), slot.to_string(), String::new());
            events.push((What::Slot(at), cause));
        }
    }
    events.sort_by_key(|(_, cause)| cause.step);
    events
}
