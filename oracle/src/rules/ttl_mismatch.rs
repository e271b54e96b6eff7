// SPDX-License-Identifier: MIT OR Apache-2.0
//! `ttl-mismatch`: a TLBI whose level hint is not the level of the entry need not invalidate it

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "ttl-mismatch",
    class: Class::Protocol,
    why: "a TLBI whose level hint is not the level of the entry need not invalidate it",
    on: &[On::End],
    check,
};

fn check(facts: &Facts, _: &State, event: &Event) -> Option<Breach> {
    super::owed(facts, event, |debt, c| {
        (!c.level).then(|| format!("the hint of \"{}\" is not level {}", c.op, debt.level))
    })
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::script::*;

    async fn unmap(s: &Scene<'_>, ttl: Ttl) {
        s.begin(s.c0, Op::Unmap(A, 0x1000));
        s.c0.pte_xchg(s.pte(A, 0x1000), Desc::INVALID).await;
        flush(s.c0, Tlbi::addr(Kind::Vale1is, 0x1000, 1, ttl)).await;
        s.end(s.c0, Op::Unmap(A, 0x1000), Done::Yes);
    }

    #[test]
    fn good_hint() {
        assert_eq!(
            stage1(private(), async |s| unmap(s, Ttl::Level(3)).await),
            None
        );
    }

    #[test]
    fn good_no_hint() {
        assert_eq!(
            stage1(private(), async |s| unmap(s, Ttl::Unknown).await),
            None
        );
    }

    #[test]
    fn bad_hint() {
        let broken = stage1(private(), async |s| unmap(s, Ttl::Level(2)).await);
        assert_eq!(broken, Some(RULE.name));
    }
}
