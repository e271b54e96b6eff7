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

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::script::*;

    async fn unmap(s: &Scene<'_>, dsb: bool) {
        s.begin(s.c0, Op::Unmap(A, 0x1000));
        s.c0.pte_xchg(s.pte(A, 0x1000), Desc::INVALID).await;
        if dsb {
            s.c0.dsb(Dsb::Ishst).await;
        }
        s.c0.tlbi(by_addr(Kind::Vale1is, 0x1000)).await;
        s.c0.dsb(Dsb::Ish).await;
        s.end(s.c0, Op::Unmap(A, 0x1000), Done::Yes);
    }

    #[test]
    fn good_store_dsb_tlbi() {
        assert_eq!(stage1(private(), async |s| unmap(s, true).await), None);
    }

    #[test]
    fn bad_store_tlbi() {
        let broken = stage1(private(), async |s| unmap(s, false).await);
        assert_eq!(broken, Some(RULE.name));
    }
}
