// SPDX-License-Identifier: MIT OR Apache-2.0
//! `matches-reference`: an operation's effect on the mappings must be the one that the reference gives it

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "matches-reference",
    class: Class::Differential,
    why: "an operation's effect on the mappings must be the one that the reference gives it",
    on: &[On::End],
    check,
};

fn check(facts: &Facts, _: &State, event: &Event) -> Option<Breach> {
    let Event::End { cpu, op, .. } = *event else {
        return None;
    };
    let (va, page) = facts.wrong?;
    let now = page.map_or("nothing".into(), |p| format!("page {}", p.0));
    Some(Breach {
        cpu: Some(cpu),
        va: Some(va),
        entry: None,
        what: format!("after \"{op}\", {va:#x} maps {now}, which no order of the operations gives"),
    })
}
