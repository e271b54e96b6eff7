// SPDX-License-Identifier: GPL-2.0-only
//! `mremap` (mm/mremap.c).

use super::ops::{pte_index, table_aligned};
use super::tables::slot;
use super::{GOAL_TABLE_MOVED, Mm, Mmu, defects};
use shootdown_machine::arm64::Desc;
use shootdown_machine::{Cpu, Done, PAGE, Space, Va, level_size};

impl<A: Mmu> Mm<A> {
    /// Moves a page, or a table of them. Areas of files and drivers stay where they are.
    pub async fn mremap(&self, cpu: Cpu<'_>, mm: Space, va: Va, to: Va) -> Done {
        if va == 0 || to == 0 || va == to {
            return Done::No;
        }
        self.mmap_write_lock(cpu, mm).await;
        let mut done = Done::No;
        if table_aligned(va, to) {
            done = self.move_normal_pmd(cpu, mm, va, to).await;
        }
        if done == Done::No {
            // EAGAIN: a table was retracted meanwhile.
            done = loop {
                if let Some(done) = self.move_ptes(cpu, mm, va, to).await {
                    break done;
                }
            };
        }
        self.mmap_write_unlock(cpu, mm).await;
        done
    }

    async fn move_ptes(&self, cpu: Cpu<'_>, mm: Space, va: Va, to: Va) -> Option<Done> {
        if let Err(done) = self.pte_alloc(cpu, mm, to).await {
            return Some(done);
        }
        let Some(old_pte) = self.pte_offset_map_lock(cpu, mm, va).await else {
            return Some(Done::No);
        };
        let mut new_pte = Some(old_pte);
        if slot(va) != slot(to) {
            new_pte = self.pte_offset_map_lock(cpu, mm, to).await;
        }
        let new_pte = new_pte.map(|pte| pte_index(pte & !(PAGE - 1), to));
        let mut done = None;
        if let Some(new_pte) = new_pte {
            done = Some(Done::No);
            self.flush_tlb_batched_pending(cpu, mm).await;
            let free = cpu.pte_read(new_pte).await == Desc::INVALID;
            if free && self.ptes.present(cpu.pte_read(old_pte).await).is_some() {
                let pte = cpu.pte_xchg_relaxed(old_pte, Desc::INVALID).await;
                self.set(cpu, new_pte, pte).await;
                // Whoever finds the page at its new address need not flush the old one.
                if !self.built.with(&defects::MOVE) {
                    self.arch
                        .flush_tlb_range(cpu, mm, va, va + PAGE, false)
                        .await;
                }
                done = Some(Done::Yes);
            }
            if slot(va) != slot(to) {
                self.ptl(mm, to).unlock(cpu).await;
            }
        }
        self.ptl(mm, va).unlock(cpu).await;
        if done == Some(Done::Yes) && self.built.with(&defects::MOVE) {
            self.arch
                .flush_tlb_range(cpu, mm, va, va + PAGE, false)
                .await;
        }
        done
    }

    /// Both entries of level 2 are under one lock here.
    async fn move_normal_pmd(&self, cpu: Cpu<'_>, mm: Space, va: Va, to: Va) -> Done {
        let Ok(new_pmd) = self.pmd_alloc(cpu, mm, to).await else {
            return Done::Exhausted;
        };
        let Some(old_pmd) = self.pmd_offset(cpu, mm, va).await else {
            return Done::No;
        };
        let (rmap, lock) = (self.rmap_lock[mm.0 as usize], self.pmd_lock[mm.0 as usize]);
        // move_page_tables: how to move it.
        let extent = cpu.pte_read(old_pmd).await;
        if self.ptes.table_at(2, extent).is_none() {
            return Done::No;
        }
        rmap.lock(cpu).await;
        // Unnoticed: as in `pmd_alloc`; and whoever retracts the table has the rmap lock, too.
        lock.lock(cpu).await;
        let mut done = Done::No;
        let desc = cpu.pte_read(old_pmd).await;
        // The table may have been retracted.
        let table = if self.built.with(&defects::RETRACTED) {
            Some(desc.addr())
        } else {
            self.ptes.table_at(2, desc)
        };
        let free = cpu.pte_read(new_pmd).await == Desc::INVALID;
        if let Some(table) = table
            && free
        {
            cpu.goal(GOAL_TABLE_MOVED);
            cpu.pte_write(old_pmd, Desc::INVALID).await;
            self.set(cpu, new_pmd, self.ptes.table(table)).await;
            self.arch
                .flush_tlb_range(cpu, mm, va, va + level_size(2), true)
                .await;
            done = Done::Yes;
        }
        lock.unlock(cpu).await;
        rmap.unlock(cpu).await;
        done
    }
}
