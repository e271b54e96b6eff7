// SPDX-License-Identifier: MIT OR Apache-2.0
//! `one-result`: variants that did the same operations in the same order must come to the same results

use crate::{Breach, Class, Facts, Rule};
use shootdown_machine::{Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "one-result",
    class: Class::Differential,
    why: "variants that did the same operations in the same order must come to the same results",
    on: &[],
    check,
};

/// Two runs are compared by the harness; no single event shows it.
fn check(_: &Facts, _: &State, _: &Event) -> Option<Breach> {
    None
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::script::*;
    use crate::{Disagreement, Summary};

    /// What a variant that does (or does not) unmap a page comes to.
    fn unmap(done: Done) -> Summary {
        let script = async |s: &Scene<'_>| {
            s.begin(s.c0, Op::Unmap(A, 0x1000));
            if done == Done::Yes {
                s.c0.pte_xchg(s.pte(A, 0x1000), Desc::INVALID).await;
                flush(s.c0, by_addr(Kind::Vale1is, 0x1000)).await;
            }
            s.end(s.c0, Op::Unmap(A, 0x1000), done);
        };
        play(private(), Stage::One, script).facts.summary
    }

    #[test]
    fn good_two_that_unmap() {
        assert_eq!(unmap(Done::Yes).compare(&unmap(Done::Yes)).1, None);
    }

    #[test]
    fn bad_one_that_does_not() {
        let difference = unmap(Done::Yes).compare(&unmap(Done::No)).1;
        assert_eq!(difference, Some(Disagreement { space: A, page: 0 }));
    }

    #[test]
    fn no_event_shows_it() {
        assert!(RULE.on.is_empty());
        let broken = play(private(), Stage::One, async |s| s.c0.isb().await).finding;
        assert!(broken.is_none());
    }
}
