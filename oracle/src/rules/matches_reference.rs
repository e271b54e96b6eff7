// SPDX-License-Identifier: MIT OR Apache-2.0
//! `matches-reference`: an operation's effect on the mappings must be the one that the reference gives it

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "matches-reference",
    class: Class::Differential,
    why: "an operation's effect on the mappings must be the one that the reference gives it",
    on: &[On::End],
    check,
};

fn check(facts: &Facts, _: &State, event: &Event) -> Option<Breach> {
    let Event::End { cpu, op, .. } = *event else {
        return None;
    };
    let (va, page) = facts.wrong?;
    let now = page.map_or("nothing".into(), |p| format!("page {}", p.0));
    Some(Breach {
        cpu: Some(cpu),
        va: Some(va),
        entry: None,
        what: format!("after \"{op}\", {va:#x} maps {now}, which no order of the operations gives"),
    })
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::script::*;

    async fn unmap(s: &Scene<'_>, store: bool) {
        s.begin(s.c0, Op::Unmap(A, 0x1000));
        if store {
            s.c0.pte_xchg(s.pte(A, 0x1000), Desc::INVALID).await;
            flush(s.c0, by_addr(Kind::Vale1is, 0x1000)).await;
        }
        s.end(s.c0, Op::Unmap(A, 0x1000), Done::Yes);
    }

    #[test]
    fn good_unmap_that_unmaps() {
        assert_eq!(stage1(private(), async |s| unmap(s, true).await), None);
    }

    #[test]
    fn bad_unmap_that_only_says_so() {
        let broken = stage1(private(), async |s| unmap(s, false).await);
        assert_eq!(broken, Some(RULE.name));
    }

    /// Write-back takes the page away for a moment.
    async fn clean(s: &Scene<'_>, give_back: bool) {
        let (op, pte) = (Op::Clean(A, 0x1000), s.pte(A, 0x1000));
        s.begin(s.c0, op);
        let old = s.c0.pte_xchg(pte, Desc::INVALID).await;
        flush(s.c0, by_addr(Kind::Vale1is, 0x1000)).await;
        // What returns meanwhile does not take the gap for the end of it.
        let other = Op::Protect(A, 0x1000, Prot::Rw);
        s.begin(s.c1, other);
        s.end(s.c1, other, Done::No);
        if give_back {
            s.c0.pte_write(pte, old).await;
        }
        s.end(s.c0, op, Done::Yes);
    }

    #[test]
    fn good_clean_that_gives_the_page_back() {
        assert_eq!(stage1(private(), async |s| clean(s, true).await), None);
    }

    #[test]
    fn bad_clean_that_keeps_it() {
        let broken = stage1(private(), async |s| clean(s, false).await);
        assert_eq!(broken, Some(RULE.name));
    }

    /// A collapse returns while CPU 1, which splits what it made, has taken that away.
    async fn collapse(s: &Scene<'_>, give_back: bool) {
        let (op, split, pmd) = (
            Op::Collapse(A, 0x4000),
            Op::Split(A, 0x4000),
            s.pmd(A, 0x4000),
        );
        s.begin(s.c1, split);
        s.begin(s.c0, op);
        let block = s.c0.alloc_block(A, Page(FRESH)).await;
        s.c0.pte_xchg(pmd, Desc::INVALID).await;
        flush(s.c0, by_addr(Kind::Vale1is, 0x4000)).await;
        let made = Desc::leaf(Stage::One, 2, block, true);
        s.c0.pte_write(pmd, made).await;
        s.c1.pte_xchg(pmd, Desc::INVALID).await;
        flush(s.c1, by_addr(Kind::Vale1is, 0x4000)).await;
        s.end(s.c0, op, Done::Yes);
        if give_back {
            s.c1.pte_write(pmd, made).await;
        }
        s.end(s.c1, split, Done::Yes);
    }

    #[test]
    fn good_split_of_what_a_collapse_made() {
        assert_eq!(stage1(private(), async |s| collapse(s, true).await), None);
    }

    #[test]
    fn bad_split_that_loses_it() {
        let broken = stage1(private(), async |s| collapse(s, false).await);
        assert_eq!(broken, Some(RULE.name));
    }
}
