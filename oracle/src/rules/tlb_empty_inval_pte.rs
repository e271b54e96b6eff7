// SPDX-License-Identifier: MIT OR Apache-2.0
//! `TLBEmptyInvalPTE`: once an invalidation has returned, no entry that a running space can use may hold what it invalidated

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Entry, Event, State, arm64::Stage};

/// The rule.
pub const RULE: Rule = Rule {
    name: "TLBEmptyInvalPTE",
    class: Class::Latent,
    why: "once an invalidation has returned, no entry that a running space can use may hold what it invalidated",
    on: &[On::End, On::Settled, On::Context, On::Fill],
    check,
};

fn check(facts: &Facts, state: &State, event: &Event) -> Option<Breach> {
    if let Event::End { op, .. } = event
        && op.space().is_none()
    {
        return None;
    }
    for (cpu, life, ctx) in facts.settled(state) {
        if matches!(event, Event::Context { cpu: c } | Event::Settled { cpu: c, .. } if *c != cpu) {
            continue;
        }
        let usable = |e: &&Entry| {
            e.leaf && e.stage == Stage::One && e.owner == Some(life) && e.usable(cpu, ctx.tags)
        };
        let stale = match event {
            Event::Fill { entry, .. } => {
                let entry = Some(entry).filter(usable);
                entry.and_then(|e| Some((e, facts.stale(state, life, e)?)))
            }
            _ => {
                let mut entries = state.tlb(cpu).entries.iter().filter(usable);
                entries.find_map(|e| Some((e, facts.stale(state, life, e)?)))
            }
        };
        if let Some((entry, (va, why))) = stale {
            return Some(Breach {
                cpu: Some(cpu),
                va: Some(va),
                entry: Some(*entry),
                what: format!(
                    "cpu{cpu} runs {} and can use an entry for {va:#x} with {why}",
                    Facts::name(Some(life))
                ),
            });
        }
    }
    None
}
