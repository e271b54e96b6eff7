// SPDX-License-Identifier: MIT OR Apache-2.0
//! `UniqueASIDAllCPUs`: two entries that siblings share under one ASID must belong to one space, or one sibling gets the other's

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "UniqueASIDAllCPUs",
    class: Class::Latent,
    why: "two entries that siblings share under one ASID must belong to one space, or one sibling gets the other's",
    on: &[On::Fill, On::Settled],
    check,
};

fn check(facts: &Facts, state: &State, event: &Event) -> Option<Breach> {
    super::tags::shared_tag(
        facts,
        state,
        event,
        super::tags::Kind {
            vmid: false,
            shared: true,
        },
    )
}
