// SPDX-License-Identifier: GPL-2.0-only
//! Work on a page that finds its entries by the reverse map, without the mm's lock: reclaim,
//! write-back, migration, and a driver that takes its page back (mm/rmap.c, mm/vmscan.c,
//! mm/migrate.c).

use super::pte::SWAPPED;
use super::{GOAL_NO_AREA, gather::Gather};
use super::{Kind, MAPPED, Mm, Mmu, defects};
use shootdown_machine::arm64::Desc;
use shootdown_machine::{Cpu, Done, Page, Space, Va};

impl<A: Mmu> Mm<A> {
    /// `shrink_folio_list` for one page, or the driver's call of `unmap_mapping_range`.
    pub async fn reclaim(&self, cpu: Cpu<'_>, mm: Space, va: Va) -> Done {
        let rmap = self.rmap_lock[mm.0 as usize];
        rmap.lock(cpu).await;
        let done = if va == 0 && self.drives(mm) {
            self.take_back(cpu, mm).await
        } else {
            self.shrink(cpu, mm, va).await
        };
        rmap.unlock(cpu).await;
        done
    }

    async fn shrink(&self, cpu: Cpu<'_>, mm: Space, va: Va) -> Done {
        // try_to_unmap_one
        let Some(pte) = self.pte_offset_map_lock(cpu, mm, va).await else {
            return Done::No;
        };
        let mut taken = None;
        if self.ptes.present(cpu.pte_read(pte).await).is_some() {
            let old = cpu.pte_xchg_relaxed(pte, SWAPPED).await;
            if let Some(leaf) = self.ptes.present(old) {
                let pending = self.set_tlb_ubc_flush_pending(cpu, mm, old, va).await;
                if leaf.writable {
                    cpu.set_page_dirty(leaf.pa).await;
                }
                taken = Some((leaf.pa, pending, self.kind(cpu, mm, va, leaf.pa).await));
            }
        }
        self.ptl(mm, va).unlock(cpu).await;
        let Some((pa, pending, kind)) = taken else {
            return Done::No;
        };
        let late = self.built.with(&defects::BATCH_LATE);
        if late {
            cpu.free(pa).await;
        }
        // try_to_unmap_flush
        if pending {
            self.arch.arch_tlbbatch_flush(cpu).await;
        }
        if kind == Kind::File {
            self.page_of[mm.0 as usize].write(cpu, 0).await;
        }
        // What has been swapped out is forgotten.
        if let Some(pte) = self.pte_offset_map_lock(cpu, mm, va).await {
            if cpu.pte_read(pte).await == SWAPPED {
                // Unnoticed: without it the address stays in use, and its table stays.
                cpu.pte_write(pte, Desc::INVALID).await;
            }
            self.ptl(mm, va).unlock(cpu).await;
        }
        if !late {
            cpu.free(pa).await;
        }
        Done::Yes
    }

    /// The driver of the page at address 0 takes it back: `unmap_mapping_range`, and then the
    /// page is its own. It is not counted.
    async fn take_back(&self, cpu: Cpu<'_>, mm: Space) -> Done {
        let page = self.page_of[mm.0 as usize];
        let pa = page.read(cpu).await;
        if pa == 0 {
            return Done::No;
        }
        let mut found = false;
        if pa & MAPPED != 0 {
            let mut tlb: Gather = self.tlb_gather_mmu(cpu, mm, 0).await;
            found = self.zap_pte_range(cpu, &mut tlb, 0).await;
            self.tlb_finish_mmu(cpu, &mut tlb).await;
        } else {
            cpu.goal(GOAL_NO_AREA);
        }
        page.write(cpu, 0).await;
        cpu.free(pa & !MAPPED).await;
        if found { Done::Yes } else { Done::No }
    }

    /// Write-back of the file's page. Of others, the next write is to be told: a userfaultfd
    /// that write-protects (WP_ASYNC).
    pub async fn clean(&self, cpu: Cpu<'_>, mm: Space, va: Va) -> Done {
        if va != 0 {
            return self.change_uffd_wp_range(cpu, mm, va).await;
        }
        if self.drives(mm) {
            return Done::No;
        }
        let rmap = self.rmap_lock[mm.0 as usize];
        rmap.lock(cpu).await;
        let mut done = Done::No;
        let page = self.page_of[mm.0 as usize].read(cpu).await;
        if page != 0 {
            // folio_mkclean looks for entries only of a page that is mapped.
            if page & MAPPED != 0 {
                self.page_mkclean_one(cpu, mm, page & !MAPPED).await;
            }
            cpu.write_back(page & !MAPPED).await;
            done = Done::Yes;
        }
        rmap.unlock(cpu).await;
        done
    }

    async fn page_mkclean_one(&self, cpu: Cpu<'_>, mm: Space, pa: u64) {
        let Some(pte) = self.pte_offset_map_lock(cpu, mm, 0).await else {
            return;
        };
        let leaf = self.ptes.mapped(3, cpu.pte_read(pte).await);
        // pte_dirty: an entry that mprotect has write-protected is dirty still. Whoever writes
        // through its stale copies does so until the flush, which may be pending.
        let dirty = leaf.is_some_and(|leaf| leaf.pa == pa)
            && (leaf.is_some_and(|leaf| leaf.writable) || self.mm_tlb_flush_pending(cpu, mm).await);
        if dirty {
            let old = self.ptep_clear_flush(cpu, mm, 0, pte).await;
            let new = self.ptes.with_writable(old, false);
            self.set(cpu, pte, new).await;
        }
        self.ptl(mm, 0).unlock(cpu).await;
    }

    /// `ptep_clear_flush`.
    pub(super) async fn ptep_clear_flush(&self, cpu: Cpu<'_>, mm: Space, va: Va, pte: u64) -> Desc {
        let old = cpu.pte_xchg_relaxed(pte, Desc::INVALID).await;
        if self.pte_accessible(cpu, mm, old).await {
            self.arch.flush_tlb_page(cpu, mm, va).await;
        }
        old
    }

    async fn change_uffd_wp_range(&self, cpu: Cpu<'_>, mm: Space, va: Va) -> Done {
        self.mmap_read_lock(cpu, mm).await;
        let mut tlb = self.tlb_gather_mmu(cpu, mm, va).await;
        let mut done = Done::No;
        if let Some(pte) = self.pte_offset_map_lock(cpu, mm, va).await {
            self.flush_tlb_batched_pending(cpu, mm).await;
            let leaf = self.ptes.mapped(3, cpu.pte_read(pte).await);
            if leaf.is_some_and(|leaf| leaf.writable) {
                let old = cpu.pte_xchg_relaxed(pte, Desc::INVALID).await;
                cpu.pte_write(pte, self.ptes.with_writable(old, false))
                    .await;
                tlb.entry(va, 3);
                done = Done::Yes;
            }
            self.ptl(mm, va).unlock(cpu).await;
        }
        self.tlb_finish_mmu(cpu, &mut tlb).await;
        self.mmap_read_unlock(cpu, mm).await;
        done
    }

    /// `migrate_folio`. The page-table lock is held in place of a migration entry, which faults
    /// would wait for.
    pub async fn remap(&self, cpu: Cpu<'_>, mm: Space, va: Va, page: Page) -> Done {
        let rmap = self.rmap_lock[mm.0 as usize];
        rmap.lock(cpu).await;
        let mut done = Done::No;
        if let Some(pte) = self.pte_offset_map_lock(cpu, mm, va).await {
            if let Some(leaf) = self.ptes.mapped(3, cpu.pte_read(pte).await) {
                done = self.migrate(cpu, mm, va, pte, leaf.pa, page).await;
            }
            self.ptl(mm, va).unlock(cpu).await;
        }
        rmap.unlock(cpu).await;
        done
    }

    async fn migrate(
        &self,
        cpu: Cpu<'_>,
        mm: Space,
        va: Va,
        pte: u64,
        pa: u64,
        page: Page,
    ) -> Done {
        let new = cpu.alloc_page(mm, page).await;
        if new == 0 {
            return Done::Exhausted;
        }
        let old = self.ptep_clear_flush(cpu, mm, va, pte).await;
        // folio_ref_freeze: a page that others refer to stays.
        if cpu.folio_ref_count(pa).await != 1 {
            self.set(cpu, pte, old).await;
            cpu.free(new).await;
            return Done::No;
        }
        cpu.copy_page(pa, new).await;
        self.set(cpu, pte, self.ptes.moved(3, old, new)).await;
        if self.kind(cpu, mm, va, pa).await != Kind::Anon {
            self.page_of[mm.0 as usize].write(cpu, new | MAPPED).await;
        }
        cpu.free(pa).await;
        Done::Yes
    }
}
