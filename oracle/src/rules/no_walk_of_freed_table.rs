// SPDX-License-Identifier: MIT OR Apache-2.0
//! `no-walk-of-freed-table`: a freed table may hold anything, and a walker believes what it reads there

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State, Use};

/// The rule.
pub const RULE: Rule = Rule {
    name: "no-walk-of-freed-table",
    class: Class::Observed,
    why: "a freed table may hold anything, and a walker believes what it reads there",
    on: &[On::WalkRead],
    check,
};

fn check(_: &Facts, state: &State, event: &Event) -> Option<Breach> {
    let Event::WalkRead {
        cpu,
        va,
        desc_pa,
        owner,
        ..
    } = *event
    else {
        return None;
    };
    let table = state.mem.frame(desc_pa);
    (table.usage != Use::Table(owner)).then(|| Breach {
        cpu: Some(cpu),
        va: Some(va),
        entry: None,
        what: format!(
            "a walk for {} at {va:#x} read {desc_pa:#x}, which is no longer a table of its",
            Facts::name(owner)
        ),
    })
}
