// SPDX-License-Identifier: MIT OR Apache-2.0
//! `recurring-fault`: a fault that the handler calls spurious must not come back while nothing changes
//!
//! The harness says when: after nine faults between which no descriptor has changed and no other
//! CPU has taken an entry away, once no other CPU is in the middle of an operation that can go
//! on. Only a conflict abort is its handler's alone to resolve (Arm ARM, D8.14.3).

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "recurring-fault",
    class: Class::Liveness,
    why: "a fault that the handler calls spurious must not come back while nothing changes",
    on: &[On::FaultLoop],
    check,
};

fn check(_: &Facts, _: &State, event: &Event) -> Option<Breach> {
    let Event::FaultLoop { cpu, va } = *event else {
        return None;
    };
    let what = format!("the access to {va:#x} faults again and again, though nothing changes");
    Some(Breach {
        cpu: Some(cpu),
        va: Some(va),
        ..Breach::new(what)
    })
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::script::*;

    /// What the harness says when the handler has called one fault spurious too often.
    async fn touch(s: &Scene<'_>, va: Va) {
        s.switch(s.c0, A, 1).await;
        if s.c0.access(va, Access::Read).await != Outcome::Done {
            s.emit(Event::FaultLoop { cpu: 0, va });
        }
    }

    #[test]
    fn good_access_that_succeeds() {
        assert_eq!(stage1(private(), async |s| touch(s, 0x1000).await), None);
    }

    #[test]
    fn bad_access_that_never_does() {
        let broken = stage1(private(), async |s| touch(s, 0x2000).await);
        assert_eq!(broken, Some(RULE.name));
    }
}
