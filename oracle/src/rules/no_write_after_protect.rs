// SPDX-License-Identifier: MIT OR Apache-2.0
//! `no-write-after-protect`: after write permission has been taken away, no store may succeed

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Access, Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "no-write-after-protect",
    class: Class::Observed,
    why: "after write permission has been taken away, no store may succeed",
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
    let (life, page) = super::own_page(facts, state, cpu, va, &entry)?;
    let cell = facts.reference.cell(life.space, va)?;
    (cell.allows(Some(page)) && !cell.allows_write(page)).then(|| Breach {
        cpu: Some(cpu),
        va: Some(va),
        entry: Some(entry),
        what: format!(
            "{} wrote to {va:#x}, which is read-only",
            Facts::name(Some(life))
        ),
    })
}
