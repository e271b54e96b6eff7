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

fn check(facts: &Facts, state: &State, _: &Event) -> Option<Breach> {
    if !facts.global_tags {
        return None;
    }
    for (b, life, y) in facts.settled(state) {
        for (a, other, x) in facts.settled(state) {
            let tag = |t: &Context| (t.tags.asid, t.tags.vmid);
            if a < b && life == other && tag(&x) != tag(&y) {
                return Some(Breach {
                    cpu: Some(b),
                    ..Breach::new(format!(
                        "{} runs under ASID {} VMID {} on cpu{a}, and under ASID {} VMID {} on cpu{b}",
                        Facts::name(Some(life)),
                        x.tags.asid,
                        x.tags.vmid,
                        y.tags.asid,
                        y.tags.vmid
                    ))
                });
            }
        }
    }
    None
}
