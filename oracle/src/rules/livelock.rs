// SPDX-License-Identifier: MIT OR Apache-2.0
//! `livelock`: CPUs that undo each other's work for ever get nothing done

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "livelock",
    class: Class::Liveness,
    why: "CPUs that undo each other's work for ever get nothing done",
    on: &[On::Livelock],
    check,
};

fn check(_: &Facts, _: &State, event: &Event) -> Option<Breach> {
    matches!(event, Event::Livelock)
        .then(|| Breach::new("the operations do not end, though every CPU is let run"))
}
