// SPDX-License-Identifier: GPL-2.0-only
//! Tables and the locks that they are changed under.

use super::{Mm, Mmu};
use shootdown_machine::arm64::Desc;
use shootdown_machine::{
    BLOCK_PAGES, Boot, Cpu, Done, Lock, PAGE, SLOTS, Space, Va, initial_page, slot_pa,
};

/// The table slot that an address is in.
pub(super) fn slot(va: Va) -> usize {
    (va / PAGE) as usize / BLOCK_PAGES
}

/// What a new frame is, or why there is none.
pub(super) fn frame(pa: u64) -> Result<u64, Done> {
    if pa == 0 {
        Err(Done::Exhausted)
    } else {
        Ok(pa)
    }
}

impl<A: Mmu> Mm<A> {
    /// The first pages of a space. Gives the one at address 0.
    pub(super) fn boot_space(&self, boot: &Boot<'_>, space: Space, root: u64) -> u64 {
        let mut table = root;
        for level in boot.config().first_level()..2 {
            let next = boot.table(space);
            boot.set(slot_pa(table, level, 0), self.ptes.table(next));
            table = next;
        }
        let ptes = boot.table(space);
        boot.set(slot_pa(table, 2, 0), self.ptes.table(ptes));
        let pages = [0, 1].map(|i| boot.page(space, initial_page(space, i)));
        for (i, pa) in (0..).zip(pages) {
            boot.set(slot_pa(ptes, 3, i * PAGE), self.ptes.leaf(3, pa));
        }
        let block = boot.block(space, initial_page(space, BLOCK_PAGES));
        let va = BLOCK_PAGES as u64 * PAGE;
        boot.set(slot_pa(table, 2, va), self.ptes.leaf(2, block));
        pages[0]
    }

    /// `mmap_read_lock`. A reader takes the lock of its CPU, a writer takes those of all.
    pub(super) async fn mmap_read_lock(&self, cpu: Cpu<'_>, mm: Space) {
        self.mmap_lock[mm.0 as usize * 4 + cpu.id() as usize]
            .lock(cpu)
            .await;
    }

    pub(super) async fn mmap_read_unlock(&self, cpu: Cpu<'_>, mm: Space) {
        self.mmap_lock[mm.0 as usize * 4 + cpu.id() as usize]
            .unlock(cpu)
            .await;
    }

    pub(super) async fn mmap_write_lock(&self, cpu: Cpu<'_>, mm: Space) {
        for i in 0..cpu.config().cpus as usize {
            self.mmap_lock[mm.0 as usize * 4 + i].lock(cpu).await;
        }
    }

    pub(super) async fn mmap_write_unlock(&self, cpu: Cpu<'_>, mm: Space) {
        for i in 0..cpu.config().cpus as usize {
            self.mmap_lock[mm.0 as usize * 4 + i].unlock(cpu).await;
        }
    }

    /// The split page-table lock of the table that maps an address.
    pub(super) fn ptl(&self, mm: Space, va: Va) -> Lock {
        self.ptl[mm.0 as usize * SLOTS + slot(va)]
    }

    /// The root table of a space.
    pub(super) async fn pgd(&self, cpu: Cpu<'_>, mm: Space) -> u64 {
        self.pgd[mm.0 as usize].read(cpu).await
    }

    /// Where the level-2 entry for an address lies; `None`: its table is not there.
    pub(super) async fn pmd_offset(&self, cpu: Cpu<'_>, mm: Space, va: Va) -> Option<u64> {
        let mut table = self.pgd(cpu, mm).await;
        for level in cpu.config().first_level()..2 {
            let desc = cpu.pte_read(slot_pa(table, level, va)).await;
            table = self.ptes.table_at(level, desc)?;
        }
        Some(slot_pa(table, 2, va))
    }

    /// Makes an entry valid: a release, so that what it points to is seen first.
    pub(super) async fn set(&self, cpu: Cpu<'_>, at: u64, desc: Desc) {
        cpu.pte_write_release(at, desc).await;
        self.arch.update_mmu_cache(cpu).await;
    }

    /// `pmd_alloc`: the same as `pmd_offset`; upper tables are made when missing.
    pub(super) async fn pmd_alloc(&self, cpu: Cpu<'_>, mm: Space, va: Va) -> Result<u64, Done> {
        if let Some(pmd) = self.pmd_offset(cpu, mm, va).await {
            return Ok(pmd);
        }
        let lock = self.pmd_lock[mm.0 as usize];
        // Unnoticed: all others who take it have mmap_lock too, which is held for writing here.
        // The kernel's reclaim and migration of blocks, which do not, are left out.
        lock.lock(cpu).await;
        let made = self.pmd_alloc_locked(cpu, mm, va).await;
        lock.unlock(cpu).await;
        made
    }

    async fn pmd_alloc_locked(&self, cpu: Cpu<'_>, mm: Space, va: Va) -> Result<u64, Done> {
        let mut table = self.pgd(cpu, mm).await;
        for level in cpu.config().first_level()..2 {
            let at = slot_pa(table, level, va);
            let desc = cpu.pte_read(at).await;
            table = match self.ptes.table_at(level, desc) {
                Some(next) => next,
                None => {
                    let next = frame(cpu.alloc_table(mm).await)?;
                    self.set(cpu, at, self.ptes.table(next)).await;
                    next
                }
            };
        }
        Ok(slot_pa(table, 2, va))
    }

    /// `pte_alloc`: the table of the last level is made when missing. `No`: a block is there.
    pub(super) async fn pte_alloc(&self, cpu: Cpu<'_>, mm: Space, va: Va) -> Result<(), Done> {
        let pmd = self.pmd_alloc(cpu, mm, va).await?;
        let desc = cpu.pte_read(pmd).await;
        if self.ptes.table_at(2, desc).is_some() {
            return Ok(());
        }
        // Somebody may be about to split a block, or has been here before.
        let lock = self.pmd_lock[mm.0 as usize];
        // Unnoticed: as in `pmd_alloc`.
        lock.lock(cpu).await;
        let desc = cpu.pte_read(pmd).await;
        let made = if self.ptes.mapped(2, desc).is_some() {
            Err(Done::No)
        } else if desc.valid() {
            Ok(())
        } else {
            match frame(cpu.alloc_table(mm).await) {
                Ok(table) => {
                    self.set(cpu, pmd, self.ptes.table(table)).await;
                    Ok(())
                }
                Err(done) => Err(done),
            }
        };
        lock.unlock(cpu).await;
        made
    }

    /// Whether a table of the last level maps nothing; under its lock.
    pub(super) async fn is_empty_table(&self, cpu: Cpu<'_>, table: u64) -> bool {
        let mut empty = true;
        for i in 0..SLOTS as u64 {
            empty &= cpu.pte_read(table + i * 8).await == Desc::INVALID;
        }
        empty
    }

    /// `pte_offset_map_lock`: takes the page-table lock and gives where the entry lies; `None`:
    /// there is no table, and no lock was taken.
    pub(super) async fn pte_offset_map_lock(&self, cpu: Cpu<'_>, mm: Space, va: Va) -> Option<u64> {
        let pmd = self.pmd_offset(cpu, mm, va).await?;
        loop {
            let desc = cpu.pte_read(pmd).await;
            let table = self.ptes.table_at(2, desc)?;
            self.ptl(mm, va).lock(cpu).await;
            // The table may have been taken out meanwhile.
            if cpu.pte_read(pmd).await == desc {
                return Some(slot_pa(table, 3, va));
            }
            self.ptl(mm, va).unlock(cpu).await;
        }
    }
}
