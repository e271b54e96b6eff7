// SPDX-License-Identifier: MIT OR Apache-2.0
//! `restriction-scope`: what a space loses must be invalidated on every CPU that may have it cached

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "restriction-scope",
    class: Class::Protocol,
    why: "what a space loses must be invalidated on every CPU that may have it cached",
    on: &[On::End],
    check,
};

fn check(facts: &Facts, state: &State, event: &Event) -> Option<Breach> {
    let Event::End { cpu, .. } = *event else {
        return None;
    };
    super::owed(facts, event, |debt, c| {
        if c.broadcast {
            return None;
        }
        let other = facts.settled(state).find(|(other, life, ctx)| {
            // What it was before: the descriptor has changed since the entry was made.
            let cached = state.tlb(*other).entries.iter().any(|e| {
                e.leaf
                    && e.covers(debt.va)
                    && e.owner == Some(*life)
                    && e.usable(*other, ctx.tags)
                    && e.desc != state.mem.desc(e.desc_pa)
            });
            *other != cpu && *life == debt.life && cached
        })?;
        Some(format!(
            "\"{}\" is local, and cpu{} has it cached",
            c.op, other.0
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::script::*;

    /// CPU 1 has the block cached, which translates as the pages that replace it do: wrong
    /// only once one of them changes.
    async fn split(s: &Scene<'_>, kind: Kind) {
        s.switch(s.c1, A, 1).await;
        s.c1.access(0x4000, Access::Read).await;
        s.begin(s.c0, Op::Split(A, 0x4000));
        let table = s.split_table(s.c0, A, 0x4000).await;
        s.c0.pte_write_release(s.pmd(A, 0x4000), Desc::table(table))
            .await;
        flush(s.c0, by_addr(kind, 0x4000)).await;
        s.end(s.c0, Op::Split(A, 0x4000), Done::Yes);
    }

    #[test]
    fn good_broadcast() {
        assert_eq!(
            stage1(private(), async |s| split(s, Kind::Vae1is).await),
            None
        );
    }

    #[test]
    fn bad_local() {
        let broken = stage1(private(), async |s| split(s, Kind::Vae1).await);
        assert_eq!(broken, Some(RULE.name));
    }

    /// A page is taken out of its table and put back, with another permission or the same; only
    /// this CPU is told.
    async fn put_back(s: &Scene<'_>, writable: bool) {
        let (op, pte) = (Op::Protect(A, 0x1000, Prot::Ro), s.pte(A, 0x1000));
        s.switch(s.c1, A, 1).await;
        s.c1.access(0x1000, Access::Read).await;
        s.begin(s.c0, op);
        let page = s.c0.pte_xchg(pte, Desc::INVALID).await;
        s.c0.pte_write(pte, page.with_writable(Stage::One, writable))
            .await;
        s.c0.dsb(Dsb::Nshst).await;
        s.c0.tlbi(by_addr(Kind::Vale1, 0x1000)).await;
        s.c0.dsb(Dsb::Nsh).await;
        // Done: the reference does not look for a permission that has changed.
        s.end(s.c0, op, if writable { Done::No } else { Done::Yes });
    }

    #[test]
    fn good_local_where_nothing_is_lost() {
        let broken = stage1(private(), async |s| put_back(s, true).await);
        assert_eq!(broken, Some("matches-reference"), "no debt comes first");
    }

    #[test]
    fn bad_local_where_the_permission_is() {
        let broken = stage1(private(), async |s| put_back(s, false).await);
        assert_ne!(broken, None);
        assert!([Some(RULE.name), Some("TLBEmptyInvalPTE")].contains(&broken));
    }
}
