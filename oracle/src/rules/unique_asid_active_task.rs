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

fn check(_: &Facts, state: &State, _: &Event) -> Option<Breach> {
    for b in 1..state.config.cpus {
        for a in 0..b {
            if state.config.tlb_of(a) != state.config.tlb_of(b) {
                continue;
            }
            let (Some(x), Some(y)) = (state.context(a, false), state.context(b, false)) else {
                continue;
            };
            let (one, two) = (state.context_owner(&x), state.context_owner(&y));
            if x.tags.cnp && x.tags == y.tags && one.is_some() && two.is_some() && one != two {
                return Some(Breach {
                    cpu: Some(b),
                    ..Breach::new(format!(
                        "cpu{a} runs {} and cpu{b} runs {}, both under ASID {} VMID {}",
                        Facts::name(one),
                        Facts::name(two),
                        x.tags.asid,
                        x.tags.vmid
                    ))
                });
            }
        }
    }
    None
}
