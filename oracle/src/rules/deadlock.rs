// SPDX-License-Identifier: MIT OR Apache-2.0
//! `deadlock`: a kernel in which every CPU waits for another never runs again

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "deadlock",
    class: Class::Liveness,
    why: "a kernel in which every CPU waits for another never runs again",
    on: &[On::Deadlock],
    check,
};

fn check(_: &Facts, _: &State, event: &Event) -> Option<Breach> {
    let Event::Deadlock { cpu, act } = *event else {
        return None;
    };
    let what = format!(
        "cpu{cpu} waits for ever ({}), and so does every other",
        act.word()
    );
    Some(Breach {
        cpu: Some(cpu),
        ..Breach::new(what)
    })
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::script::*;

    /// What the harness says when no CPU can take its next step.
    async fn wait(s: &Scene<'_>, for_ever: bool) {
        s.c0.wait_ipis().await;
        if for_ever {
            s.emit(Event::Deadlock {
                cpu: 0,
                act: Act::WaitIpi,
            });
        }
    }

    #[test]
    fn good_wait_that_ends() {
        assert_eq!(stage1(private(), async |s| wait(s, false).await), None);
    }

    #[test]
    fn bad_wait_that_does_not() {
        let broken = stage1(private(), async |s| wait(s, true).await);
        assert_eq!(broken, Some(RULE.name));
    }
}
