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
