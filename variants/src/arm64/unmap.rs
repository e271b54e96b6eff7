// SPDX-License-Identifier: GPL-2.0-only
//! What takes pages away from an mm: munmap with its gather (`tlb.h`), reclaim, and the clearing
//! of access flags.

use super::context::GOAL_EMPTY;
use super::defects::{self, Built};
use super::tlbflush::{Range, TlbFlush};
use crate::pgtable::{Flush as _, PageTables};
use shootdown_machine::arm64::{Desc, Ttl};
use shootdown_machine::{Cpu, Done, PAGE, SLOTS, Space, Va, level_size};

/// `struct mmu_gather`, as far as a page and its table fill it.
#[derive(Default)]
struct Gather {
    cleared_ptes: bool,
    cleared_pmds: bool,
    freed_tables: bool,
}

impl Gather {
    /// `tlb_get_level`: the level hint is that of the leaves that were cleared, and means
    /// nothing for a table.
    fn level(&self, built: Built) -> Ttl {
        if self.freed_tables && !built.with(&defects::TABLE_LEVEL) {
            return Ttl::Unknown;
        }
        match (self.cleared_ptes, self.cleared_pmds) {
            (true, false) => Ttl::Level(3),
            (false, true) => Ttl::Level(2),
            _ => Ttl::Unknown,
        }
    }

    /// `tlb_get_unmap_size`: what the smallest cleared entry maps.
    fn unmap_size(&self) -> u64 {
        if self.cleared_ptes {
            PAGE
        } else {
            level_size(2)
        }
    }

    /// `tlb_flush`.
    async fn flush(&self, cpu: Cpu<'_>, flush: &TlbFlush, mm: Space, va: Va, built: Built) {
        let stride = self.unmap_size();
        let range = Range {
            start: va / stride * stride,
            size: stride,
            stride,
            level: self.level(built),
            last_level: !self.freed_tables,
        };
        flush.__flush_tlb_range(cpu, mm, range).await;
    }
}

/// `unmap_region`: a page, and the table that it leaves empty.
pub async fn unmap(
    tables: &PageTables<TlbFlush>,
    cpu: Cpu<'_>,
    mm: Space,
    va: Va,
    built: Built,
) -> Done {
    let lock = tables.lock(mm);
    lock.lock(cpu).await;
    let done = unmap_locked(tables, cpu, mm, va, built).await;
    lock.unlock(cpu).await;
    done
}

async fn unmap_locked(
    tables: &PageTables<TlbFlush>,
    cpu: Cpu<'_>,
    mm: Space,
    va: Va,
    built: Built,
) -> Done {
    tables.flush.pending(cpu, mm).await;
    let Some(pmd) = tables.pmd(cpu, mm, va).await else {
        return Done::No;
    };
    let table = cpu.pte_read(pmd).await;
    if !table.is_table(2) {
        return Done::No;
    }
    let mut gather = Gather::default();
    // zap_pte_range
    let (mut empty, mut page) = (true, None);
    for i in 0..SLOTS as u64 {
        let at = table.addr() + i * 8;
        let pte = cpu.pte_read(at).await;
        if pte.is_leaf(3) && i == va % level_size(2) / PAGE {
            page = Some(cpu.pte_xchg_relaxed(at, Desc::INVALID).await.addr());
            gather.cleared_ptes = true;
        } else {
            empty &= !pte.valid();
        }
    }
    // free_pgtables
    if empty {
        cpu.goal(GOAL_EMPTY);
        cpu.pte_xchg_relaxed(pmd, Desc::INVALID).await;
        gather.cleared_pmds = true;
        gather.freed_tables = true;
    }
    if page.is_none() && !empty {
        return Done::No;
    }
    // tlb_finish_mmu
    gather.flush(cpu, &tables.flush, mm, va, built).await;
    if let Some(page) = page {
        cpu.free(page).await;
    }
    if empty {
        tables.free_table(cpu, table.addr()).await;
    }
    if page.is_some() { Done::Yes } else { Done::No }
}

/// `try_to_unmap_one` of a batch, and `try_to_unmap_flush`, without which the page must not be
/// freed. The lock is a page table's, and given back before the batch ends.
pub async fn reclaim(tables: &PageTables<TlbFlush>, cpu: Cpu<'_>, mm: Space, va: Va) -> Done {
    let lock = tables.lock(mm);
    lock.lock(cpu).await;
    let leaf = tables.lookup(cpu, mm, va).await;
    let Some((pte, 3, _)) = leaf else {
        lock.unlock(cpu).await;
        return Done::No;
    };
    let old = cpu.pte_xchg_relaxed(pte, Desc::INVALID).await;
    tables.flush.set_tlb_ubc_flush_pending(cpu, mm, va).await;
    lock.unlock(cpu).await;
    tables.flush.arch_tlbbatch_flush(cpu).await;
    cpu.free(old.addr()).await;
    Done::Yes
}

/// `ptep_clear_flush_young`: nobody waits for the TLBI. Whether the page was young is a matter of
/// timing, and not told.
pub async fn age(tables: &PageTables<TlbFlush>, cpu: Cpu<'_>, mm: Space, va: Va) -> Done {
    let lock = tables.lock(mm);
    // Unnoticed: the worst is a flag cleared for nothing, which the next access sets again.
    lock.lock(cpu).await;
    let mut done = Done::No;
    if let Some((at, level, mut desc)) = tables.lookup(cpu, mm, va).await {
        done = Done::Yes;
        while desc.accessed() {
            let old = desc.with_accessed(false);
            let seen = cpu.pte_cmpxchg(at, desc, old).await;
            if seen == desc {
                // Unnoticed: the worst is an access that leaves no mark.
                tables.flush.flush_tlb_page_nosync(cpu, mm, va, level).await;
                break;
            }
            desc = seen;
        }
    }
    lock.unlock(cpu).await;
    done
}
