// SPDX-License-Identifier: GPL-2.0-only
//! The page of a hugetlb file, whose table mms share (mm/hugetlb.c).
//!
//! A huge page is one of the smallest size here, and a PMD table one of the last level. What a
//! shared table holds does not change before all but one mm have left it. Each of them has a
//! reference to the table and, unlike in the kernel, to the page.

use super::gather::Gather;
use super::tables::frame;
use super::{GOAL_LAST, GOAL_SHARED, GOAL_UNSHARED, Mm, Mmu, defects};
use shootdown_machine::arm64::Desc;
use shootdown_machine::{Cpu, Done, Op, PAGE, Space, Va, slot_pa};

/// Where the area of the hugetlb file begins, to the end of the addresses. The file has one page.
pub(super) const AREA: Va = 0xc000;

/// Whether an address is in the area.
pub(super) fn is_vm_hugetlb_page(va: Va) -> bool {
    va >= AREA
}

/// Whether a page may be the subject of an operation. Of the area there is only the one page,
/// and that is on no list of reclaim, not migrated, moved or collapsed, without hints, and
/// without userfaultfd (`uffd_disable_huge_pmd_share`).
pub(super) fn has(op: Op) -> bool {
    let to = if let Op::Move(_, _, to) = op { to } else { 0 };
    match op {
        _ if is_vm_hugetlb_page(to) => false,
        Op::Map(_, va) | Op::Unmap(_, va) | Op::Protect(_, va, _) | Op::Zap(_, va) => {
            !is_vm_hugetlb_page(va) || va == AREA
        }
        Op::Touch(..) | Op::Gup(..) => true,
        _ => op.va().is_none_or(|va| !is_vm_hugetlb_page(va)),
    }
}

impl<A: Mmu> Mm<A> {
    /// `copy_hugetlb_page_range`: the child gets the table (`huge_pmd_share`).
    pub(super) async fn copy_hugetlb_page_range(
        &self,
        cpu: Cpu<'_>,
        mm: Space,
        child: Space,
    ) -> Result<(), Done> {
        let new = self.pmd_alloc(cpu, child, AREA).await?;
        // Unnoticed: mmap_lock keeps the table where it is; whoever leaves it meanwhile leaves one
        // that is still shared, and its lockless walkers to those who leave it last.
        self.i_mmap.lock(cpu).await;
        if let Some(pte) = self.pte_offset_map_lock(cpu, mm, AREA).await {
            if let Some(leaf) = self.ptes.mapped(3, cpu.pte_read(pte).await) {
                cpu.goal(GOAL_SHARED);
                let table = pte & !(PAGE - 1);
                cpu.get_page(table).await;
                cpu.get_page(leaf.pa).await;
                self.set(cpu, new, self.ptes.table(table)).await;
            }
            self.ptl(mm, AREA).unlock(cpu).await;
        }
        self.i_mmap.unlock(cpu).await;
        Ok(())
    }

    /// `__unmap_hugepage_range`. Whether there was something.
    pub(super) async fn unmap_hugepage_range(
        &self,
        cpu: Cpu<'_>,
        tlb: &mut Gather,
        va: Va,
    ) -> bool {
        let mm = tlb.mm;
        if va != AREA {
            return false;
        }
        self.i_mmap.lock(cpu).await;
        let mut found = false;
        if let Some(pte) = self.pte_offset_map_lock(cpu, mm, va).await {
            let mut old = cpu.pte_read(pte).await;
            if !self.huge_pmd_unshare(cpu, tlb, va, pte).await && old != Desc::INVALID {
                old = cpu.pte_xchg_relaxed(pte, Desc::INVALID).await;
                tlb.entry(va, 3);
            }
            if let Some(leaf) = self.ptes.mapped(3, old) {
                tlb.page(leaf.pa);
                found = true;
            }
            self.ptl(mm, va).unlock(cpu).await;
            self.huge_pmd_unshare_flush(cpu, tlb).await;
        }
        self.i_mmap.unlock(cpu).await;
        found
    }

    /// `huge_pmd_unshare` and `tlb_unshare_pmd_ptdesc`, under i_mmap_rwsem and the page-table lock;
    /// `false`: nobody else has the table.
    async fn huge_pmd_unshare(&self, cpu: Cpu<'_>, tlb: &mut Gather, va: Va, pte: u64) -> bool {
        let table = pte & !(PAGE - 1);
        if cpu.folio_ref_count(table).await == 1 {
            return false;
        }
        let Some(pmd) = self.pmd_offset(cpu, tlb.mm, va).await else {
            return false;
        };
        cpu.goal(GOAL_UNSHARED);
        cpu.pte_write(pmd, Desc::INVALID).await;
        cpu.free(table).await;
        if !self.built.with(&defects::UNSHARE) {
            tlb.pmd_table(va);
        }
        if cpu.folio_ref_count(table).await == 1 {
            cpu.goal(GOAL_LAST);
            tlb.fully_unshared_tables = true;
        }
        true
    }

    /// `huge_pmd_unshare_flush`, before i_mmap_rwsem is given back: after that, who is left may
    /// change the table.
    async fn huge_pmd_unshare_flush(&self, cpu: Cpu<'_>, tlb: &mut Gather) {
        if tlb.unshared_tables {
            self.tlb_flush_mmu_tlbonly(cpu, tlb).await;
        }
        // Lockless walkers of all that have left it by now.
        if tlb.fully_unshared_tables && !self.built.with(&defects::UNSHARE_GUP) {
            self.tlb_remove_table_sync_one(cpu).await;
        }
        tlb.fully_unshared_tables = false;
    }

    /// `hugetlb_change_protection`. What has to leave a shared table for it is mapped at once by a
    /// table of its own; in the kernel, by the next fault.
    pub(super) async fn hugetlb_change_protection(
        &self,
        cpu: Cpu<'_>,
        tlb: &mut Gather,
        va: Va,
        writable: bool,
    ) -> Done {
        let mm = tlb.mm;
        if va != AREA {
            return Done::No;
        }
        self.i_mmap.lock(cpu).await;
        let mut done = Done::No;
        if let Some(pte) = self.pte_offset_map_lock(cpu, mm, va).await {
            let old = cpu.pte_read(pte).await;
            if self.ptes.mapped(3, old).is_some() && old.granted() != writable {
                let new = self
                    .ptes
                    .with_writable(old, writable)
                    .with_granted(writable);
                done = self.change_hugetlb_pte(cpu, tlb, pte, new).await;
            }
            self.ptl(mm, va).unlock(cpu).await;
        }
        self.i_mmap.unlock(cpu).await;
        done
    }

    async fn change_hugetlb_pte(
        &self,
        cpu: Cpu<'_>,
        tlb: &mut Gather,
        pte: u64,
        new: Desc,
    ) -> Done {
        let own = match frame(cpu.alloc_table(tlb.mm).await) {
            Ok(table) => table,
            Err(done) => return done,
        };
        if !self.huge_pmd_unshare(cpu, tlb, AREA, pte).await {
            cpu.pte_xchg_relaxed(pte, Desc::INVALID).await;
            cpu.pte_write(pte, new).await;
            tlb.entry(AREA, 3);
            cpu.free(own).await;
            return Done::Yes;
        }
        self.huge_pmd_unshare_flush(cpu, tlb).await;
        cpu.pte_write(slot_pa(own, 3, AREA), new).await;
        if let Some(pmd) = self.pmd_offset(cpu, tlb.mm, AREA).await {
            self.set(cpu, pmd, self.ptes.table(own)).await;
        }
        Done::Yes
    }
}
