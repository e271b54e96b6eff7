// SPDX-License-Identifier: MIT OR Apache-2.0
//! `deadlock`: a kernel in which every CPU waits for another never runs again

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "deadlock",
    class: Class::Liveness,
    why: "a kernel in which every CPU waits for another never runs again",
    on: &[On::Deadlock],
    check,
};

fn check(_: &Facts, _: &State, event: &Event) -> Option<Breach> {
    let Event::Deadlock { cpu, act } = *event else {
        return None;
    };
    let what = format!(
        "cpu{cpu} waits for ever ({}), and so does every other",
        act.word()
    );
    Some(Breach {
        cpu: Some(cpu),
        ..Breach::new(what)
    })
}
