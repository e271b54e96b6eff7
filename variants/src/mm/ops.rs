// SPDX-License-Identifier: GPL-2.0-only
//! Mapping, unmapping and protecting (mm/memory.c, mm/mprotect.c, mm/vma.c).

use super::gather::Gather;
use super::hugetlb::{self, is_vm_hugetlb_page};
use super::tables::{frame, slot};
use super::{GOAL_FREED_TABLE, Kind, MAPPED, Mm, Mmu, defects};
use shootdown_machine::arm64::Desc;
use shootdown_machine::{Cpu, Done, PAGE, Page, Prot, SLOTS, Space, Va, slot_pa};

impl<A: Mmu> Mm<A> {
    /// `mmap` with MAP_POPULATE.
    pub async fn map(&self, cpu: Cpu<'_>, mm: Space, va: Va, page: Page) -> Done {
        self.mmap_write_lock(cpu, mm).await;
        // The fault is taken again if the table was retracted meanwhile.
        let done = loop {
            match self.pte_alloc(cpu, mm, va).await {
                Ok(()) => {
                    if let Some(done) = self.map_page(cpu, mm, va, page).await {
                        break done;
                    }
                }
                Err(done) => break done,
            }
        };
        self.mmap_write_unlock(cpu, mm).await;
        done
    }

    /// `None`: there is no table any more.
    async fn map_page(&self, cpu: Cpu<'_>, mm: Space, va: Va, page: Page) -> Option<Done> {
        let rmap = self.rmap_lock[mm.0 as usize];
        if va == 0 {
            rmap.lock(cpu).await;
        }
        let mut done = None;
        if let Some(pte) = self.pte_offset_map_lock(cpu, mm, va).await {
            done = Some(Done::No);
            if cpu.pte_read(pte).await == Desc::INVALID {
                done = match frame(cpu.alloc_page(mm, page).await) {
                    Ok(pa) => {
                        self.set(cpu, pte, self.ptes.leaf(3, pa)).await;
                        if va == 0 {
                            self.adopt(cpu, mm, pa).await;
                        }
                        Some(Done::Yes)
                    }
                    Err(done) => Some(done),
                };
            }
            self.ptl(mm, va).unlock(cpu).await;
        }
        if va == 0 {
            rmap.unlock(cpu).await;
        }
        done
    }

    /// A new page at address 0 is the file's or the driver's, if that has none.
    async fn adopt(&self, cpu: Cpu<'_>, mm: Space, pa: u64) {
        let page = self.page_of[mm.0 as usize];
        if page.read(cpu).await == 0 {
            // Unnoticed: without it the page is an anonymous one.
            page.write(cpu, pa | MAPPED).await;
        }
    }

    /// `zap_pte_range`. Whether there was something.
    pub(super) async fn zap_pte_range(&self, cpu: Cpu<'_>, tlb: &mut Gather, va: Va) -> bool {
        let mm = tlb.mm;
        if is_vm_hugetlb_page(va) {
            return self.unmap_hugepage_range(cpu, tlb, va).await;
        }
        let Some(pte) = self.pte_offset_map_lock(cpu, mm, va).await else {
            return false;
        };
        self.flush_tlb_batched_pending(cpu, mm).await;
        let mut found = false;
        if cpu.pte_read(pte).await != Desc::INVALID {
            // get_and_clear: hardware may have changed the entry since.
            let old = cpu.pte_xchg_relaxed(pte, Desc::INVALID).await;
            found = true;
            if let Some(leaf) = self.ptes.present(old) {
                tlb.entry(va, 3);
                self.zap_present(cpu, tlb, va, leaf.pa, leaf.writable).await;
            }
        }
        self.ptl(mm, va).unlock(cpu).await;
        found
    }

    /// `zap_present_ptes`: what becomes of the page.
    async fn zap_present(&self, cpu: Cpu<'_>, tlb: &mut Gather, va: Va, pa: u64, dirty: bool) {
        match self.kind(cpu, tlb.mm, va, pa).await {
            Kind::Anon => tlb.page(pa),
            // Not counted; the driver frees it.
            Kind::Driver => {}
            Kind::File => {
                let page = self.page_of[tlb.mm.0 as usize];
                if dirty {
                    cpu.set_page_dirty(pa).await;
                    if self.built.with(&defects::EARLY_RMAP) {
                        page.fetch_andnot(cpu, MAPPED).await;
                    }
                    // Before anybody can take the lock, find no entry, and write the page back.
                    if !self.built.with(&defects::DIRTY) {
                        self.tlb_flush_mmu_tlbonly(cpu, tlb).await;
                    }
                }
                // tlb_flush_rmaps: it counts as mapped until then.
                page.fetch_andnot(cpu, MAPPED).await;
            }
        }
    }

    /// `munmap`. The areas are gone when the lock is downgraded; others work on other areas.
    pub async fn unmap(&self, cpu: Cpu<'_>, mm: Space, va: Va) -> Done {
        self.mmap_write_lock(cpu, mm).await;
        for i in 0..cpu.config().cpus {
            if i != cpu.id() {
                self.mmap_lock[mm.0 as usize * 4 + i as usize]
                    .unlock(cpu)
                    .await;
            }
        }
        let mut tlb = self.tlb_gather_mmu(cpu, mm, va).await;
        let found = self.zap_pte_range(cpu, &mut tlb, va).await;
        self.free_pgtables(cpu, &mut tlb, va).await;
        self.tlb_finish_mmu(cpu, &mut tlb).await;
        if va == 0 && found {
            self.close(cpu, mm).await;
        }
        self.mmap_read_unlock(cpu, mm).await;
        if found { Done::Yes } else { Done::No }
    }

    /// The areas leave the reverse map, and then the table, if nothing else is in it.
    async fn free_pgtables(&self, cpu: Cpu<'_>, tlb: &mut Gather, va: Va) {
        let mm = tlb.mm;
        if va == 0 && self.drives(mm) {
            // The area of a driver's page comes with a guard below it, which is the first.
            let first_only = self.built.with(&defects::PFNMAP_FIRST);
            tlb.vma_pfn = !first_only && !self.built.with(&defects::PFNMAP);
            // tlb_free_vmas: once it is unlinked, the driver does not find it any more.
            if tlb.vma_pfn {
                self.tlb_flush_mmu_tlbonly(cpu, tlb).await;
            }
            let rmap = self.rmap_lock[mm.0 as usize];
            // Unnoticed: what matters is the flush before. Whoever still finds the area finds no
            // descriptor there.
            rmap.lock(cpu).await;
            self.page_of[mm.0 as usize].fetch_andnot(cpu, MAPPED).await;
            rmap.unlock(cpu).await;
        }
        let Some(pte) = self.pte_offset_map_lock(cpu, mm, va).await else {
            return;
        };
        let table = pte & !(PAGE - 1);
        if self.is_empty_table(cpu, table).await
            && let Some(pmd) = self.pmd_offset(cpu, mm, va).await
        {
            cpu.goal(GOAL_FREED_TABLE);
            cpu.pte_write(pmd, Desc::INVALID).await;
            tlb.pte_table(va, table);
        }
        self.ptl(mm, va).unlock(cpu).await;
    }

    /// The last user of the file or the driver is gone, and so is its page, if that has not been
    /// taken back already.
    async fn close(&self, cpu: Cpu<'_>, mm: Space) {
        let rmap = self.rmap_lock[mm.0 as usize];
        rmap.lock(cpu).await;
        let page = self.page_of[mm.0 as usize];
        let pa = page.read(cpu).await;
        if pa != 0 && pa & MAPPED == 0 {
            page.write(cpu, 0).await;
            cpu.free(pa).await;
        }
        rmap.unlock(cpu).await;
    }

    /// `madvise(MADV_DONTNEED)`, which a driver's area does not have.
    pub async fn zap(&self, cpu: Cpu<'_>, mm: Space, va: Va) -> Done {
        if va == 0 && self.drives(mm) {
            return Done::No;
        }
        self.mmap_read_lock(cpu, mm).await;
        let mut tlb = self.tlb_gather_mmu(cpu, mm, va).await;
        let found = self.zap_pte_range(cpu, &mut tlb, va).await;
        self.tlb_finish_mmu(cpu, &mut tlb).await;
        // What nobody maps is dropped from the page cache at once.
        if va == 0 && found {
            self.close(cpu, mm).await;
        }
        self.mmap_read_unlock(cpu, mm).await;
        if found { Done::Yes } else { Done::No }
    }

    /// `mprotect`.
    pub async fn protect(&self, cpu: Cpu<'_>, mm: Space, va: Va, prot: Prot) -> Done {
        let writable = prot == Prot::Rw;
        self.mmap_write_lock(cpu, mm).await;
        let mut tlb = self.tlb_gather_mmu(cpu, mm, va).await;
        let mut done = self.change_huge_pmd(cpu, &mut tlb, va, writable).await;
        if done.is_none() {
            done = self.change_pte_range(cpu, &mut tlb, va, writable).await;
        }
        self.tlb_finish_mmu(cpu, &mut tlb).await;
        self.mmap_write_unlock(cpu, mm).await;
        done.unwrap_or(Done::No)
    }

    /// `None`: there is no block.
    async fn change_huge_pmd(
        &self,
        cpu: Cpu<'_>,
        tlb: &mut Gather,
        va: Va,
        writable: bool,
    ) -> Option<Done> {
        let mm = tlb.mm;
        let pmd = self.pmd_offset(cpu, mm, va).await?;
        self.ptes.mapped(2, cpu.pte_read(pmd).await)?;
        let lock = self.pmd_lock[mm.0 as usize];
        // Unnoticed: as in `pmd_alloc`.
        lock.lock(cpu).await;
        let old = cpu.pte_read(pmd).await;
        let mut done = None;
        if let Some(leaf) = self.ptes.mapped(2, old) {
            done = Some(Done::No);
            if old.granted() != writable {
                let mut owned = writable;
                for i in 0..SLOTS as u64 {
                    owned &= cpu.folio_ref_count(leaf.pa + i * PAGE).await == 1;
                }
                for i in (0..SLOTS as u64).filter(|_| owned) {
                    cpu.set_page_dirty(leaf.pa + i * PAGE).await;
                }
                let new = self.ptes.with_writable(old, owned).with_granted(writable);
                cpu.pte_xchg_relaxed(pmd, new).await;
                tlb.entry(va, 2);
                done = Some(Done::Yes);
            }
        }
        lock.unlock(cpu).await;
        done
    }

    async fn change_pte_range(
        &self,
        cpu: Cpu<'_>,
        tlb: &mut Gather,
        va: Va,
        writable: bool,
    ) -> Option<Done> {
        let mm = tlb.mm;
        if is_vm_hugetlb_page(va) {
            return Some(self.hugetlb_change_protection(cpu, tlb, va, writable).await);
        }
        let pte = self.pte_offset_map_lock(cpu, mm, va).await?;
        self.flush_tlb_batched_pending(cpu, mm).await;
        let mut done = Done::No;
        let old = cpu.pte_read(pte).await;
        if let Some(leaf) = self.ptes.present(old)
            && old.granted() != writable
        {
            // can_change_pte_writable: what others have too stays read-only until a fault, and
            // so does a file's page, which may be in write-back.
            let owned = writable
                && self.kind(cpu, mm, va, leaf.pa).await != Kind::File
                && cpu.folio_ref_count(leaf.pa).await == 1;
            if owned {
                cpu.set_page_dirty(leaf.pa).await;
            }
            // ptep_modify_prot_start, ptep_modify_prot_commit
            let old = cpu.pte_xchg_relaxed(pte, Desc::INVALID).await;
            let new = self.ptes.with_writable(old, owned).with_granted(writable);
            cpu.pte_write(pte, new).await;
            tlb.entry(va, 3);
            done = Done::Yes;
        }
        self.ptl(mm, va).unlock(cpu).await;
        Some(done)
    }

    /// `task_numa_work`: `change_prot_numa`. Pages of files and drivers are left alone.
    pub async fn hint(&self, cpu: Cpu<'_>, mm: Space, va: Va) -> Done {
        if va == 0 {
            return Done::No;
        }
        self.mmap_read_lock(cpu, mm).await;
        let mut tlb = self.tlb_gather_mmu(cpu, mm, va).await;
        let mut done = Done::No;
        if let Some(pte) = self.pte_offset_map_lock(cpu, mm, va).await {
            self.flush_tlb_batched_pending(cpu, mm).await;
            if self.ptes.mapped(3, cpu.pte_read(pte).await).is_some() {
                let old = cpu.pte_xchg_relaxed(pte, Desc::INVALID).await;
                // Unnoticed: without it the page is lost. What a hint leaves is taken from the
                // tables, and no rule is about pages that leak.
                cpu.pte_write(pte, old.withheld()).await;
                tlb.entry(va, 3);
                done = Done::Yes;
            }
            self.ptl(mm, va).unlock(cpu).await;
        }
        self.tlb_finish_mmu(cpu, &mut tlb).await;
        self.mmap_read_unlock(cpu, mm).await;
        done
    }

    /// `exit_mmap`: frees everything, and gives the letter an empty root.
    pub async fn exit(&self, cpu: Cpu<'_>, mm: Space) -> Done {
        // Unnoticed: the harness lets nothing else run on a space that exits.
        self.mmap_write_lock(cpu, mm).await;
        let mut tlb = self.tlb_gather_mmu(cpu, mm, 0).await;
        tlb.fullmm = true;
        self.zap_pte_range(cpu, &mut tlb, hugetlb::AREA).await;
        tlb.freed_tables = true;
        let root = self.pgd(cpu, mm).await;
        let mut unlinked = [Desc::INVALID; SLOTS];
        for (i, slot) in unlinked.iter_mut().enumerate() {
            let at = root + i as u64 * 8;
            if cpu.pte_read(at).await.valid() {
                *slot = cpu.pte_xchg_relaxed(at, Desc::INVALID).await;
            }
        }
        self.tlb_flush_mmu_tlbonly(cpu, &mut tlb).await;
        for desc in unlinked {
            self.free_below(cpu, desc, cpu.config().first_level()).await;
        }
        // The driver may have its page still, with nobody to map it.
        self.close(cpu, mm).await;
        self.page_of[mm.0 as usize].write(cpu, 0).await;
        let new = cpu.new_root(mm).await;
        self.pgd[mm.0 as usize].write(cpu, new).await;
        self.tlb_remove_table(cpu, root).await;
        self.tlb_finish_mmu(cpu, &mut tlb).await;
        self.mmap_write_unlock(cpu, mm).await;
        if new == 0 { Done::Exhausted } else { Done::Yes }
    }

    /// Frees what an unlinked entry of this level leads to.
    async fn free_below(&self, cpu: Cpu<'_>, desc: Desc, level: u8) {
        if let Some(leaf) = self.ptes.mapped(level, desc.restored().unwrap_or(desc)) {
            for i in 0..shootdown_machine::level_size(level) / PAGE {
                cpu.free(leaf.pa + i * PAGE).await;
            }
        } else if let Some(table) = self.ptes.table_at(level, desc) {
            for i in 0..SLOTS as u64 {
                let child = cpu.pte_read(table + i * 8).await;
                Box::pin(self.free_below(cpu, child, level + 1)).await;
            }
            self.tlb_remove_table(cpu, table).await;
        }
    }
}

/// Whether both addresses begin a table.
pub(super) fn table_aligned(va: Va, to: Va) -> bool {
    slot(va) as u64 * SLOTS as u64 * PAGE == va && slot(to) as u64 * SLOTS as u64 * PAGE == to
}

/// Where the entry of an address lies in a table.
pub(super) fn pte_index(table: u64, va: Va) -> u64 {
    slot_pa(table, 3, va)
}
