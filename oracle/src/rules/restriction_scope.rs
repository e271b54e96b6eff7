// SPDX-License-Identifier: MIT OR Apache-2.0
//! `restriction-scope`: what a space loses must be invalidated on every CPU that may have it cached

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "restriction-scope",
    class: Class::Protocol,
    why: "what a space loses must be invalidated on every CPU that may have it cached",
    on: &[On::End],
    check,
};

fn check(facts: &Facts, state: &State, event: &Event) -> Option<Breach> {
    let Event::End { cpu, .. } = *event else {
        return None;
    };
    super::owed(facts, event, |debt, c| {
        if c.broadcast {
            return None;
        }
        let other = facts.settled(state).find(|(other, life, ctx)| {
            let cached = state.tlb(*other).entries.iter().any(|e| {
                e.leaf && e.covers(debt.va) && e.owner == Some(*life) && e.usable(*other, ctx.tags)
            });
            *other != cpu && *life == debt.life && cached
        })?;
        Some(format!(
            "\"{}\" is local, and cpu{} has it cached",
            c.op, other.0
        ))
    })
}
