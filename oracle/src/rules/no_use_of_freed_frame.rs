// SPDX-License-Identifier: MIT OR Apache-2.0
//! `no-use-of-freed-frame`: a frame that has been freed may belong to anybody by now

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State, Use};

/// The rule.
pub const RULE: Rule = Rule {
    name: "no-use-of-freed-frame",
    class: Class::Observed,
    why: "a frame that has been freed may belong to anybody by now",
    on: &[On::Accessed],
    check,
};

fn check(facts: &Facts, state: &State, event: &Event) -> Option<Breach> {
    let (cpu, va, entry) = super::reached(event)?;
    let life = facts.cpus[cpu as usize].life?;
    let pa = entry.pa + (va - entry.va);
    let mine = matches!(state.mem.frame(pa).usage, Use::Page(owner, _) if owner == life);
    (entry.owner == Some(life) && !mine).then(|| Breach {
        cpu: Some(cpu),
        va: Some(va),
        entry: Some(entry),
        what: format!(
            "{} reached frame {pa:#x} at {va:#x}, which is no longer its own",
            Facts::name(Some(life))
        ),
    })
}
