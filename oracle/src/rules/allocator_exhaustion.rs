// SPDX-License-Identifier: MIT OR Apache-2.0
//! `allocator-exhaustion`: an allocator must always have a tag for the next space

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "allocator-exhaustion",
    class: Class::Liveness,
    why: "an allocator must always have a tag for the next space",
    on: &[On::Warn],
    check,
};

fn check(_: &Facts, _: &State, event: &Event) -> Option<Breach> {
    let Event::Warn { cpu, what } = *event else {
        return None;
    };
    Some(Breach {
        cpu: Some(cpu),
        ..Breach::new(what)
    })
}
