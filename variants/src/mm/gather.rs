// SPDX-License-Identifier: GPL-2.0-only
//! What is unmapped now and flushed later: `mmu_gather` (mm/mmu_gather.c) and the batches of
//! reclaim (mm/rmap.c).

use super::defects;
use super::{GOAL_BATCHED, GOAL_NESTED, Mm, Mmu};
use shootdown_machine::arm64::Desc;
use shootdown_machine::{Cpu, PAGE, Space, Va, level_size};

/// Pages that one operation may unmap.
const PAGES: usize = 24;

/// `mmu_gather`: of one task.
#[derive(Clone, Copy, Debug)]
pub struct Gather {
    /// The mm.
    pub mm: Space,
    /// First address of what was changed.
    pub start: Va,
    /// End of it; not above `start`: nothing.
    pub end: Va,
    /// Entries of the last level were changed.
    pub cleared_ptes: bool,
    /// Blocks were.
    pub cleared_pmds: bool,
    /// Tables were unlinked.
    pub freed_tables: bool,
    /// Tables were unlinked that other mms share.
    pub unshared_tables: bool,
    /// One mm is left of those that shared one of them.
    pub fully_unshared_tables: bool,
    /// It is about all of the mm.
    pub fullmm: bool,
    /// Of the areas at hand, one is a driver's.
    pub vma_pfn: bool,
    /// The address that the operation is about.
    va: Va,
    pages: [u64; PAGES],
    nr: usize,
    table: u64,
}

impl Gather {
    /// `__tlb_reset_range`.
    fn reset_range(&mut self) {
        let whole = self.fullmm;
        self.start = Va::MAX;
        self.end = if whole { Va::MAX } else { 0 };
        self.freed_tables = false;
        self.unshared_tables = false;
        self.cleared_ptes = false;
        self.cleared_pmds = false;
    }

    /// `tlb_remove_tlb_entry`, for an entry of this level.
    pub fn entry(&mut self, va: Va, level: u8) {
        let size = level_size(level);
        let first = va / size * size;
        self.start = self.start.min(first);
        self.end = self.end.max(first + size);
        self.cleared_ptes |= level == 3;
        self.cleared_pmds |= level < 3;
    }

    /// `__tlb_remove_page`.
    pub fn page(&mut self, pa: u64) {
        self.pages[self.nr] = pa;
        self.nr += 1;
    }

    /// `pte_free_tlb`.
    pub fn pte_table(&mut self, va: Va, table: u64) {
        let first = va / level_size(2) * level_size(2);
        self.start = self.start.min(first);
        self.end = self.end.max(first + PAGE);
        self.cleared_pmds = true;
        self.freed_tables = true;
        self.table = table;
    }

    /// `tlb_unshare_pmd_ptdesc`: all that the table maps.
    pub fn pmd_table(&mut self, va: Va) {
        self.entry(va / level_size(2) * level_size(2), 3);
        self.end = self.end.max(self.start + level_size(2));
        self.unshared_tables = true;
    }

    /// The level of the entries that were changed, if they are all of one (`tlb_get_level`).
    pub fn level(&self) -> Option<u8> {
        match (self.freed_tables, self.cleared_ptes, self.cleared_pmds) {
            (false, true, false) => Some(3),
            (false, false, true) => Some(2),
            _ => None,
        }
    }
}

impl<A: Mmu> Mm<A> {
    /// `inc_tlb_flush_pending`.
    async fn inc_tlb_flush_pending(&self, cpu: Cpu<'_>, mm: Space) {
        let pending = self.tlb_flush_pending[mm.0 as usize];
        if self.built.with(&defects::FLAG) {
            pending.write(cpu, 1).await;
        } else {
            // Under a page-table lock by whoever looks, which the changes are made under.
            pending.add_return_relaxed(cpu, 1).await;
        }
    }

    async fn dec_tlb_flush_pending(&self, cpu: Cpu<'_>, mm: Space) {
        let pending = self.tlb_flush_pending[mm.0 as usize];
        if self.built.with(&defects::FLAG) {
            pending.write(cpu, 0).await;
        } else {
            pending.add_return_relaxed(cpu, u64::MAX).await;
        }
    }

    /// `mm_tlb_flush_pending`.
    pub(super) async fn mm_tlb_flush_pending(&self, cpu: Cpu<'_>, mm: Space) -> bool {
        self.tlb_flush_pending[mm.0 as usize].read(cpu).await != 0
    }

    /// `tlb_gather_mmu`.
    pub(super) async fn tlb_gather_mmu(&self, cpu: Cpu<'_>, mm: Space, va: Va) -> Gather {
        let mut tlb = Gather {
            mm,
            start: 0,
            end: 0,
            cleared_ptes: false,
            cleared_pmds: false,
            freed_tables: false,
            unshared_tables: false,
            fully_unshared_tables: false,
            fullmm: false,
            vma_pfn: false,
            va,
            pages: [0; PAGES],
            nr: 0,
            table: 0,
        };
        tlb.reset_range();
        self.inc_tlb_flush_pending(cpu, mm).await;
        tlb
    }

    /// `tlb_flush_mmu_tlbonly`.
    pub(super) async fn tlb_flush_mmu_tlbonly(&self, cpu: Cpu<'_>, tlb: &mut Gather) {
        let tables = tlb.freed_tables || tlb.unshared_tables;
        if !(tables || tlb.cleared_ptes || tlb.cleared_pmds) {
            return;
        }
        self.arch.tlb_flush(cpu, tlb).await;
        tlb.reset_range();
    }

    /// `tlb_finish_mmu`: the flush, then the pages and tables, then the end of being pending.
    pub(super) async fn tlb_finish_mmu(&self, cpu: Cpu<'_>, tlb: &mut Gather) {
        // Somebody else may have cleared what was not found here, and not flushed yet: then
        // nobody may rely on it that nothing was found.
        let nested = self.tlb_flush_pending[tlb.mm.0 as usize].read(cpu).await > 1;
        if nested && !self.built.with(&defects::NESTED) {
            cpu.goal(GOAL_NESTED);
            tlb.fullmm = true;
            tlb.reset_range();
            tlb.freed_tables = true;
            if self.built.with(&defects::NESTED_HINT) {
                // The range that was asked for, of which nothing is known.
                (tlb.start, tlb.end) = (tlb.va, tlb.va + PAGE);
                (tlb.fullmm, tlb.freed_tables, tlb.cleared_ptes) = (false, false, true);
            }
        }
        self.tlb_flush_mmu_tlbonly(cpu, tlb).await;
        if tlb.table != 0 {
            self.tlb_remove_table(cpu, tlb.table).await;
        }
        for pa in &tlb.pages[..tlb.nr] {
            cpu.free(*pa).await;
        }
        self.dec_tlb_flush_pending(cpu, tlb.mm).await;
    }

    /// `tlb_remove_table`, once the flush is complete.
    pub(super) async fn tlb_remove_table(&self, cpu: Cpu<'_>, table: u64) {
        if A::RCU_TABLE_FREE {
            cpu.tlb_remove_table(table).await;
        } else {
            cpu.free(table).await;
        }
    }

    /// `set_tlb_ubc_flush_pending`: the page of an entry that was just cleared is flushed at the
    /// end of the batch. Whether there is anything to flush.
    pub(super) async fn set_tlb_ubc_flush_pending(
        &self,
        cpu: Cpu<'_>,
        mm: Space,
        old: Desc,
        va: Va,
    ) -> bool {
        if !self.pte_accessible(cpu, mm, old).await {
            return false;
        }
        self.arch.arch_tlbbatch_add_pending(cpu, mm, va).await;
        // The case of a counter that overflows is left out: nobody counts so far here.
        let batched = self.tlb_flush_batched[mm.0 as usize];
        batched.add_return_relaxed(cpu, 1).await;
        true
    }

    /// `pte_accessible`: hardware may use the entry, or has used it and nobody has flushed.
    pub(super) async fn pte_accessible(&self, cpu: Cpu<'_>, mm: Space, old: Desc) -> bool {
        old.valid() || (old.restored().is_some() && self.mm_tlb_flush_pending(cpu, mm).await)
    }

    /// `flush_tlb_batched_pending`, under a page-table lock: what reclaim has cleared of this mm
    /// and not flushed.
    pub(super) async fn flush_tlb_batched_pending(&self, cpu: Cpu<'_>, mm: Space) {
        if self.built.with(&defects::BATCHED) {
            return;
        }
        let tlb_flush_batched = self.tlb_flush_batched[mm.0 as usize];
        let batch = tlb_flush_batched.read(cpu).await;
        let pending = batch & PENDING_MASK;
        if pending == batch >> FLUSHED_SHIFT {
            return;
        }
        cpu.goal(GOAL_BATCHED);
        self.arch.arch_flush_tlb_batched_pending(cpu, mm).await;
        // If the number has grown meanwhile, the next in line flushes again.
        tlb_flush_batched
            .cmpxchg(cpu, batch, pending | pending << FLUSHED_SHIFT)
            .await;
    }
}

const FLUSHED_SHIFT: u32 = 16;
const PENDING_MASK: u64 = (1 << FLUSHED_SHIFT) - 1;
