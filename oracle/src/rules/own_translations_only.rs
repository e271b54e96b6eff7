// SPDX-License-Identifier: MIT OR Apache-2.0
//! `own-translations-only`: a space must never reach memory through an entry made from another space's tables

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "own-translations-only",
    class: Class::Observed,
    why: "a space must never reach memory through an entry made from another space's tables",
    on: &[On::Accessed],
    check,
};

fn check(facts: &Facts, _: &State, event: &Event) -> Option<Breach> {
    let (cpu, va, entry) = super::reached(event)?;
    let life = facts.cpus[cpu as usize].life?;
    (entry.owner != Some(life)).then(|| Breach {
        cpu: Some(cpu),
        va: Some(va),
        entry: Some(entry),
        what: format!(
            "{} reached {va:#x} through a translation of {}",
            Facts::name(Some(life)),
            Facts::name(entry.owner)
        ),
    })
}
