// SPDX-License-Identifier: MIT OR Apache-2.0
//! `no-walk-of-freed-table`: a freed table may hold anything, and a walker believes what it reads there

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State, Use, arm64::Stage};

/// The rule.
pub const RULE: Rule = Rule {
    name: "no-walk-of-freed-table",
    class: Class::Observed,
    why: "a freed table may hold anything, and a walker believes what it reads there",
    on: &[On::WalkRead],
    check,
};

fn check(_: &Facts, state: &State, event: &Event) -> Option<Breach> {
    let Event::WalkRead {
        cpu,
        va,
        desc_pa,
        owner,
        stage,
        ..
    } = *event
    else {
        return None;
    };
    let table = state.mem.frame(desc_pa);
    // A guest keeps its own tables in its pages.
    let guest = stage == Stage::One && state.stage() == Stage::Two;
    let own = match table.usage {
        Use::Page(life, _) => guest && owner == Some(life),
        // Spaces may have one table together, until one of them has it alone.
        Use::Table(Some(_)) if table.shared => true,
        usage => usage == Use::Table(owner),
    };
    (!own).then(|| Breach {
        cpu: Some(cpu),
        va: Some(va),
        entry: None,
        what: format!(
            "a walk for {} at {va:#x} read {desc_pa:#x}, which is no longer a table of its",
            Facts::name(owner)
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::script::*;

    /// CPU 0 frees a table that CPU 1's walk cache points to.
    async fn free_table(s: &Scene<'_>, kind: Kind) {
        s.switch(s.c1, A, 1).await;
        s.c1.access(0x0, Access::Read).await;
        let table = s.c0.pte_xchg(s.pmd(A, 0x0), Desc::INVALID).await;
        flush(s.c0, by_addr(kind, 0x0)).await;
        s.c0.free(table.addr()).await;
        s.walk(s.c1, 0x1000, None);
    }

    #[test]
    fn good_walk_caches_are_flushed() {
        assert_eq!(
            stage1(private(), async |s| free_table(s, Kind::Vae1is).await),
            None
        );
    }

    /// B leaves a table that it shares with A, which then changes what is in it.
    async fn leave_shared_table(s: &Scene<'_>, flushed: bool) {
        let (ours, theirs) = (s.pmd(A, 0x0), s.pmd(B, 0x0));
        let table = s.c0.pte_read(ours).await;
        s.c0.get_page(table.addr()).await;
        s.c0.pte_xchg(theirs, table).await;
        s.switch(s.c1, B, 1).await;
        s.walk(s.c1, 0x2000, None);
        s.c0.pte_xchg(theirs, Desc::INVALID).await;
        s.c0.free(table.addr()).await;
        s.walk(s.c1, 0x2000, None);
        if flushed {
            flush(s.c0, by_addr(Kind::Vae1is, 0x0)).await;
        }
        s.c0.pte_write(table.addr(), Desc::INVALID).await;
        s.walk(s.c1, 0x2000, None);
    }

    #[test]
    fn good_walks_of_a_shared_table_end_with_the_flush() {
        let broken = stage1(private(), async |s| leave_shared_table(s, true).await);
        assert_eq!(broken, None);
    }

    #[test]
    fn bad_walk_of_a_table_that_was_shared_and_has_changed() {
        let broken = stage1(private(), async |s| leave_shared_table(s, false).await);
        assert_eq!(broken, Some(RULE.name));
    }

    #[test]
    fn bad_last_level_only() {
        let broken = stage1(private(), async |s| free_table(s, Kind::Vale1is).await);
        assert_eq!(broken, Some(RULE.name));
    }
}
