// SPDX-License-Identifier: MIT OR Apache-2.0
//! `own-translations-only`: a space must never reach memory through an entry made from another space's tables

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "own-translations-only",
    class: Class::Observed,
    why: "a space must never reach memory through an entry made from another space's tables",
    on: &[On::Accessed],
    check,
};

fn check(facts: &Facts, _: &State, event: &Event) -> Option<Breach> {
    let (cpu, va, entry) = super::reached(event)?;
    let life = facts.cpus[cpu as usize].life?;
    (entry.owner != Some(life)).then(|| Breach {
        cpu: Some(cpu),
        va: Some(va),
        entry: Some(entry),
        what: format!(
            "{} reached {va:#x} through a translation of {}",
            Facts::name(Some(life)),
            Facts::name(entry.owner)
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::script::*;

    /// A walk for A is in flight when the CPU goes over to B under the same ASID.
    async fn late_walk(s: &Scene<'_>, dsb: bool) {
        s.switch(s.c0, A, 1).await;
        s.walk(s.c0, 0x1000, Some(1));
        s.switching(s.c0);
        s.load(s.c0, B, 1).await;
        if dsb {
            s.c0.dsb(Dsb::Nsh).await;
        }
        s.settled(s.c0, Some(B));
        s.walk(s.c0, 0x1000, Some(3));
        s.c0.access(0x1000, Access::Read).await;
    }

    fn outliving_walks() -> Config {
        Config {
            switches: Switches::default().with(Switch::Inflight, true),
            ..private()
        }
    }

    #[test]
    fn good_dsb_ends_walks_of_the_old_context() {
        assert_eq!(
            stage1(outliving_walks(), async |s| late_walk(s, true).await),
            None
        );
    }

    #[test]
    fn bad_walk_of_the_old_context_is_left() {
        let broken = stage1(outliving_walks(), async |s| late_walk(s, false).await);
        assert_eq!(broken, Some(RULE.name));
    }
}
