// SPDX-License-Identifier: MIT OR Apache-2.0
//! `break-before-make`: a live descriptor may change its output address, or its size below FEAT_BBM level 2, only through invalid and a completed invalidation

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Arch, Bbm, Event, SLOTS, State, Use, arm64::Desc, level_size};

/// The rule.
pub const RULE: Rule = Rule {
    name: "break-before-make",
    class: Class::Protocol,
    why: "a live descriptor may change its output address, or its size below FEAT_BBM level 2, only through invalid and a completed invalidation",
    on: &[On::Pte],
    check,
};

fn check(facts: &Facts, state: &State, event: &Event) -> Option<Breach> {
    let Event::Pte {
        cpu, pa, old, new, ..
    } = *event
    else {
        return None;
    };
    // A rule of Armv8-A: elsewhere a live descriptor may be replaced by another.
    if !new.valid() || state.config.arch != Arch::Arm64 {
        return None;
    }
    let Use::Table(Some(life)) = state.mem.frame(pa).usage else {
        return None;
    };
    if life != state.life(life.space) {
        return None;
    }
    let mut users = facts.users(state, life);
    let (va, level) = state.locate(life.space, pa)?;
    let breach = |entry, what| {
        Some(Breach {
            cpu: Some(cpu),
            va: Some(va),
            entry,
            what,
        })
    };
    if old.valid() {
        users.next()?;
        let resized = old.is_table(level) != new.is_table(level);
        let regrouped = !resized && !old.is_table(level) && old.contiguous() != new.contiguous();
        let moved = old.addr() != new.addr() && !resized;
        // Between a block and a table, the address is kept if the pages are the block's.
        let replaced = resized && !same_output(state, old, new, level);
        return if moved || replaced {
            breach(
                None,
                format!("the output address for {va:#x} changed without a break"),
            )
        } else if (resized && !vouched(state, old, new, level))
            || (regrouped && state.config.bbm < Bbm::Level2)
        {
            breach(
                None,
                format!("the size of the mapping of {va:#x} changed without a break"),
            )
        } else {
            None
        };
    }
    let stale = users.find_map(|(c, ctx)| {
        let entries = state.tlb(c).entries.iter();
        entries.copied().find(|e| {
            e.leaf
                && e.desc_pa == pa
                && e.owner == Some(life)
                && e.usable(c, ctx.tags)
                && (e.desc.addr() != new.addr() || new.is_table(level))
        })
    })?;
    breach(
        Some(stale),
        format!("{va:#x} was made valid again while a TLB still has what was there before"),
    )
}

/// Whether FEAT_BBM permits a block to become a table, or the other way round: level 2 always,
/// level 1 with nT.
fn vouched(state: &State, old: Desc, new: Desc, level: u8) -> bool {
    let block = if old.is_table(level) { new } else { old };
    match state.config.bbm {
        Bbm::Level0 => false,
        Bbm::Level1 => block.transient(),
        Bbm::Level2 | Bbm::NoAbort => true,
    }
}

/// Whether a block, and a table that replaces it or is replaced by it, translate alike.
fn same_output(state: &State, old: Desc, new: Desc, level: u8) -> bool {
    let (table, block) = if old.is_table(level) {
        (old, new)
    } else {
        (new, old)
    };
    (0..SLOTS as u64).all(|i| {
        let page = state.mem.desc(table.addr() + i * 8);
        page.valid() && page.addr() == block.addr() + i * level_size(level + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::script::*;

    /// A page moves while CPU 1 has its tables loaded.
    async fn migrate(s: &Scene<'_>, break_first: bool) {
        let pte = s.pte(A, 0x1000);
        s.switch(s.c1, A, 1).await;
        s.begin(s.c0, Op::Remap(A, 0x1000));
        let new = s.c0.alloc_page(A, Page(FRESH)).await;
        if break_first {
            s.c0.pte_xchg(pte, Desc::INVALID).await;
            flush(s.c0, by_addr(Kind::Vale1is, 0x1000)).await;
        }
        s.c0.pte_write(pte, Desc::leaf(Stage::One, 3, new, true))
            .await;
    }

    #[test]
    fn good_break() {
        assert_eq!(stage1(private(), async |s| migrate(s, true).await), None);
    }

    #[test]
    fn bad_no_break() {
        let broken = stage1(private(), async |s| migrate(s, false).await);
        assert_eq!(broken, Some(RULE.name));
    }

    /// The break is there, but the new descriptor may come before its TLBI is complete.
    async fn remake(s: &Scene<'_>, complete: bool) {
        let pte = s.pte(A, 0x1000);
        s.switch(s.c1, A, 1).await;
        s.c1.access(0x1000, Access::Read).await;
        s.begin(s.c0, Op::Remap(A, 0x1000));
        let new = s.c0.alloc_page(A, Page(FRESH)).await;
        s.c0.pte_xchg(pte, Desc::INVALID).await;
        s.c0.dsb(Dsb::Ishst).await;
        s.c0.tlbi(by_addr(Kind::Vale1is, 0x1000)).await;
        s.c0.dsb(if complete { Dsb::Ish } else { Dsb::Ishst }).await;
        s.c0.pte_write(pte, Desc::leaf(Stage::One, 3, new, true))
            .await;
    }

    #[test]
    fn good_make_after_the_tlbi_is_complete() {
        assert_eq!(stage1(private(), async |s| remake(s, true).await), None);
    }

    #[test]
    fn bad_make_while_the_tlbi_is_on_its_way() {
        let broken = stage1(private(), async |s| remake(s, false).await);
        assert_eq!(broken, Some(RULE.name));
    }

    /// A block becomes a table in one store.
    async fn split(s: &Scene<'_>) {
        s.switch(s.c1, A, 1).await;
        let table = s.split_table(s.c0, A, 0x4000).await;
        s.c0.pte_write_release(s.pmd(A, 0x4000), Desc::table(table))
            .await;
    }

    #[test]
    fn good_resize_at_level_2() {
        assert_eq!(stage1(private(), split), None);
    }

    fn level1() -> Config {
        Config {
            bbm: Bbm::Level1,
            ..private()
        }
    }

    #[test]
    fn bad_resize_below_level_2() {
        assert_eq!(stage1(level1(), split), Some(RULE.name));
    }

    /// The block gets nT first, and what is cached without it goes.
    async fn split_by_way_of_nt(s: &Scene<'_>, flushed: bool) {
        s.switch(s.c1, A, 1).await;
        s.c1.access(0x5000, Access::Read).await;
        s.begin(s.c0, Op::Split(A, 0x4000));
        let pmd = s.pmd(A, 0x4000);
        let block = s.c0.pte_read(pmd).await;
        s.c0.pte_write(pmd, block.with_transient(true)).await;
        if flushed {
            flush(s.c0, by_addr(Kind::Vale1is, 0x4000)).await;
        }
        let table = s.split_table(s.c0, A, 0x4000).await;
        s.c0.pte_write_release(pmd, Desc::table(table)).await;
        s.walk(s.c1, 0x5000, None);
    }

    #[test]
    fn good_resize_by_way_of_nt_at_level_1() {
        let broken = stage1(level1(), async |s| split_by_way_of_nt(s, true).await);
        assert_eq!(broken, None);
    }

    #[test]
    fn bad_resize_by_way_of_nt_while_the_block_is_cached() {
        let broken = stage1(level1(), async |s| split_by_way_of_nt(s, false).await);
        assert_eq!(broken, Some("no-conflicting-entries"));
    }

    #[test]
    fn bad_resize_by_way_of_nt_at_level_0() {
        let level0 = Config {
            bbm: Bbm::Level0,
            ..private()
        };
        let broken = stage1(level0, async |s| split_by_way_of_nt(s, true).await);
        assert_eq!(broken, Some(RULE.name));
    }

    /// A page becomes part of a contiguous group, or leaves it: a change of size.
    async fn regroup(s: &Scene<'_>) {
        s.switch(s.c1, A, 1).await;
        let pte = s.pte(A, 0x1000);
        let page = s.c0.pte_read(pte).await;
        s.c0.pte_write(pte, page.with_contiguous(true)).await;
    }

    #[test]
    fn good_regrouping_at_level_2() {
        assert_eq!(stage1(private(), regroup), None);
    }

    #[test]
    fn bad_regrouping_below_level_2() {
        assert_eq!(stage1(level1(), regroup), Some(RULE.name));
    }
}
