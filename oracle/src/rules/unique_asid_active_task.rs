// SPDX-License-Identifier: MIT OR Apache-2.0
//! `UniqueASIDActiveTask`: two siblings that share entries must not run two spaces under one ASID

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "UniqueASIDActiveTask",
    class: Class::Latent,
    why: "two siblings that share entries must not run two spaces under one ASID",
    on: &[On::Context, On::Settled],
    check,
};

fn check(_: &Facts, state: &State, event: &Event) -> Option<Breach> {
    let (Event::Settled { cpu, .. } | Event::Context { cpu }) = *event else {
        return None;
    };
    let ctx = state.used(cpu).filter(|ctx| ctx.tags.cnp)?;
    let owner = state.context_owner(&ctx)?;
    let sibling =
        |other: &u8| *other != cpu && state.config.tlb_of(*other) == state.config.tlb_of(cpu);
    (0..state.config.cpus).filter(sibling).find_map(|other| {
        let theirs = state.used(other).filter(|c| c.tags == ctx.tags)?;
        let whose = state
            .context_owner(&theirs)
            .filter(|whose| *whose != owner)?;
        let (a, one, b, two) = if other < cpu {
            (other, whose, cpu, owner)
        } else {
            (cpu, owner, other, whose)
        };
        Some(Breach {
            cpu: Some(b),
            ..Breach::new(format!(
                "cpu{a} runs {} and cpu{b} runs {}, both under ASID {} VMID {}",
                Facts::name(Some(one)),
                Facts::name(Some(two)),
                ctx.tags.asid,
                ctx.tags.vmid
            ))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::script::*;

    /// Nothing is in the TLB yet: that two spaces run under one ASID is enough.
    async fn run_both(s: &Scene<'_>, asid: u16) {
        s.switch(s.c0, A, 1).await;
        s.switch(s.c1, B, asid).await;
    }

    #[test]
    fn good_siblings_under_two_asids() {
        assert_eq!(stage1(smt(), async |s| run_both(s, 2).await), None);
    }

    #[test]
    fn good_one_asid_on_two_tlbs() {
        assert_eq!(stage1(private(), async |s| run_both(s, 1).await), None);
    }

    #[test]
    fn bad_siblings_under_one_asid() {
        let broken = stage1(smt(), async |s| run_both(s, 1).await);
        assert_eq!(broken, Some(RULE.name));
    }
}
