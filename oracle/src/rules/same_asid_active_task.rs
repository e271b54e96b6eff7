// SPDX-License-Identifier: MIT OR Apache-2.0
//! `SameASIDActiveTask`: a space that runs on two CPUs must have one tag, or invalidation by tag misses one of them

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Context, Event, Life, State};

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
    // Without the space's own table, as software PAN has it in the kernel, there is no tag.
    let own = |(life, ctx): &(Life, Context)| ctx.root() == state.roots[life.space.0 as usize];
    let (life, ctx) = facts.settled_on(state, cpu).filter(own)?;
    let same = facts.same_tag;
    let tag = |c: &Context| (c.tags.asid & same, c.tags.vmid & same);
    (0..state.config.cpus).find_map(|other| {
        let same = other != cpu && facts.cpus[other as usize].life == Some(life);
        let (_, theirs) = same.then(|| facts.settled_on(state, other).filter(own))??;
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

    /// Software PAN: CPU 1 is in the kernel, where A is not loaded, and goes back to its user.
    async fn leave_and_enter(s: &Scene<'_>, asid: u16) {
        s.switch(s.c0, A, 1).await;
        s.switch(s.c1, A, 1).await;
        s.load_reserved(s.c1).await;
        s.load(s.c1, A, asid).await;
    }

    #[test]
    fn good_no_asid_where_the_space_is_not_loaded() {
        assert_eq!(
            stage1(private(), async |s| leave_and_enter(s, 1).await),
            None
        );
    }

    #[test]
    fn bad_another_asid_when_it_is_loaded_again() {
        let broken = stage1(private(), async |s| leave_and_enter(s, 2).await);
        assert_eq!(broken, Some(RULE.name));
    }

    /// KPTI: the user on CPU 0 has the odd one of a pair, the kernel on CPU 1 the even one.
    async fn run_pair(s: &Scene<'_>, asid: u16) {
        s.same_tag(!1);
        s.switch(s.c0, A, 3).await;
        s.switch(s.c1, A, asid).await;
    }

    #[test]
    fn good_both_of_a_pair() {
        assert_eq!(stage1(private(), async |s| run_pair(s, 2).await), None);
    }

    #[test]
    fn bad_one_of_another_pair() {
        let broken = stage1(private(), async |s| run_pair(s, 4).await);
        assert_eq!(broken, Some(RULE.name));
    }

    #[test]
    fn bad_two_vmids_for_a_vm() {
        let broken = stage2(private(), async |s| run_on_both(s, 2).await);
        assert_eq!(broken, Some(RULE.name));
    }
}
