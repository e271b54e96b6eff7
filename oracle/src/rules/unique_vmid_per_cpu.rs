// SPDX-License-Identifier: MIT OR Apache-2.0
//! `UniqueVMIDPerCPU`: two entries under one VMID in one CPU's TLB must belong to one space, or an access gets the wrong one

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "UniqueVMIDPerCPU",
    class: Class::Latent,
    why: "two entries under one VMID in one CPU's TLB must belong to one space, or an access gets the wrong one",
    on: &[On::Fill, On::Settled],
    check,
};

fn check(facts: &Facts, state: &State, event: &Event) -> Option<Breach> {
    super::tags::shared_tag(
        facts,
        state,
        event,
        super::tags::Kind {
            vmid: true,
            shared: false,
        },
    )
}
