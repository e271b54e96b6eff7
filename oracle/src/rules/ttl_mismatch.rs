// SPDX-License-Identifier: MIT OR Apache-2.0
//! `ttl-mismatch`: a TLBI whose level hint is not the level of the entry need not invalidate it

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "ttl-mismatch",
    class: Class::Protocol,
    why: "a TLBI whose level hint is not the level of the entry need not invalidate it",
    on: &[On::End],
    check,
};

fn check(facts: &Facts, _: &State, event: &Event) -> Option<Breach> {
    super::owed(facts, event, |debt, c| {
        (!c.level).then(|| format!("the hint of \"{}\" is not level {}", c.op, debt.level))
    })
}
