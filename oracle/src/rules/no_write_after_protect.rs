// SPDX-License-Identifier: MIT OR Apache-2.0
//! `no-write-after-protect`: after write permission has been taken away, no store may succeed

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Access, Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "no-write-after-protect",
    class: Class::Observed,
    why: "after write permission has been taken away, no store may succeed",
    on: &[On::Accessed],
    check,
};

fn check(facts: &Facts, state: &State, event: &Event) -> Option<Breach> {
    let Event::Accessed {
        access: Access::Write,
        ..
    } = event
    else {
        return None;
    };
    let (cpu, va, entry) = super::reached(event)?;
    let (life, page) = super::own_page(facts, state, cpu, va, &entry)?;
    let cell = facts.reference.cell(life.space, va)?;
    let denied = !cell.allows_write(page) || cell.sealed();
    (cell.allows(Some(page)) && denied).then(|| Breach {
        cpu: Some(cpu),
        va: Some(va),
        entry: Some(entry),
        what: format!(
            "{} wrote to {va:#x}, which is read-only",
            Facts::name(Some(life))
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::script::*;

    /// As for `no-use-after-unmap`: CPU 1 writes from inside the switch code.
    async fn protect(s: &Scene<'_>, kind: Kind) {
        let (op, pte) = (Op::Protect(A, 0x1000, Prot::Ro), s.pte(A, 0x1000));
        s.switch(s.c1, A, 1).await;
        s.c1.access(0x1000, Access::Write).await;
        s.switching(s.c1);
        s.begin(s.c0, op);
        let old = s.c0.pte_read(pte).await;
        s.c0.pte_xchg(pte, old.with_writable(Stage::One, false))
            .await;
        flush(s.c0, by_addr(kind, 0x1000)).await;
        s.end(s.c0, op, Done::Yes);
        s.c1.access(0x1000, Access::Write).await;
    }

    #[test]
    fn good_protect_reaches_every_cpu() {
        assert_eq!(
            stage1(private(), async |s| protect(s, Kind::Vale1is).await),
            None
        );
    }

    #[test]
    fn bad_protect_reaches_its_own_cpu_only() {
        let broken = stage1(private(), async |s| protect(s, Kind::Vale1).await);
        assert_eq!(broken, Some(RULE.name));
    }

    /// CPU 0 write-protects a page that may be written to after a fault; CPU 1 writes.
    async fn clean(s: &Scene<'_>, kind: Kind) {
        let (op, pte) = (Op::Clean(A, 0x1000), s.pte(A, 0x1000));
        let desc = s.c0.pte_read(pte).await.with_granted(true);
        s.c0.pte_write(pte, desc).await;
        s.switch(s.c1, A, 1).await;
        s.c1.access(0x1000, Access::Write).await;
        s.switching(s.c1);
        s.begin(s.c0, op);
        s.c0.pte_xchg(pte, desc.with_writable(Stage::One, false))
            .await;
        flush(s.c0, by_addr(kind, 0x1000)).await;
        s.end(s.c0, op, Done::Yes);
        s.c1.access(0x1000, Access::Write).await;
    }

    #[test]
    fn good_clean_reaches_every_cpu() {
        assert_eq!(
            stage1(private(), async |s| clean(s, Kind::Vale1is).await),
            None
        );
    }

    #[test]
    fn bad_clean_reaches_its_own_cpu_only() {
        let broken = stage1(private(), async |s| clean(s, Kind::Vale1).await);
        assert_eq!(broken, Some(RULE.name));
    }
}
