// SPDX-License-Identifier: MIT OR Apache-2.0
//! `livelock`: CPUs that undo each other's work for ever get nothing done

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "livelock",
    class: Class::Liveness,
    why: "CPUs that undo each other's work for ever get nothing done",
    on: &[On::Livelock],
    check,
};

fn check(_: &Facts, _: &State, event: &Event) -> Option<Breach> {
    matches!(event, Event::Livelock)
        .then(|| Breach::new("the operations do not end, though every CPU is let run"))
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::script::*;

    /// What the harness says of a run that has far more steps than operations need.
    async fn touch(s: &Scene<'_>, for_ever: bool) {
        s.switch(s.c0, A, 1).await;
        s.c0.access(0x1000, Access::Read).await;
        if for_ever {
            s.emit(Event::Livelock);
        }
    }

    #[test]
    fn good_run_that_ends() {
        assert_eq!(stage1(private(), async |s| touch(s, false).await), None);
    }

    #[test]
    fn bad_run_that_does_not() {
        let broken = stage1(private(), async |s| touch(s, true).await);
        assert_eq!(broken, Some(RULE.name));
    }
}
