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

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::script::*;

    /// CPU 1 has left A; its entries are still in the TLB that it shares with CPU 0.
    async fn switch_under(s: &Scene<'_>, asid: u16) {
        s.switch(s.c1, A, 1).await;
        s.c1.access(0x4000, Access::Read).await;
        s.leave(s.c1).await;
        s.switching(s.c0);
        s.load(s.c0, B, asid).await;
        s.walk(s.c0, 0x1000, None);
        s.settled(s.c0, Some(B));
    }

    #[test]
    fn good_another_asid() {
        assert_eq!(stage1(smt(), async |s| switch_under(s, 2).await), None);
    }

    #[test]
    fn bad_the_same_asid() {
        let broken = stage1(smt(), async |s| switch_under(s, 1).await);
        assert_eq!(broken, Some(RULE.name));
    }
}
