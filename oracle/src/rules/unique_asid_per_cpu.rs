// SPDX-License-Identifier: MIT OR Apache-2.0
//! `UniqueASIDPerCPU`: two entries under one ASID in one CPU's TLB must belong to one space, or an access gets the wrong one

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "UniqueASIDPerCPU",
    class: Class::Latent,
    why: "two entries under one ASID in one CPU's TLB must belong to one space, or an access gets the wrong one",
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
            shared: false,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::script::*;

    /// B's first entry is there before the switch to it is over. A's is a block, which leaves
    /// no table pointer behind that B's walk would begin from.
    async fn switch_under(s: &Scene<'_>, asid: u16) {
        s.switch(s.c0, A, 1).await;
        s.c0.access(0x4000, Access::Read).await;
        s.switching(s.c0);
        s.load(s.c0, B, asid).await;
        s.walk(s.c0, 0x1000, None);
        s.settled(s.c0, Some(B));
    }

    #[test]
    fn good_another_asid() {
        assert_eq!(stage1(private(), async |s| switch_under(s, 2).await), None);
    }

    #[test]
    fn bad_the_same_asid() {
        let broken = stage1(private(), async |s| switch_under(s, 1).await);
        assert_eq!(broken, Some(RULE.name));
    }

    /// Both may have entries under the ASID while the switch is not over.
    #[test]
    fn good_flush_at_the_end_of_the_switch() {
        let broken = stage1(private(), async |s| {
            s.switch(s.c0, A, 1).await;
            s.c0.access(0x4000, Access::Read).await;
            s.switching(s.c0);
            s.load(s.c0, B, 1).await;
            s.walk(s.c0, 0x1000, None);
            flush(s.c0, Tlbi::asid(Kind::Aside1, 1)).await;
            s.settled(s.c0, Some(B));
        });
        assert_eq!(broken, None);
    }
}
