// SPDX-License-Identifier: MIT OR Apache-2.0
//! `UniqueVMIDAllCPUs`: two entries that siblings share under one VMID must belong to one space, or one sibling gets the other's

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "UniqueVMIDAllCPUs",
    class: Class::Latent,
    why: "two entries that siblings share under one VMID must belong to one space, or one sibling gets the other's",
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
            shared: true,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::script::*;

    /// CPU 1 has left VM A; its entries are still in the TLB that it shares with CPU 0.
    async fn enter_under(s: &Scene<'_>, vmid: u16) {
        s.switch(s.c1, A, 1).await;
        s.c1.access(0x4000, Access::Read).await;
        s.leave(s.c1).await;
        s.switching(s.c0);
        s.load(s.c0, B, vmid).await;
        s.walk(s.c0, 0x1000, None);
        s.settled(s.c0, Some(B));
    }

    #[test]
    fn good_another_vmid() {
        assert_eq!(stage2(smt(), async |s| enter_under(s, 2).await), None);
    }

    #[test]
    fn bad_the_same_vmid() {
        let broken = stage2(smt(), async |s| enter_under(s, 1).await);
        assert_eq!(broken, Some(RULE.name));
    }
}
