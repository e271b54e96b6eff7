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

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::script::*;

    /// The first entry of VM B is there before it is settled.
    async fn enter_under(s: &Scene<'_>, vmid: u16) {
        s.switch(s.c0, A, 1).await;
        s.c0.access(0x4000, Access::Read).await;
        s.switching(s.c0);
        s.load(s.c0, B, vmid).await;
        s.walk(s.c0, 0x1000, None);
        s.settled(s.c0, Some(B));
    }

    #[test]
    fn good_another_vmid() {
        assert_eq!(stage2(private(), async |s| enter_under(s, 2).await), None);
    }

    #[test]
    fn bad_the_same_vmid() {
        let broken = stage2(private(), async |s| enter_under(s, 1).await);
        assert_eq!(broken, Some(RULE.name));
    }
}
