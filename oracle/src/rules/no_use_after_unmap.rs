// SPDX-License-Identifier: MIT OR Apache-2.0
//! `no-use-after-unmap`: after an unmap or a migration has returned, nobody may reach the old page at that address

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "no-use-after-unmap",
    class: Class::Observed,
    why: "after an unmap or a migration has returned, nobody may reach the old page at that address",
    on: &[On::Accessed],
    check,
};

fn check(facts: &Facts, state: &State, event: &Event) -> Option<Breach> {
    let (cpu, va, entry) = super::reached(event)?;
    let (life, page) = super::own_page(facts, state, cpu, va, &entry)?;
    (!facts.reference.cell(life.space, va)?.allows(Some(page))).then(|| Breach {
        cpu: Some(cpu),
        va: Some(va),
        entry: Some(entry),
        what: format!(
            "{} reached a page at {va:#x} that is no longer mapped there",
            Facts::name(Some(life))
        ),
    })
}
