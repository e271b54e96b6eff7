// SPDX-License-Identifier: MIT OR Apache-2.0
//! `no-lost-mapping`: an access to a page that stays mapped must succeed

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Access, Done, Event, Op, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "no-lost-mapping",
    class: Class::Differential,
    why: "an access to a page that stays mapped must succeed",
    on: &[On::End],
    check,
};

fn check(facts: &Facts, _: &State, event: &Event) -> Option<Breach> {
    let Event::End {
        cpu,
        op: Op::Touch(va, access),
        done: Done::Fault,
        ..
    } = *event
    else {
        return None;
    };
    let running = &facts.cpus[cpu as usize];
    let life = running.life?;
    let cell = facts.reference.cell(life.space, va)?;
    let may_fault = cell
        .values()
        .iter()
        .any(|v| v.page.is_none() || (access == Access::Write && !v.writable));
    (cell.settled() && !running.disturbed && !may_fault).then(|| Breach {
        cpu: Some(cpu),
        va: Some(va),
        entry: None,
        what: format!(
            "{} was refused {va:#x}, which is mapped and permits it",
            Facts::name(Some(life))
        ),
    })
}
