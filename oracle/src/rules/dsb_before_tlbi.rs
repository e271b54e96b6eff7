// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dsb-before-tlbi`: without a DSB between a descriptor's store and the TLBI, a walker may read the old descriptor after the TLBI

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "dsb-before-tlbi",
    class: Class::Protocol,
    why: "without a DSB between a descriptor's store and the TLBI, a walker may read the old descriptor after the TLBI",
    on: &[On::End],
    check,
};

fn check(facts: &Facts, _: &State, event: &Event) -> Option<Breach> {
    super::owed(facts, event, |_, c| {
        (!c.dsb_before).then(|| "no DSB between the store and the TLBI".into())
    })
}
