// SPDX-License-Identifier: MIT OR Apache-2.0
//! `no-lost-write`: a store to a page whose contents have been copied elsewhere is lost

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Access, Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "no-lost-write",
    class: Class::Observed,
    why: "a store to a page whose contents have been copied elsewhere is lost",
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
    let (life, _) = super::own_page(facts, state, cpu, va, &entry)?;
    state
        .mem
        .frame(entry.pa + (va - entry.va))
        .moved
        .then(|| Breach {
            cpu: Some(cpu),
            va: Some(va),
            entry: Some(entry),
            what: format!(
                "{} wrote to {va:#x} in a page that had been copied already",
                Facts::name(Some(life))
            ),
        })
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::script::*;

    /// CPU 1 writes while CPU 0 migrates the page.
    async fn migrate(s: &Scene<'_>, flush_first: bool) {
        s.switch(s.c1, A, 1).await;
        s.c1.access(0x1000, Access::Write).await;
        s.begin(s.c0, Op::Remap(A, 0x1000));
        let new = s.c0.alloc_page(A, Page(FRESH)).await;
        let old = s.c0.pte_xchg(s.pte(A, 0x1000), Desc::INVALID).await;
        if flush_first {
            flush(s.c0, by_addr(Kind::Vale1is, 0x1000)).await;
        }
        s.c0.copy_page(old.addr(), new).await;
        s.c1.access(0x1000, Access::Write).await;
        flush(s.c0, by_addr(Kind::Vale1is, 0x1000)).await;
    }

    #[test]
    fn good_copy_after_the_flush() {
        assert_eq!(stage1(private(), async |s| migrate(s, true).await), None);
    }

    #[test]
    fn bad_copy_before_the_flush() {
        let broken = stage1(private(), async |s| migrate(s, false).await);
        assert_eq!(broken, Some(RULE.name));
    }

    /// CPU 1 writes to a page that CPU 0 has written back.
    async fn write_back(s: &Scene<'_>, dirty_again: bool) {
        let pa = page(s, 0x1000);
        s.switch(s.c1, A, 1).await;
        s.c0.write_back(pa).await;
        if dirty_again {
            s.c0.set_page_dirty(pa).await;
        }
        s.c1.access(0x1000, Access::Write).await;
    }

    fn page(s: &Scene<'_>, va: Va) -> u64 {
        s.oracle(|_, state| state.translate(A, va).expect("a page").2.addr())
    }

    #[test]
    fn good_store_to_a_page_that_is_dirty_again() {
        assert_eq!(stage1(private(), async |s| write_back(s, true).await), None);
    }

    #[test]
    fn bad_store_to_a_page_that_was_written_back() {
        let broken = stage1(private(), async |s| write_back(s, false).await);
        assert_eq!(broken, Some(RULE.name));
    }
}
