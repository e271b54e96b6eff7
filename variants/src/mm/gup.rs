// SPDX-License-Identifier: GPL-2.0-only
//! `gup_fast` (mm/gup.c): a walk in software, without a lock.

use super::hugetlb::is_vm_hugetlb_page;
use super::{GOAL_CHANGED, Mm, Mmu};
use shootdown_machine::arm64::{Desc, Stage};
use shootdown_machine::{Cpu, Done, Event, PAGE, Space, Va, level_size, slot_pa};

impl<A: Mmu> Mm<A> {
    /// Interrupts are masked throughout the walk: what tables and IPIs wait for. Whoever asked on
    /// this CPU works with the page until it asks for the next one, as direct I/O does: a
    /// reference is held for any time.
    pub async fn gup(&self, cpu: Cpu<'_>, mm: Space, va: Va) -> Done {
        self.put_page(cpu).await;
        if va == 0 {
            return Done::No; // pte_special; and the file's page is not pinned while it is written
        }
        if !self.arch.current_mm(cpu, mm).await {
            return Done::No;
        }
        cpu.local_irq_save().await;
        let page = self.gup_pgd_range(cpu, mm, va).await;
        cpu.local_irq_enable().await;
        let Some(pa) = page else {
            return Done::No;
        };
        // Unnoticed: a page that is never given back is memory lost, and no rule's business.
        self.pinned[usize::from(cpu.id())].write(cpu, pa).await;
        Done::Yes
    }

    /// Gives back what this CPU's user asked for last.
    async fn put_page(&self, cpu: Cpu<'_>) {
        let pinned = self.pinned[usize::from(cpu.id())];
        let pa = pinned.read(cpu).await;
        if pa != 0 {
            pinned.write(cpu, 0).await;
            cpu.free(pa).await;
        }
    }

    async fn gup_pgd_range(&self, cpu: Cpu<'_>, mm: Space, va: Va) -> Option<u64> {
        let mut table = self.pgd(cpu, mm).await;
        let mut above = (0, Desc::INVALID);
        for level in cpu.config().first_level()..=3 {
            let at = slot_pa(table, level, va);
            let desc = self.walk_read(cpu, mm, va, level, at).await;
            if let Some(leaf) = self.ptes.mapped(level, desc) {
                let pa = (leaf.pa + va % level_size(level)) & !(PAGE - 1);
                return self.try_grab(cpu, va, (at, desc), above, pa).await;
            }
            above = (at, desc);
            table = self.ptes.table_at(level, desc)?;
        }
        None
    }

    /// `try_grab_folio_fast`; the page may have gone since, or the table.
    async fn try_grab(
        &self,
        cpu: Cpu<'_>,
        va: Va,
        entry: (u64, Desc),
        above: (u64, Desc),
        pa: u64,
    ) -> Option<u64> {
        if !cpu.get_page(pa).await {
            return None;
        }
        let mut same = cpu.pte_read(entry.0).await == entry.1;
        // gup_fast_pmd_leaf looks at its own entry only.
        if above.0 != 0 && !is_vm_hugetlb_page(va) {
            same &= cpu.pte_read(above.0).await == above.1;
        }
        if !same {
            cpu.goal(GOAL_CHANGED);
            cpu.free(pa).await;
            return None;
        }
        Some(pa)
    }

    /// Reads an entry, and tells the judge, who knows whose table it is.
    async fn walk_read(&self, cpu: Cpu<'_>, mm: Space, va: Va, level: u8, at: u64) -> Desc {
        let desc = cpu.pte_read(at).await;
        let owner = cpu.with(|state| state.life(mm));
        cpu.emit(Event::WalkRead {
            cpu: cpu.id(),
            va,
            stage: Stage::One,
            level,
            desc_pa: at,
            desc,
            owner: Some(owner),
            demand: true,
        });
        desc
    }
}
