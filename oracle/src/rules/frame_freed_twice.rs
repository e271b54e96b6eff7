// SPDX-License-Identifier: MIT OR Apache-2.0
//! `frame-freed-twice`: a frame freed twice will be given to two owners

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "frame-freed-twice",
    class: Class::Observed,
    why: "a frame freed twice will be given to two owners",
    on: &[On::DoubleFree],
    check,
};

fn check(_: &Facts, _: &State, event: &Event) -> Option<Breach> {
    let Event::DoubleFree { cpu, pa, .. } = *event else {
        return None;
    };
    Some(Breach {
        cpu: Some(cpu),
        ..Breach::new(format!("frame {pa:#x} was freed twice"))
    })
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::script::*;

    async fn free(s: &Scene<'_>, allocate_between: bool) {
        let pa = s.c0.alloc_page(A, Page(FRESH)).await;
        s.c0.free(pa).await;
        if allocate_between {
            assert_eq!(s.c0.alloc_page(A, Page(FRESH)).await, pa);
        }
        s.c0.free(pa).await;
    }

    #[test]
    fn good_frees_by_two_owners() {
        assert_eq!(stage1(private(), async |s| free(s, true).await), None);
    }

    #[test]
    fn bad_frees_by_one_owner() {
        let broken = stage1(private(), async |s| free(s, false).await);
        assert_eq!(broken, Some(RULE.name));
    }
}
