// SPDX-License-Identifier: MIT OR Apache-2.0
//! `no-lost-write`: a store to a page whose contents have been copied elsewhere is lost

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Access, Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "no-lost-write",
    class: Class::Observed,
    why: "a store to a page whose contents have been copied elsewhere is lost",
    on: &[On::Accessed],
    check,
};

fn check(facts: &Facts, state: &State, event: &Event) -> Option<Breach> {
    let Event::Accessed {
        access: Access::Write,
        ..
    } = event
    else {
        return None;
    };
    let (cpu, va, entry) = super::reached(event)?;
    let (life, _) = super::own_page(facts, state, cpu, va, &entry)?;
    state
        .mem
        .frame(entry.pa + (va - entry.va))
        .moved
        .then(|| Breach {
            cpu: Some(cpu),
            va: Some(va),
            entry: Some(entry),
            what: format!(
                "{} wrote to {va:#x} in a page that had been copied already",
                Facts::name(Some(life))
            ),
        })
}
