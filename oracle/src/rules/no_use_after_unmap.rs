// SPDX-License-Identifier: MIT OR Apache-2.0
//! `no-use-after-unmap`: after an unmap or a migration has returned, nobody may reach the old page at that address

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "no-use-after-unmap",
    class: Class::Observed,
    why: "after an unmap or a migration has returned, nobody may reach the old page at that address",
    on: &[On::Accessed],
    check,
};

fn check(facts: &Facts, state: &State, event: &Event) -> Option<Breach> {
    let (cpu, va, entry) = super::reached(event)?;
    let (life, page) = super::own_page(facts, state, cpu, va, &entry)?;
    (!facts.reference.cell(life.space, va)?.allows(Some(page))).then(|| Breach {
        cpu: Some(cpu),
        va: Some(va),
        entry: Some(entry),
        what: format!(
            "{} reached a page at {va:#x} that is no longer mapped there",
            Facts::name(Some(life))
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::script::*;

    /// CPU 1 is on its way out of A, and its kernel reads A's memory once more: inside the
    /// switch code, where the latent rules do not look. The page outlives its mapping.
    async fn unmap(s: &Scene<'_>, kind: Kind) {
        s.switch(s.c1, A, 1).await;
        s.c1.access(0x1000, Access::Read).await;
        s.switching(s.c1);
        s.begin(s.c0, Op::Unmap(A, 0x1000));
        s.c0.pte_xchg(s.pte(A, 0x1000), Desc::INVALID).await;
        flush(s.c0, by_addr(kind, 0x1000)).await;
        s.end(s.c0, Op::Unmap(A, 0x1000), Done::Yes);
        s.c1.access(0x1000, Access::Read).await;
    }

    #[test]
    fn good_unmap_reaches_every_cpu() {
        assert_eq!(
            stage1(private(), async |s| unmap(s, Kind::Vale1is).await),
            None
        );
    }

    #[test]
    fn bad_unmap_reaches_its_own_cpu_only() {
        let broken = stage1(private(), async |s| unmap(s, Kind::Vale1).await);
        assert_eq!(broken, Some(RULE.name));
    }
}
