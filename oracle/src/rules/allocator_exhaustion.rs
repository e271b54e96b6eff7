// SPDX-License-Identifier: MIT OR Apache-2.0
//! `allocator-exhaustion`: an allocator must always have a tag for the next space

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "allocator-exhaustion",
    class: Class::Liveness,
    why: "an allocator must always have a tag for the next space",
    on: &[On::Warn],
    check,
};

fn check(_: &Facts, _: &State, event: &Event) -> Option<Breach> {
    let Event::Warn { cpu, what } = *event else {
        return None;
    };
    Some(Breach {
        cpu: Some(cpu),
        ..Breach::new(what)
    })
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::script::*;

    /// An allocator over the tags `1..tags` that never takes one back.
    async fn allocate(s: &Scene<'_>, tags: u16) {
        for (tag, space) in (1..).zip([A, B]) {
            if tag < tags {
                s.switch(s.c0, space, tag).await;
            } else {
                s.c0.warn("no tag is left");
            }
        }
    }

    #[test]
    fn good_enough_tags() {
        assert_eq!(stage1(private(), async |s| allocate(s, 3).await), None);
    }

    #[test]
    fn bad_one_too_few() {
        let broken = stage1(private(), async |s| allocate(s, 2).await);
        assert_eq!(broken, Some(RULE.name));
    }
}
