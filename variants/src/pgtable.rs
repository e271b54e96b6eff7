// SPDX-License-Identifier: GPL-2.0-only
//! A page-table updater: what mm code and stage-2 code have in common, over a [`Flush`].
//!
//! Every change of a space holds the space's lock for its whole length, flush included, as
//! `mmap_lock` and `mmu_lock` held for writing do. Walkers take no lock.

use crate::Defect;
use shootdown_machine::arm64::{Desc, Stage};
use shootdown_machine::{
    Access, BLOCK_PAGES, Bbm, Boot, Cpu, Done, Dsb, Lock, Outcome, PAGE, Page, Prot, SLOTS, Shared,
    Space, Va, initial_page, level_size, slot_pa,
};

/// Tables are freed as soon as they are flushed.
pub const NO_GRACE_PERIOD: Defect = Defect {
    name: "no-grace-period",
    about: "a table is freed after its TLBI, without waiting for CPUs inside the switch code",
    source: "derived; what MMU_GATHER_RCU_TABLE_FREE is for besides lockless walkers",
    breaks: &[&["no-walk-of-freed-table"]],
};

/// How a kernel gets translations out of the TLBs.
pub trait Flush {
    /// A leaf of this level was removed: gone everywhere when this returns.
    async fn leaf(&self, cpu: Cpu<'_>, space: Space, va: Va, level: u8);
    /// A leaf lost a permission.
    async fn restrict(&self, cpu: Cpu<'_>, space: Space, va: Va, level: u8);
    /// A leaf gained one.
    async fn relax(&self, cpu: Cpu<'_>, space: Space, va: Va, level: u8);
    /// Leaves of any level, and tables, were replaced.
    async fn range(&self, cpu: Cpu<'_>, space: Space, va: Va, size: u64);
    /// All of the space is about to be freed.
    async fn exit(&self, cpu: Cpu<'_>, space: Space);
    /// This CPU took a fault that the tables do not explain.
    async fn spurious(&self, cpu: Cpu<'_>, space: Space, va: Va);
    /// This CPU took a TLB conflict abort.
    async fn conflict(&self, cpu: Cpu<'_>, space: Space);
}

/// The tables of all spaces.
#[derive(Debug)]
pub struct PageTables<F> {
    /// Its flushes.
    pub flush: F,
    stage: Stage,
    pgd: [Shared<u64>; 8],
    lock: [Lock; 8],
    /// Sizes change without a break (needs FEAT_BBM level 2).
    skip_break: bool,
    /// B-20: a block that became a table is not invalidated.
    keep_block: bool,
    /// Tables are freed without a grace period.
    free_at_once: bool,
    first_level: u8,
}

/// What a new frame is, or why there is none.
fn frame(pa: u64) -> Result<u64, Done> {
    if pa == 0 {
        Err(Done::Exhausted)
    } else {
        Ok(pa)
    }
}

impl<F: Flush> PageTables<F> {
    /// Tables of one stage, with the initial pages of every space in them.
    /// `lock` is the name of the lock that changes hold; `flush` is given the variables with
    /// the root tables.
    pub fn boot(
        boot: &Boot<'_>,
        stage: Stage,
        lock: &'static str,
        flush: impl FnOnce([Shared<u64>; 8]) -> F,
    ) -> PageTables<F> {
        let spaces = boot.config().spaces;
        let roots: [u64; 8] = core::array::from_fn(|i| {
            if (i as u8) < spaces {
                boot.root(Space(i as u8))
            } else {
                0
            }
        });
        let pgd = boot.vars_from("pgd", roots);
        let tables = PageTables {
            flush: flush(pgd),
            stage,
            pgd,
            lock: boot.locks(lock),
            skip_break: false,
            keep_block: false,
            free_at_once: boot.has(NO_GRACE_PERIOD.name),
            first_level: boot.config().first_level(),
        };
        for space in (0..spaces).map(Space) {
            tables.boot_space(boot, space, roots[space.0 as usize]);
        }
        tables
    }

    fn boot_space(&self, boot: &Boot<'_>, space: Space, root: u64) {
        let mut table = root;
        for level in self.first_level..2 {
            let next = boot.table(space);
            boot.set(slot_pa(table, level, 0), Desc::table(next));
            table = next;
        }
        let ptes = boot.table(space);
        boot.set(slot_pa(table, 2, 0), Desc::table(ptes));
        for i in 0..2 {
            let pa = boot.page(space, initial_page(space, i));
            let pte = slot_pa(ptes, 3, i as u64 * PAGE);
            boot.set(pte, Desc::leaf(self.stage, 3, pa, true));
        }
        let block = boot.block(space, initial_page(space, BLOCK_PAGES));
        let va = BLOCK_PAGES as u64 * PAGE;
        boot.set(
            slot_pa(table, 2, va),
            Desc::leaf(self.stage, 2, block, true),
        );
    }

    /// Changes sizes in place where the machine has FEAT_BBM level 2; `keep_block` leaves out
    /// the invalidation after a split.
    pub fn skip_break(mut self, boot: &Boot<'_>, keep_block: bool) -> Self {
        self.skip_break = boot.config().bbm >= Bbm::Level2;
        self.keep_block = keep_block;
        self
    }

    /// The root table of a space.
    pub async fn pgd(&self, cpu: Cpu<'_>, space: Space) -> u64 {
        self.pgd[space.0 as usize].read(cpu).await
    }

    /// The address of the level-2 descriptor for `va`; upper tables are made when missing.
    async fn pmd_alloc(&self, cpu: Cpu<'_>, space: Space, va: Va) -> Result<u64, Done> {
        let mut table = self.pgd(cpu, space).await;
        for level in self.first_level..2 {
            let at = slot_pa(table, level, va);
            let desc = cpu.pte_read(at).await;
            if desc.is_table(level) {
                table = desc.addr();
                continue;
            }
            table = frame(cpu.alloc_table(space).await)?;
            self.set_desc(cpu, at, Desc::table(table)).await;
        }
        Ok(slot_pa(table, 2, va))
    }

    /// The address, level and value of the leaf descriptor for `va`.
    async fn lookup(&self, cpu: Cpu<'_>, space: Space, va: Va) -> Option<(u64, u8, Desc)> {
        let mut table = self.pgd(cpu, space).await;
        for level in self.first_level..=3 {
            let at = slot_pa(table, level, va);
            let desc = cpu.pte_read(at).await;
            if desc.is_leaf(level) {
                return Some((at, level, desc));
            }
            if !desc.is_table(level) {
                return None;
            }
            table = desc.addr();
        }
        None
    }

    /// Makes a descriptor valid: a release, so that what it points to is seen first; the DSB
    /// makes it visible to walkers.
    async fn set_desc(&self, cpu: Cpu<'_>, at: u64, desc: Desc) {
        cpu.pte_write_release(at, desc).await;
        // Unnoticed: a walker that the store is late for makes one more fault, whose handler
        // waits for the lock, and with it for the store.
        cpu.dsb(Dsb::Ishst).await;
    }

    /// Maps a page.
    pub async fn map(&self, cpu: Cpu<'_>, space: Space, va: Va, page: Page) -> Done {
        let lock = &self.lock[space.0 as usize];
        lock.lock(cpu).await;
        let done = self.map_locked(cpu, space, va, page).await;
        lock.unlock(cpu).await;
        done.unwrap_or_else(|e| e)
    }

    async fn map_locked(
        &self,
        cpu: Cpu<'_>,
        space: Space,
        va: Va,
        page: Page,
    ) -> Result<Done, Done> {
        let pmd = self.pmd_alloc(cpu, space, va).await?;
        let mut desc = cpu.pte_read(pmd).await;
        if desc.is_leaf(2) {
            return Ok(Done::No);
        }
        if !desc.is_table(2) {
            desc = Desc::table(frame(cpu.alloc_table(space).await)?);
            self.set_desc(cpu, pmd, desc).await;
        }
        let pte = slot_pa(desc.addr(), 3, va);
        if cpu.pte_read(pte).await.valid() {
            return Ok(Done::No);
        }
        let pa = frame(cpu.alloc_page(space, page).await)?;
        self.set_desc(cpu, pte, Desc::leaf(self.stage, 3, pa, true))
            .await;
        Ok(Done::Yes)
    }

    /// Unmaps a page.
    pub async fn unmap(&self, cpu: Cpu<'_>, space: Space, va: Va) -> Done {
        let lock = &self.lock[space.0 as usize];
        lock.lock(cpu).await;
        let mut done = Done::No;
        if let Some((pte, 3, _)) = self.lookup(cpu, space, va).await {
            let old = cpu.pte_xchg_relaxed(pte, Desc::INVALID).await;
            self.flush.leaf(cpu, space, va, 3).await;
            cpu.free(old.addr()).await;
            done = Done::Yes;
        }
        lock.unlock(cpu).await;
        done
    }

    /// Changes a permission; legal without a break (machine rule 18).
    pub async fn protect(&self, cpu: Cpu<'_>, space: Space, va: Va, prot: Prot) -> Done {
        let lock = &self.lock[space.0 as usize];
        lock.lock(cpu).await;
        let mut done = Done::No;
        let writable = prot == Prot::Rw;
        if let Some((at, level, desc)) = self.lookup(cpu, space, va).await
            && desc.writable(self.stage) != writable
        {
            cpu.pte_xchg_relaxed(at, desc.with_writable(self.stage, writable))
                .await;
            if writable {
                self.flush.relax(cpu, space, va, level).await;
            } else {
                self.flush.restrict(cpu, space, va, level).await;
            }
            done = Done::Yes;
        }
        lock.unlock(cpu).await;
        done
    }

    /// Migrates a page: `ptep_clear_flush`, copy, map the copy.
    pub async fn remap(&self, cpu: Cpu<'_>, space: Space, va: Va, page: Page) -> Done {
        let lock = &self.lock[space.0 as usize];
        lock.lock(cpu).await;
        let mut done = Done::No;
        if let Some((pte, 3, _)) = self.lookup(cpu, space, va).await {
            let new = cpu.alloc_page(space, page).await;
            done = Done::Exhausted;
            if new != 0 {
                let old = cpu.pte_xchg_relaxed(pte, Desc::INVALID).await;
                self.flush.leaf(cpu, space, va, 3).await;
                cpu.copy_page(old.addr(), new).await;
                let desc = Desc::leaf(self.stage, 3, new, old.writable(self.stage));
                self.set_desc(cpu, pte, desc).await;
                cpu.free(old.addr()).await;
                done = Done::Yes;
            }
        }
        lock.unlock(cpu).await;
        done
    }

    /// Splits a block.
    pub async fn split(&self, cpu: Cpu<'_>, space: Space, va: Va) -> Done {
        let lock = &self.lock[space.0 as usize];
        lock.lock(cpu).await;
        let done = self.split_locked(cpu, space, va).await;
        lock.unlock(cpu).await;
        done.unwrap_or_else(|e| e)
    }

    async fn split_locked(&self, cpu: Cpu<'_>, space: Space, va: Va) -> Result<Done, Done> {
        let Some((pmd, 2, block)) = self.lookup(cpu, space, va).await else {
            return Ok(Done::No);
        };
        let table = frame(cpu.alloc_table(space).await)?;
        let writable = block.writable(self.stage);
        for i in 0..SLOTS as u64 {
            let page = Desc::leaf(self.stage, 3, block.addr() + i * PAGE, writable);
            cpu.pte_write(table + i * 8, page).await;
        }
        if self.skip_break {
            self.set_desc(cpu, pmd, Desc::table(table)).await;
            // A later change of one page flushes with that page's level, which need not
            // remove the block: it must be gone before.
            if !self.keep_block {
                let first = va / level_size(2) * level_size(2);
                self.flush.range(cpu, space, first, level_size(2)).await;
            }
        } else {
            cpu.pte_xchg_relaxed(pmd, Desc::INVALID).await;
            self.flush.leaf(cpu, space, va, 2).await;
            self.set_desc(cpu, pmd, Desc::table(table)).await;
        }
        Ok(Done::Yes)
    }

    /// Collapses a table of pages into a block.
    pub async fn collapse(&self, cpu: Cpu<'_>, space: Space, va: Va, page: Page) -> Done {
        let lock = &self.lock[space.0 as usize];
        lock.lock(cpu).await;
        let done = self.collapse_locked(cpu, space, va, page).await;
        lock.unlock(cpu).await;
        done.unwrap_or_else(|e| e)
    }

    async fn collapse_locked(
        &self,
        cpu: Cpu<'_>,
        space: Space,
        va: Va,
        page: Page,
    ) -> Result<Done, Done> {
        let pmd = self.pmd_alloc(cpu, space, va).await?;
        let desc = cpu.pte_read(pmd).await;
        if !desc.is_table(2) {
            return Ok(Done::No);
        }
        let table = desc.addr();
        let mut ptes = [Desc::INVALID; SLOTS];
        for (i, pte) in ptes.iter_mut().enumerate() {
            *pte = cpu.pte_read(table + i as u64 * 8).await;
            if !pte.is_leaf(3) {
                return Ok(Done::No);
            }
        }
        let writable = ptes[0].writable(self.stage);
        if ptes.iter().any(|p| p.writable(self.stage) != writable) {
            return Ok(Done::No);
        }
        let first = va / level_size(2) * level_size(2);
        let base = ptes[0].addr();
        let in_place = shootdown_machine::Ram::is_block(base)
            && (0..).zip(&ptes).all(|(i, p)| p.addr() == base + i * PAGE);
        if in_place && self.skip_break {
            cpu.pte_xchg_relaxed(pmd, Desc::leaf(self.stage, 2, base, writable))
                .await;
            self.flush.range(cpu, space, first, level_size(2)).await;
        } else {
            let block = if in_place {
                base
            } else {
                frame(cpu.alloc_block(space, page).await)?
            };
            cpu.pte_xchg_relaxed(pmd, Desc::INVALID).await;
            self.flush.range(cpu, space, first, level_size(2)).await;
            if !in_place {
                for (i, pte) in (0..).zip(&ptes) {
                    cpu.copy_page(pte.addr(), block + i * PAGE).await;
                }
            }
            self.set_desc(cpu, pmd, Desc::leaf(self.stage, 2, block, writable))
                .await;
        }
        if !in_place {
            for pte in &ptes {
                cpu.free(pte.addr()).await;
            }
        }
        self.free_table(cpu, table).await;
        Ok(Done::Yes)
    }

    /// `tlb_remove_table`. A CPU inside the switch code may still have the tables loaded under
    /// a tag that a rollover has given up, which no TLBI for the space reaches.
    async fn free_table(&self, cpu: Cpu<'_>, table: u64) {
        if self.free_at_once {
            cpu.free(table).await;
        } else {
            cpu.tlb_remove_table(table).await;
        }
    }

    /// Frees everything, and gives the letter an empty root.
    pub async fn exit(&self, cpu: Cpu<'_>, space: Space) -> Done {
        let lock = &self.lock[space.0 as usize];
        // Unnoticed: the harness lets nothing else run on a space that exits.
        lock.lock(cpu).await;
        let root = self.pgd(cpu, space).await;
        let mut unlinked = [Desc::INVALID; SLOTS];
        for (i, slot) in unlinked.iter_mut().enumerate() {
            let at = root + i as u64 * 8;
            if cpu.pte_read(at).await.valid() {
                *slot = cpu.pte_xchg_relaxed(at, Desc::INVALID).await;
            }
        }
        self.flush.exit(cpu, space).await;
        for desc in unlinked {
            self.free_below(cpu, desc, self.first_level).await;
        }
        let new = cpu.new_root(space).await;
        self.pgd[space.0 as usize].write(cpu, new).await;
        self.free_table(cpu, root).await;
        lock.unlock(cpu).await;
        if new == 0 { Done::Exhausted } else { Done::Yes }
    }

    /// Frees what an unlinked descriptor of this level leads to.
    async fn free_below(&self, cpu: Cpu<'_>, desc: Desc, level: u8) {
        if desc.is_leaf(level) {
            for i in 0..level_size(level) / PAGE {
                cpu.free(desc.addr() + i * PAGE).await;
            }
        } else if desc.is_table(level) {
            for i in 0..SLOTS as u64 {
                let child = cpu.pte_read(desc.addr() + i * 8).await;
                if child.is_table(level + 1) {
                    Box::pin(self.free_below(cpu, child, level + 1)).await;
                } else if child.is_leaf(level + 1) {
                    for i in 0..level_size(level + 1) / PAGE {
                        cpu.free(child.addr() + i * PAGE).await;
                    }
                }
            }
            self.free_table(cpu, desc.addr()).await;
        }
    }

    /// Handles a fault: waits for whoever is changing the tables, and asks them.
    pub async fn fault(
        &self,
        cpu: Cpu<'_>,
        space: Space,
        va: Va,
        access: Access,
        why: Outcome,
    ) -> bool {
        if why == Outcome::Conflict {
            self.flush.conflict(cpu, space).await;
            return true;
        }
        let lock = &self.lock[space.0 as usize];
        lock.lock(cpu).await;
        let leaf = self.lookup(cpu, space, va).await;
        lock.unlock(cpu).await;
        let permitted =
            leaf.is_some_and(|(_, _, desc)| access == Access::Read || desc.writable(self.stage));
        if permitted && why == Outcome::Permission {
            self.flush.spurious(cpu, space, va).await;
        }
        permitted
    }
}

/// The operations of a [`Variant`](crate::Variant) that its field `tables` does alone.
macro_rules! page_table_ops {
    () => {
        async fn map(&self, cpu: Cpu<'_>, space: Space, va: Va, page: Page) -> Done {
            self.tables.map(cpu, space, va, page).await
        }
        async fn unmap(&self, cpu: Cpu<'_>, space: Space, va: Va) -> Done {
            self.tables.unmap(cpu, space, va).await
        }
        async fn protect(&self, cpu: Cpu<'_>, space: Space, va: Va, prot: Prot) -> Done {
            self.tables.protect(cpu, space, va, prot).await
        }
        async fn remap(&self, cpu: Cpu<'_>, space: Space, va: Va, page: Page) -> Done {
            self.tables.remap(cpu, space, va, page).await
        }
        async fn split(&self, cpu: Cpu<'_>, space: Space, va: Va) -> Done {
            self.tables.split(cpu, space, va).await
        }
        async fn collapse(&self, cpu: Cpu<'_>, space: Space, va: Va, page: Page) -> Done {
            self.tables.collapse(cpu, space, va, page).await
        }
    };
}
pub(crate) use page_table_ops;
