// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a run ends as it does, found out by running it again: a little longer or shorter, or
//! without one of its events.

mod cause;
mod handover;
pub mod told;
pub(crate) mod unroll;
mod why_not;

pub use cause::{Cause, causes};
pub use handover::{HandOver, Place, hand_overs};
pub use why_not::{Guard, WhyNot, why_not};

use crate::check::{Found, Subject, check, check_ignoring};
use crate::exec::{Bench, Traced};
use crate::report::Run;
use crate::report::words::site;
use crate::scenario::Scenario;
use shootdown_machine::{Act, Event, Sabotage};

/// What a run comes to: the rule that it breaks, and by whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict(Option<(&'static str, String)>);

impl Verdict {
    /// Of a finding.
    pub fn of(found: Option<&Found>) -> Verdict {
        Verdict(found.map(|f| (f.finding.rule.name, f.by.name())))
    }

    /// Of a scenario run by these.
    fn check(bench: &mut Bench, scenario: &Scenario, subjects: &[Subject]) -> Verdict {
        Verdict::of(check(bench, scenario, subjects).found.as_ref())
    }

    /// The rule that is broken.
    pub fn rule(&self) -> Option<&'static str> {
        self.0.as_ref().map(|(rule, _)| *rule)
    }
}

/// What one variant's run comes to when the machine ignores a step.
fn without(bench: &mut Bench, by: Subject, scenario: &Scenario, step: u32) -> Verdict {
    let sabotage = Some(Sabotage::Step(step));
    Verdict::of(
        check_ignoring(bench, scenario, &[by], sabotage)
            .found
            .as_ref(),
    )
}

/// The TLBIs, barriers, locks and stores of a run, in order. Not unlocks: without one there is a
/// deadlock, whatever the lock is for. What the harness does is no part of the port.
fn removable(run: &Run<'_>) -> Vec<Guard> {
    let guard = |(at, (step, event)): (usize, &Traced)| {
        let Event::Did {
            cpu,
            act,
            value,
            site: place,
            ..
        } = *event
        else {
            return None;
        };
        let unlock = matches!(act, Act::Unlock(_) | Act::ReadUnlock(_));
        let of_port = !place.file().starts_with("harness");
        (act.is_maintenance() && !unlock && of_port).then(|| Guard {
            step: *step,
            cpu,
            what: run.said(act, value, at).whole(),
            site: site(place),
        })
    };
    run.trace.iter().enumerate().filter_map(guard).collect()
}
