// SPDX-License-Identifier: GPL-2.0-only
//! Blocks: split and collapse (mm/huge_memory.c, mm/khugepaged.c).

use super::hugetlb::is_vm_hugetlb_page;
use super::tables::frame;
use super::{GOAL_RETRACTED, Mm, Mmu, SYNC, defects};
use shootdown_machine::arm64::Desc;
use shootdown_machine::{Cpu, Done, PAGE, Page, Ram, SLOTS, Space, Va, level_size};

impl<A: Mmu> Mm<A> {
    /// `split_huge_pmd`.
    pub async fn split(&self, cpu: Cpu<'_>, mm: Space, va: Va) -> Done {
        self.mmap_read_lock(cpu, mm).await;
        let done = match self.pmd_offset(cpu, mm, va).await {
            Some(pmd) => self.split_huge_pmd(cpu, mm, va, pmd).await,
            None => Done::No,
        };
        self.mmap_read_unlock(cpu, mm).await;
        done
    }

    /// `__split_huge_pmd`.
    pub(super) async fn split_huge_pmd(&self, cpu: Cpu<'_>, mm: Space, va: Va, pmd: u64) -> Done {
        let lock = self.pmd_lock[mm.0 as usize];
        lock.lock(cpu).await;
        let desc = cpu.pte_read(pmd).await;
        let mut done = Done::No;
        if let Some(leaf) = self.ptes.mapped(2, desc) {
            let table = cpu.alloc_table(mm).await;
            done = Done::Exhausted;
            if table != 0 {
                self.split_locked(cpu, mm, va, pmd, leaf.pa, table).await;
                done = Done::Yes;
            }
        }
        lock.unlock(cpu).await;
        done
    }

    /// `__split_huge_pmd_locked`: `pmdp_invalidate`, then the table.
    async fn split_locked(&self, cpu: Cpu<'_>, mm: Space, va: Va, pmd: u64, pa: u64, table: u64) {
        let first = va / level_size(2) * level_size(2);
        let old = cpu.pte_xchg_relaxed(pmd, Desc::INVALID).await;
        self.arch
            .flush_tlb_range(cpu, mm, first, first + level_size(2), false)
            .await;
        let writable = self.ptes.mapped(2, old).is_some_and(|leaf| leaf.writable);
        for i in 0..SLOTS as u64 {
            let page = self.ptes.leaf(3, pa + i * PAGE);
            let page = self.ptes.with_writable(page, writable);
            cpu.pte_write(table + i * 8, page.with_granted(old.granted()))
                .await;
        }
        self.set(cpu, pmd, self.ptes.table(table)).await;
    }

    /// `collapse_huge_page`, or in place where the pages are still those of one block.
    pub async fn collapse(&self, cpu: Cpu<'_>, mm: Space, va: Va, page: Page) -> Done {
        let rmap = self.rmap_lock[mm.0 as usize];
        // Unnoticed: the lock of the level-2 entry keeps whoever moves the table out as well.
        rmap.lock(cpu).await;
        self.retract_page_tables(cpu, mm, va).await;
        rmap.unlock(cpu).await;
        self.mmap_write_lock(cpu, mm).await;
        rmap.lock(cpu).await;
        let done = self.collapse_huge_page(cpu, mm, va, page).await;
        rmap.unlock(cpu).await;
        self.mmap_write_unlock(cpu, mm).await;
        done.unwrap_or_else(|e| e)
    }

    /// `retract_page_tables` of a file whose pages are in a block now, and mapped nowhere any more:
    /// the table goes, under the rmap lock alone.
    async fn retract_page_tables(&self, cpu: Cpu<'_>, mm: Space, va: Va) {
        let first = va / level_size(2) * level_size(2);
        let Some(pmd) = self.pmd_offset(cpu, mm, va).await else {
            return;
        };
        let lock = self.pmd_lock[mm.0 as usize];
        // Unnoticed: whoever moves the table has the rmap lock, too.
        lock.lock(cpu).await;
        if !is_vm_hugetlb_page(va)
            && let Some(pte) = self.pte_offset_map_lock(cpu, mm, first).await
        {
            if self.is_empty_table(cpu, pte).await {
                cpu.goal(GOAL_RETRACTED);
                cpu.pte_xchg_relaxed(pmd, Desc::INVALID).await;
                self.arch
                    .flush_tlb_range(cpu, mm, first, first + level_size(2), true)
                    .await;
                self.tlb_remove_table(cpu, pte).await; // pte_free_defer
            }
            self.ptl(mm, va).unlock(cpu).await;
        }
        lock.unlock(cpu).await;
    }

    async fn collapse_huge_page(
        &self,
        cpu: Cpu<'_>,
        mm: Space,
        va: Va,
        page: Page,
    ) -> Result<Done, Done> {
        let first = va / level_size(2) * level_size(2);
        let pmd = self.pmd_offset(cpu, mm, va).await.ok_or(Done::No)?;
        let desc = cpu.pte_read(pmd).await;
        let table = self.ptes.table_at(2, desc).ok_or(Done::No)?;
        let ptes = self.collapsible(cpu, table).await.ok_or(Done::No)?;
        let granted = ptes[0].1.granted();
        let base = ptes[0].0;
        let in_place = Ram::is_block(base) && (0..).zip(&ptes).all(|(i, p)| p.0 == base + i * PAGE);
        let block = if in_place {
            base
        } else {
            frame(cpu.alloc_block(mm, page).await)?
        };
        let lock = self.pmd_lock[mm.0 as usize];
        // Unnoticed: as in `pmd_alloc`.
        lock.lock(cpu).await;
        // pmdp_collapse_flush
        cpu.pte_xchg_relaxed(pmd, Desc::INVALID).await;
        self.arch
            .flush_tlb_range(cpu, mm, first, first + level_size(2), true)
            .await;
        lock.unlock(cpu).await;
        if !self.built.with(&defects::NO_IPI) {
            self.tlb_remove_table_sync_one(cpu).await;
        }
        let mut writable = granted;
        let mut counted = true;
        for (pa, pte) in &ptes {
            // __collapse_huge_page_isolate: who has come by a reference since, keeps the page.
            counted &= cpu.folio_ref_count(*pa).await == 1;
            writable &= self.ptes.mapped(3, *pte).is_some_and(|leaf| leaf.writable);
        }
        if !counted {
            // Unnoticed: as in `pmd_alloc`.
            lock.lock(cpu).await;
            self.set(cpu, pmd, desc).await;
            lock.unlock(cpu).await;
            if !in_place {
                for i in 0..SLOTS as u64 {
                    cpu.free(block + i * PAGE).await;
                }
            }
            return Ok(Done::No);
        }
        if !in_place {
            writable = granted;
            for (i, (pa, _)) in (0..).zip(&ptes) {
                cpu.copy_page(*pa, block + i * PAGE).await;
            }
        }
        let huge = self.ptes.with_writable(self.ptes.leaf(2, block), writable);
        // Unnoticed: as in `pmd_alloc`.
        lock.lock(cpu).await;
        self.set(cpu, pmd, huge.with_granted(granted)).await;
        lock.unlock(cpu).await;
        if !in_place {
            for (pa, _) in &ptes {
                cpu.free(*pa).await;
            }
            if first == 0 {
                self.page_of[mm.0 as usize].write(cpu, 0).await;
            }
        }
        // It is kept for the next split, and has walkers no more.
        cpu.free(table).await;
        Ok(Done::Yes)
    }

    /// The pages of a table that can become a block, with their entries.
    async fn collapsible(&self, cpu: Cpu<'_>, table: u64) -> Option<[(u64, Desc); SLOTS]> {
        let mut ptes = [(0, Desc::INVALID); SLOTS];
        for (i, at) in ptes.iter_mut().enumerate() {
            let pte = cpu.pte_read(table + i as u64 * 8).await;
            *at = (self.ptes.mapped(3, pte)?.pa, pte);
            if cpu.folio_ref_count(at.0).await != 1 {
                return None;
            }
        }
        let granted = ptes[0].1.granted();
        ptes.iter()
            .all(|p| p.1.granted() == granted)
            .then_some(ptes)
    }

    /// `tlb_remove_table_sync_one`: every CPU has interrupts unmasked once, and so is in no
    /// lockless walk that began before.
    pub(super) async fn tlb_remove_table_sync_one(&self, cpu: Cpu<'_>) {
        if !A::RCU_TABLE_FREE {
            return; // the flush has done that
        }
        for other in (0..cpu.config().cpus).filter(|other| *other != cpu.id()) {
            cpu.send_ipi(other, SYNC).await;
        }
        cpu.wait_ipis().await;
    }
}
