// SPDX-License-Identifier: MIT OR Apache-2.0
//! `flush-before-reuse`: before a tag is used for another space, every entry under it must be gone from the CPU that uses it

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "flush-before-reuse",
    class: Class::Latent,
    why: "before a tag is used for another space, every entry under it must be gone from the CPU that uses it",
    on: &[On::Settled, On::Context],
    check,
};

fn check(facts: &Facts, state: &State, event: &Event) -> Option<Breach> {
    // A guest's context is loaded when it is entered, not when its vCPU is.
    let (Event::Settled { cpu, .. } | Event::Context { cpu }) = *event else {
        return None;
    };
    let (life, ctx) = facts.settled_on(state, cpu)?;
    let mut entries = state.tlb(cpu).entries.iter();
    let old = entries.find(|e| e.usable(cpu, ctx.tags) && e.owner.is_some_and(|o| o != life))?;
    Some(Breach {
        cpu: Some(cpu),
        va: Some(old.va),
        entry: Some(*old),
        what: format!(
            "cpu{cpu} begins to run {} under a tag that still has entries of {}",
            Facts::name(Some(life)),
            Facts::name(old.owner)
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::script::*;

    /// ASID 1 goes from A to B.
    async fn reuse(s: &Scene<'_>, asid: u16) {
        s.switch(s.c0, A, 1).await;
        s.c0.access(0x1000, Access::Read).await;
        s.switching(s.c0);
        s.c0.tlbi(Tlbi::asid(Kind::Aside1, asid)).await;
        s.c0.dsb(Dsb::Nsh).await;
        s.load(s.c0, B, 1).await;
        s.settled(s.c0, Some(B));
    }

    #[test]
    fn good_flush_of_the_asid() {
        assert_eq!(stage1(private(), async |s| reuse(s, 1).await), None);
    }

    #[test]
    fn bad_flush_of_another_asid() {
        let broken = stage1(private(), async |s| reuse(s, 2).await);
        assert_eq!(broken, Some(RULE.name));
    }

    /// The vCPU is settled before the guest is entered, as in KVM's run loop.
    async fn reuse_vmid(s: &Scene<'_>, vmid: u16) {
        s.switch(s.c0, A, 1).await;
        s.c0.access(0x1000, Access::Read).await;
        s.leave(s.c0).await;
        s.settled(s.c0, Some(B));
        s.load(s.c0, B, vmid).await;
    }

    #[test]
    fn good_guest_entry_under_a_fresh_vmid() {
        assert_eq!(stage2(private(), async |s| reuse_vmid(s, 2).await), None);
    }

    #[test]
    fn bad_guest_entry_under_a_used_vmid() {
        let broken = stage2(private(), async |s| reuse_vmid(s, 1).await);
        assert_eq!(broken, Some(RULE.name));
    }
}
