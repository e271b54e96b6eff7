// SPDX-License-Identifier: MIT OR Apache-2.0
//! `flush-before-reuse`: before a tag is used for another space, every entry under it must be gone from the CPU that uses it

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "flush-before-reuse",
    class: Class::Latent,
    why: "before a tag is used for another space, every entry under it must be gone from the CPU that uses it",
    on: &[On::Settled, On::Context],
    check,
};

fn check(facts: &Facts, state: &State, event: &Event) -> Option<Breach> {
    // A guest's context is loaded when it is entered, not when its vCPU is.
    let (Event::Settled { cpu, .. } | Event::Context { cpu }) = *event else { return None };
    let (_, life, ctx) = facts.settled(state).find(|s| s.0 == cpu)?;
    let mut entries = state.tlb(cpu).entries.iter();
    let old = entries.find(|e| e.usable(cpu, ctx.tags) && e.owner.is_some_and(|o| o != life))?;
    Some(Breach {
        cpu: Some(cpu),
        va: Some(old.va),
        entry: Some(*old),
        what: format!(
            "cpu{cpu} begins to run {} under a tag that still has entries of {}",
            Facts::name(Some(life)),
            Facts::name(old.owner)
        ),
    })
}
