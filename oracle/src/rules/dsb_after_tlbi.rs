// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dsb-after-tlbi`: a TLBI is complete only after a DSB of the CPU that issued it

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "dsb-after-tlbi",
    class: Class::Protocol,
    why: "a TLBI is complete only after a DSB of the CPU that issued it",
    on: &[On::End],
    check,
};

fn check(facts: &Facts, _: &State, event: &Event) -> Option<Breach> {
    super::owed(facts, event, |_, c| {
        (!c.dsb_after).then(|| "the operation returned with no DSB after the TLBI".into())
    })
}
