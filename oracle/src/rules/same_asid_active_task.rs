// SPDX-License-Identifier: MIT OR Apache-2.0
//! `SameASIDActiveTask`: a space that runs on two CPUs must have one tag, or invalidation by tag misses one of them

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Context, Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "SameASIDActiveTask",
    class: Class::Latent,
    why: "a space that runs on two CPUs must have one tag, or invalidation by tag misses one of them",
    on: &[On::Settled, On::Context],
    check,
};

fn check(facts: &Facts, state: &State, event: &Event) -> Option<Breach> {
    let (Event::Settled { cpu, .. } | Event::Context { cpu }) = *event else {
        return None;
    };
    if !facts.global_tags {
        return None;
    }
    let (life, ctx) = facts.settled_on(state, cpu)?;
    let tag = |c: &Context| (c.tags.asid, c.tags.vmid);
    (0..state.config.cpus).find_map(|other| {
        let same = other != cpu && facts.cpus[other as usize].life == Some(life);
        let (_, theirs) = same.then(|| facts.settled_on(state, other))??;
        let (a, x, b, y) = if other < cpu {
            (other, theirs, cpu, ctx)
        } else {
            (cpu, ctx, other, theirs)
        };
        (tag(&x) != tag(&y)).then(|| Breach {
            cpu: Some(b),
            ..Breach::new(format!(
                "{} runs under ASID {} VMID {} on cpu{a}, and under ASID {} VMID {} on cpu{b}",
                Facts::name(Some(life)),
                x.tags.asid,
                x.tags.vmid,
                y.tags.asid,
                y.tags.vmid
            ))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::script::*;

    async fn run_on_both(s: &Scene<'_>, asid: u16) {
        s.switch(s.c0, A, 1).await;
        s.switch(s.c1, A, asid).await;
    }

    #[test]
    fn good_one_asid_for_a_space() {
        assert_eq!(stage1(private(), async |s| run_on_both(s, 1).await), None);
    }

    #[test]
    fn bad_two_asids_for_a_space() {
        let broken = stage1(private(), async |s| run_on_both(s, 2).await);
        assert_eq!(broken, Some(RULE.name));
    }

    #[test]
    fn bad_two_vmids_for_a_vm() {
        let broken = stage2(private(), async |s| run_on_both(s, 2).await);
        assert_eq!(broken, Some(RULE.name));
    }
}
