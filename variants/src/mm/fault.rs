// SPDX-License-Identifier: GPL-2.0-only
//! Page faults (mm/memory.c).

use super::{GOAL_COPY, GOAL_REUSE, GOAL_WAITS, Kind, Mm, Mmu, defects};
use shootdown_machine::arm64::Desc;
use shootdown_machine::{Access, Cpu, Outcome, Page, Space, Va};

/// A fault: where, what for, and the page that a copy is to be.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// The mm.
    pub mm: Space,
    /// The address.
    pub va: Va,
    /// What the user wanted.
    pub access: Access,
    /// A name for a new page.
    pub page: Page,
}

impl<A: Mmu> Mm<A> {
    /// `handle_mm_fault`; whether to try again.
    pub async fn fault(&self, cpu: Cpu<'_>, fault: Fault, why: Outcome) -> bool {
        if why == Outcome::Conflict {
            self.arch.conflict(cpu).await;
            return true;
        }
        self.mmap_read_lock(cpu, fault.mm).await;
        let again = match self.huge_fault(cpu, fault, why).await {
            Some(again) => again,
            None => self.handle_pte_fault(cpu, fault, why).await,
        };
        self.mmap_read_unlock(cpu, fault.mm).await;
        again
    }

    /// `None`: there is no block.
    async fn huge_fault(&self, cpu: Cpu<'_>, fault: Fault, why: Outcome) -> Option<bool> {
        let Fault { mm, va, .. } = fault;
        let pmd = self.pmd_offset(cpu, mm, va).await?;
        let mut desc = cpu.pte_read(pmd).await;
        if self.ptes.table_at(2, desc).is_some() {
            return None;
        }
        // Whoever splits the block has the lock.
        let lock = self.pmd_lock[mm.0 as usize];
        lock.lock(cpu).await;
        desc = cpu.pte_read(pmd).await;
        lock.unlock(cpu).await;
        let leaf = self.ptes.mapped(2, desc)?;
        if fault.access == Access::Read || leaf.writable {
            if why == Outcome::Permission {
                self.arch.flush_tlb_fix_spurious_fault(cpu, mm, va).await;
            }
            return Some(true);
        }
        if !desc.granted() {
            return Some(false);
        }
        // do_huge_pmd_wp_page falls back on pages.
        self.split_huge_pmd(cpu, mm, va, pmd).await;
        None
    }

    async fn handle_pte_fault(&self, cpu: Cpu<'_>, fault: Fault, why: Outcome) -> bool {
        let Fault { mm, va, .. } = fault;
        // page_mkwrite waits for the write-back of the file's page.
        let file = va == 0 && fault.access == Access::Write && !self.drives(mm);
        let rmap = self.rmap_lock[mm.0 as usize];
        if file {
            rmap.lock(cpu).await;
        }
        let mut again = false;
        if let Some(pte) = self.pte_offset_map_lock(cpu, mm, va).await {
            let desc = cpu.pte_read(pte).await;
            again = match self.ptes.mapped(3, desc) {
                None => self.do_numa_page(cpu, fault, pte, desc).await,
                Some(leaf) if fault.access == Access::Read || leaf.writable => {
                    if why == Outcome::Permission {
                        self.arch.flush_tlb_fix_spurious_fault(cpu, mm, va).await;
                    }
                    true
                }
                Some(leaf) if desc.granted() => {
                    self.do_wp_page(cpu, fault, pte, desc, leaf.pa).await
                }
                Some(_) => false,
            };
            self.ptl(mm, va).unlock(cpu).await;
        }
        if file {
            rmap.unlock(cpu).await;
        }
        again
    }

    /// `do_numa_page`: the page comes to where it is used, if nobody else refers to it.
    async fn do_numa_page(&self, cpu: Cpu<'_>, fault: Fault, pte: u64, desc: Desc) -> bool {
        let Fault { mm, va, page, .. } = fault;
        let Some(old) = desc.restored() else {
            return false;
        };
        let pa = self.ptes.mapped(3, old).map_or(0, |leaf| leaf.pa);
        let mut new = 0;
        if cpu.folio_ref_count(pa).await == 1 {
            new = cpu.alloc_page(mm, page).await;
        }
        if new == 0 {
            self.set(cpu, pte, old).await;
            return true;
        }
        // Whoever took the access away may not have flushed yet, and then others still write.
        if self.mm_tlb_flush_pending(cpu, mm).await {
            cpu.goal(GOAL_WAITS);
            if !self.built.with(&defects::NUMA) {
                self.arch.flush_tlb_page(cpu, mm, va).await;
            }
        }
        cpu.copy_page(pa, new).await;
        self.set(cpu, pte, self.ptes.moved(3, old, new)).await;
        cpu.free(pa).await;
        true
    }

    /// `do_wp_page`, under the page-table lock.
    async fn do_wp_page(&self, cpu: Cpu<'_>, fault: Fault, pte: u64, desc: Desc, pa: u64) -> bool {
        let Fault { mm, va, page, .. } = fault;
        // Others may write to the page still, if it was write-protected without a flush so far.
        if !self.built.with(&defects::WP_COPY) && self.mm_tlb_flush_pending(cpu, mm).await {
            self.arch.flush_tlb_page(cpu, mm, va).await;
        }
        let kind = self.kind(cpu, mm, va, pa).await;
        if kind != Kind::Anon || cpu.folio_ref_count(pa).await == 1 {
            // wp_page_reuse. Where an old entry is left, its CPU takes a fault of its own.
            cpu.goal(GOAL_REUSE);
            cpu.set_page_dirty(pa).await;
            self.set(cpu, pte, self.ptes.with_writable(desc, true))
                .await;
            return true;
        }
        // wp_page_copy. The reference keeps the page, and nobody may write to it here.
        cpu.goal(GOAL_COPY);
        cpu.get_page(pa).await;
        self.ptl(mm, va).unlock(cpu).await;
        let new = cpu.alloc_page(mm, page).await;
        if new != 0 {
            cpu.copy_page(pa, new).await;
        }
        let again = self.pte_offset_map_lock(cpu, mm, va).await;
        let same = match again {
            Some(pte) => cpu.pte_read(pte).await == desc,
            None => {
                // The table is gone, but its lock is what the caller has.
                self.ptl(mm, va).lock(cpu).await;
                false
            }
        };
        if let Some(pte) = again
            && same
            && new != 0
        {
            self.ptep_clear_flush(cpu, mm, va, pte).await;
            let copy = self.ptes.moved(3, desc, new);
            self.set(cpu, pte, self.ptes.with_writable(copy, true))
                .await;
            cpu.free(pa).await;
        } else if new != 0 {
            cpu.free(new).await;
        }
        cpu.free(pa).await;
        new != 0
    }
}
