// SPDX-License-Identifier: MIT OR Apache-2.0
//! `no-use-of-freed-frame`: a frame that has been freed may belong to anybody by now

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "no-use-of-freed-frame",
    class: Class::Observed,
    why: "a frame that has been freed may belong to anybody by now",
    on: &[On::Accessed],
    check,
};

fn check(facts: &Facts, state: &State, event: &Event) -> Option<Breach> {
    let (cpu, va, entry) = super::reached(event)?;
    let life = facts.cpus[cpu as usize].life?;
    let pa = entry.pa + (va - entry.va);
    let mine = super::may_map(state, life, pa);
    (entry.owner == Some(life) && !mine).then(|| Breach {
        cpu: Some(cpu),
        va: Some(va),
        entry: Some(entry),
        what: format!(
            "{} reached frame {pa:#x} at {va:#x}, which is no longer its own",
            Facts::name(Some(life))
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::script::*;

    /// CPU 1 reads while CPU 0 is about to finish an unmap.
    async fn unmap(s: &Scene<'_>, complete_first: bool) {
        s.switch(s.c1, A, 1).await;
        s.c1.access(0x1000, Access::Read).await;
        s.begin(s.c0, Op::Unmap(A, 0x1000));
        let old = s.c0.pte_xchg(s.pte(A, 0x1000), Desc::INVALID).await;
        s.c0.dsb(Dsb::Ishst).await;
        s.c0.tlbi(by_addr(Kind::Vale1is, 0x1000)).await;
        if complete_first {
            s.c0.dsb(Dsb::Ish).await;
        }
        s.c0.free(old.addr()).await;
        s.c1.access(0x1000, Access::Read).await;
        s.c0.dsb(Dsb::Ish).await;
        s.end(s.c0, Op::Unmap(A, 0x1000), Done::Yes);
    }

    #[test]
    fn good_free_after_the_tlbi_is_complete() {
        assert_eq!(stage1(private(), async |s| unmap(s, true).await), None);
    }

    #[test]
    fn bad_free_while_the_tlbi_is_on_its_way() {
        let broken = stage1(private(), async |s| unmap(s, false).await);
        assert_eq!(broken, Some(RULE.name));
    }
}
