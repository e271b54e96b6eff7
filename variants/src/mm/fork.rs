// SPDX-License-Identifier: GPL-2.0-only
//! `fork`: `dup_mmap` (mm/mmap.c) and `copy_page_range` (mm/memory.c).

use super::hugetlb::is_vm_hugetlb_page;
use super::{Mm, Mmu, defects};
use shootdown_machine::arm64::Desc;
use shootdown_machine::{Cpu, Done, PAGE, PAGES, SLOTS, Space, Va, level_size};

impl<A: Mmu> Mm<A> {
    /// `dup_mmap`, to a space with nothing in it. Areas of files and drivers are not copied
    /// (MADV_DONTFORK).
    pub async fn fork(&self, cpu: Cpu<'_>, mm: Space, child: Space) -> Done {
        if mm == child {
            return Done::No;
        }
        // Two that fork from each other must not wait for each other.
        let (first, second) = if mm < child { (mm, child) } else { (child, mm) };
        self.mmap_write_lock(cpu, first).await;
        self.mmap_write_lock(cpu, second).await;
        let mut done = Done::No;
        if self.is_empty(cpu, child).await {
            done = Done::Yes;
            for va in (0..PAGES as u64 * PAGE).step_by(level_size(2) as usize) {
                if let Err(failed) = self.copy_pmd(cpu, mm, child, va).await {
                    done = failed;
                }
            }
            // Under the locks: when the child runs, the parent's writes are its own.
            if !self.built.with(&defects::FORK) {
                self.arch.flush_tlb_mm(cpu, mm).await;
            }
        }
        self.mmap_write_unlock(cpu, second).await;
        self.mmap_write_unlock(cpu, first).await;
        done
    }

    async fn is_empty(&self, cpu: Cpu<'_>, mm: Space) -> bool {
        for va in (0..PAGES as u64 * PAGE).step_by(level_size(2) as usize) {
            if let Some(pmd) = self.pmd_offset(cpu, mm, va).await
                && cpu.pte_read(pmd).await != Desc::INVALID
            {
                return false;
            }
        }
        true
    }

    async fn copy_pmd(&self, cpu: Cpu<'_>, mm: Space, child: Space, va: Va) -> Result<(), Done> {
        if is_vm_hugetlb_page(va) {
            return self.copy_hugetlb_page_range(cpu, mm, child).await;
        }
        let Some(pmd) = self.pmd_offset(cpu, mm, va).await else {
            return Ok(());
        };
        let lock = self.pmd_lock[mm.0 as usize];
        let mut desc = cpu.pte_read(pmd).await;
        if self.ptes.table_at(2, desc).is_none() {
            if desc == Desc::INVALID {
                return Ok(());
            }
            let new = self.pmd_alloc(cpu, child, va).await?;
            // Unnoticed: as in `pmd_alloc`.
            lock.lock(cpu).await;
            desc = cpu.pte_read(pmd).await;
            if let Some(leaf) = self.ptes.mapped(2, desc) {
                // copy_huge_pmd
                for i in 0..SLOTS as u64 {
                    cpu.get_page(leaf.pa + i * PAGE).await;
                }
                let shared = self.ptes.with_writable(desc, false);
                cpu.pte_xchg_relaxed(pmd, shared).await;
                self.set(cpu, new, shared).await;
            }
            lock.unlock(cpu).await;
            return Ok(());
        }
        self.pte_alloc(cpu, child, va).await?;
        self.copy_pte_range(cpu, mm, child, va).await
    }

    async fn copy_pte_range(
        &self,
        cpu: Cpu<'_>,
        mm: Space,
        child: Space,
        va: Va,
    ) -> Result<(), Done> {
        let Some(src) = self.pte_offset_map_lock(cpu, mm, va).await else {
            return Ok(());
        };
        // ENOMEM, if the child's table was retracted already.
        let mut done = Err(Done::No);
        if let Some(dst) = self.pte_offset_map_lock(cpu, child, va).await {
            for i in 0..SLOTS as u64 {
                let (src, dst) = (src + i * 8, dst + i * 8);
                if va + i * PAGE != 0 && self.ptes.present(cpu.pte_read(src).await).is_some() {
                    self.copy_present_pte(cpu, src, dst).await;
                }
            }
            self.ptl(child, va).unlock(cpu).await;
            done = Ok(());
        }
        self.ptl(mm, va).unlock(cpu).await;
        done
    }

    async fn copy_present_pte(&self, cpu: Cpu<'_>, src: u64, dst: u64) {
        let desc = cpu.pte_read(src).await;
        let Some(leaf) = self.ptes.present(desc) else {
            return;
        };
        cpu.get_page(leaf.pa).await;
        // ptep_set_wrprotect
        let shared = self.ptes.with_writable(desc, false);
        if leaf.writable {
            cpu.pte_xchg_relaxed(src, shared).await;
        }
        self.set(cpu, dst, shared).await;
    }
}
