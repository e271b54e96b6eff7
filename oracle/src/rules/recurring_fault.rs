// SPDX-License-Identifier: MIT OR Apache-2.0
//! `recurring-fault`: a fault that the handler calls spurious must not come back while nothing changes

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "recurring-fault",
    class: Class::Liveness,
    why: "a fault that the handler calls spurious must not come back while nothing changes",
    on: &[On::FaultLoop],
    check,
};

fn check(_: &Facts, _: &State, event: &Event) -> Option<Breach> {
    let Event::FaultLoop { cpu, va } = *event else {
        return None;
    };
    let what = format!("the access to {va:#x} faults again and again, though nothing changes");
    Some(Breach {
        cpu: Some(cpu),
        va: Some(va),
        ..Breach::new(what)
    })
}
