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

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::script::*;

    async fn unmap(s: &Scene<'_>, last: Dsb) {
        s.begin(s.c0, Op::Unmap(A, 0x1000));
        s.c0.pte_xchg(s.pte(A, 0x1000), Desc::INVALID).await;
        s.c0.dsb(Dsb::Ishst).await;
        s.c0.tlbi(by_addr(Kind::Vale1is, 0x1000)).await;
        s.c0.dsb(last).await;
        s.end(s.c0, Op::Unmap(A, 0x1000), Done::Yes);
    }

    #[test]
    fn good_dsb_ish() {
        assert_eq!(stage1(private(), async |s| unmap(s, Dsb::Ish).await), None);
    }

    #[test]
    fn bad_dsb_for_stores_only() {
        let broken = stage1(private(), async |s| unmap(s, Dsb::Ishst).await);
        assert_eq!(broken, Some(RULE.name));
    }

    #[test]
    fn bad_dsb_for_this_cpu_only() {
        let broken = stage1(private(), async |s| unmap(s, Dsb::Nsh).await);
        assert_eq!(broken, Some(RULE.name));
    }
}
