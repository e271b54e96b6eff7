// SPDX-License-Identifier: GPL-2.0-only
//! A page-table updater: what mm code and stage-2 code have in common, over a [`Flush`].
//!
//! Every change of a space holds the space's lock for its whole length, flush included, as
//! `mmap_lock` and `mmu_lock` held for writing do. Walkers take no lock.

use crate::Defect;
use shootdown_machine::arm64::{Desc, Stage};
use shootdown_machine::{
    Access, Arch, BLOCK_PAGES, Bbm, Boot, Cpu, Decoded, Done, Dsb, Leaf, Lock, Outcome, PAGE, Page,
    Prot, SLOTS, Shared, Space, Step, Va, initial_page, level_size, slot_pa,
};

/// How descriptors of one stage look on an architecture.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    arch: Arch,
    stage: Stage,
    /// Bits that every leaf has besides.
    more: u64,
}

impl Format {
    /// Of the machine's architecture.
    pub fn new(boot: &Boot<'_>, stage: Stage) -> Format {
        let arch = boot.config().arch;
        Format {
            arch,
            stage,
            more: 0,
        }
    }

    /// With leaves that every PCID shares, on x86.
    pub fn global(mut self) -> Format {
        self.more |= shootdown_machine::x86::GLOBAL;
        self
    }

    /// `ptep_get_and_clear` and its like: fully ordered but on arm64.
    #[track_caller]
    fn xchg<'m>(self, cpu: Cpu<'m>, at: u64, desc: Desc) -> Step<'m, Desc> {
        if self.arch == Arch::Arm64 {
            cpu.pte_xchg_relaxed(at, desc)
        } else {
            cpu.pte_xchg(at, desc)
        }
    }

    /// A descriptor that points to a table.
    pub fn table(self, pa: u64) -> Desc {
        self.arch.table(pa)
    }

    /// A descriptor that maps memory, for users, accessed and not global.
    pub fn leaf(self, level: u8, pa: u64, writable: bool) -> Desc {
        let Desc(bits) = self.arch.leaf(self.stage, level, pa, writable);
        Desc(bits | self.more)
    }

    /// What a walker makes of a descriptor of this level.
    pub fn decode(self, level: u8, desc: Desc) -> Decoded {
        self.arch.decode(self.stage, level, desc)
    }

    /// The table that a descriptor of this level points to.
    pub fn next(self, level: u8, desc: Desc) -> Option<u64> {
        match self.decode(level, desc) {
            Decoded::Table(pa) => Some(pa),
            _ => None,
        }
    }

    /// What a descriptor of this level maps.
    pub fn mapped(self, level: u8, desc: Desc) -> Option<Leaf> {
        self.decode(level, desc).leaf()
    }

    /// What a descriptor leads to; 0: nothing.
    pub fn pa(self, level: u8, desc: Desc) -> u64 {
        self.decode(level, desc).pa().unwrap_or(0)
    }

    /// Whether a leaf of this level permits a store.
    pub fn writable(self, level: u8, desc: Desc) -> bool {
        self.mapped(level, desc).is_some_and(|leaf| leaf.writable)
    }

    /// The same leaf with another write permission.
    pub fn with_writable(self, desc: Desc, writable: bool) -> Desc {
        self.arch.with_writable(self.stage, desc, writable)
    }
}

/// Tables are freed as soon as they are flushed.
pub const NO_GRACE_PERIOD: Defect = Defect {
    name: "no-grace-period",
    about: "a table is freed after its TLBI, without waiting for CPUs inside the switch code",
    source: "derived; what MMU_GATHER_RCU_TABLE_FREE is for besides lockless walkers",
    breaks: &[&["no-walk-of-freed-table"]],
    needs: &[],
};

/// B-49 (s390): walkers go on between the flush and the end.
pub const FLUSH_FIRST: Defect = Defect {
    name: "B-49-s390",
    about: "a space that ends is flushed first and its tables freed then, with CPUs that still have it loaded",
    source: "02a8f3abb708 \"s390/mm,tlb: safeguard against speculative TLB creation\"",
    breaks: &[&["no-walk-of-freed-table"]],
    needs: &[],
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
    /// It has been, and its root table is.
    async fn destroy(&self, _cpu: Cpu<'_>, _space: Space) {}
    /// A page was unmapped by reclaim, whose batch is flushed later: what to flush then. Here,
    /// nothing is put off.
    async fn batch_add(&self, cpu: Cpu<'_>, space: Space, va: Va) -> u64 {
        self.leaf(cpu, space, va, 3).await;
        0
    }
    /// The end of a batch: gone everywhere when this returns. The space's lock is not held.
    async fn batch_flush(&self, _cpu: Cpu<'_>, _batch: u64) {}
    /// Descriptors are about to be taken away, whose flush comes after the lock is given back.
    async fn gather(&self, _cpu: Cpu<'_>, _space: Space) {}
    /// It has come.
    async fn finish(&self, _cpu: Cpu<'_>, _space: Space) {}
    /// This CPU took a fault that the tables do not explain.
    async fn spurious(&self, cpu: Cpu<'_>, space: Space, va: Va);
    /// This CPU took a TLB conflict abort.
    async fn conflict(&self, cpu: Cpu<'_>, space: Space);
    /// A change of the space begins. Others may have left it before their flush was complete.
    async fn pending(&self, _cpu: Cpu<'_>, _space: Space) {}
    /// Whether some CPU goes on with the root table of a space that has ended, and frees it.
    async fn keep_root(&self, _cpu: Cpu<'_>, _space: Space, _root: u64) -> bool {
        false
    }
}

/// The tables of all spaces.
#[derive(Debug)]
pub struct PageTables<F> {
    /// Its flushes.
    pub flush: F,
    format: Format,
    pgd: [Shared<u64>; 8],
    lock: [Lock; 8],
    /// Sizes change without a break.
    skip_break: bool,
    /// B-20: a block that became a table is not invalidated.
    keep_block: bool,
    /// A table without pages is freed.
    free_pgtables: bool,
    /// B-49 (s390): a space is flushed before its tables are unlinked.
    flush_first: bool,
    /// Tables are freed without a grace period.
    free_at_once: bool,
    /// B-35: tables are freed before they are flushed.
    free_first: bool,
    /// Descriptors are replaced by plain stores: what orders them is the flush's business.
    plain: bool,
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
        PageTables::boot_as(boot, Format::new(boot, stage), lock, flush)
    }

    /// The same with descriptors of another format.
    pub fn boot_as(
        boot: &Boot<'_>,
        format: Format,
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
            format,
            pgd,
            lock: boot.locks(lock),
            skip_break: false,
            keep_block: false,
            free_first: false,
            plain: false,
            free_pgtables: false,
            flush_first: boot.has(FLUSH_FIRST.name),
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
            boot.set(slot_pa(table, level, 0), self.format.table(next));
            table = next;
        }
        let ptes = boot.table(space);
        boot.set(slot_pa(table, 2, 0), self.format.table(ptes));
        for i in 0..2 {
            let pa = boot.page(space, initial_page(space, i));
            let pte = slot_pa(ptes, 3, i as u64 * PAGE);
            boot.set(pte, self.format.leaf(3, pa, true));
        }
        let block = boot.block(space, initial_page(space, BLOCK_PAGES));
        let va = BLOCK_PAGES as u64 * PAGE;
        boot.set(slot_pa(table, 2, va), self.format.leaf(2, block, true));
    }

    /// Changes sizes in place where the machine permits it: with FEAT_BBM level 2, or off
    /// arm64. `keep_block` leaves out the invalidation after a split.
    pub fn skip_break(mut self, boot: &Boot<'_>, keep_block: bool) -> Self {
        self.skip_break = boot.config().answers() >= Bbm::Level2;
        self.keep_block = keep_block;
        self
    }

    /// Replaces descriptors by plain stores (`native_set_pte`, `pmd_clear`).
    pub fn plain_stores(mut self) -> Self {
        self.plain = true;
        self
    }

    /// B-35: frees tables before they are flushed.
    pub fn free_tables_first(mut self, first: bool) -> Self {
        self.free_first = first;
        self
    }

    /// Replaces a valid descriptor, which nobody else changes; what it was.
    async fn replace(&self, cpu: Cpu<'_>, at: u64, old: Desc, new: Desc) -> Desc {
        if self.plain {
            cpu.pte_write(at, new).await;
            return old;
        }
        self.format.xchg(cpu, at, new).await
    }

    /// Unmapping the last page of a table frees the table, as munmap does.
    pub fn free_pgtables(mut self) -> Self {
        self.free_pgtables = true;
        self
    }

    /// The root table of a space.
    pub async fn pgd(&self, cpu: Cpu<'_>, space: Space) -> u64 {
        self.pgd[space.0 as usize].read(cpu).await
    }

    /// The lock that changes of a space hold.
    pub fn lock(&self, space: Space) -> &Lock {
        &self.lock[space.0 as usize]
    }

    /// The address of the level-2 descriptor for `va`, if its table is there.
    pub async fn pmd(&self, cpu: Cpu<'_>, space: Space, va: Va) -> Option<u64> {
        let mut table = self.pgd(cpu, space).await;
        for level in self.first_level..2 {
            let desc = cpu.pte_read(slot_pa(table, level, va)).await;
            if !desc.is_table(level) {
                return None;
            }
            table = desc.addr();
        }
        Some(slot_pa(table, 2, va))
    }

    /// The same; upper tables are made when missing.
    async fn pmd_alloc(&self, cpu: Cpu<'_>, space: Space, va: Va) -> Result<u64, Done> {
        let mut table = self.pgd(cpu, space).await;
        for level in self.first_level..2 {
            let at = slot_pa(table, level, va);
            let desc = cpu.pte_read(at).await;
            if let Some(next) = self.format.next(level, desc) {
                table = next;
                continue;
            }
            table = frame(cpu.alloc_table(space).await)?;
            self.set_desc(cpu, at, self.format.table(table)).await;
        }
        Ok(slot_pa(table, 2, va))
    }

    /// The address, level and value of the leaf descriptor for `va`.
    pub async fn lookup(&self, cpu: Cpu<'_>, space: Space, va: Va) -> Option<(u64, u8, Desc)> {
        let mut table = self.pgd(cpu, space).await;
        for level in self.first_level..=3 {
            let at = slot_pa(table, level, va);
            let desc = cpu.pte_read(at).await;
            match self.format.decode(level, desc) {
                Decoded::Table(next) => table = next,
                Decoded::Leaf(_) => return Some((at, level, desc)),
                Decoded::Invalid => return None,
            }
        }
        None
    }

    /// Makes a descriptor valid: a release, so that what it points to is seen first; on arm64,
    /// the DSB makes it visible to walkers.
    pub(crate) async fn set_desc(&self, cpu: Cpu<'_>, at: u64, desc: Desc) {
        cpu.pte_write_release(at, desc).await;
        if self.format.arch == Arch::Arm64 {
            // Unnoticed: a walker that the store is late for makes one more fault, whose handler
            // waits for the lock, and with it for the store.
            cpu.dsb(Dsb::Ishst).await;
        }
    }

    /// Begins a change of a space's tables.
    async fn begin_change(&self, cpu: Cpu<'_>, space: Space) {
        self.lock[space.0 as usize].lock(cpu).await;
        self.flush.pending(cpu, space).await;
    }

    async fn end_change(&self, cpu: Cpu<'_>, space: Space) {
        self.lock[space.0 as usize].unlock(cpu).await;
    }

    /// Maps a page.
    pub async fn map(&self, cpu: Cpu<'_>, space: Space, va: Va, page: Page) -> Done {
        self.begin_change(cpu, space).await;
        let done = self.map_locked(cpu, space, va, page).await;
        self.end_change(cpu, space).await;
        done.unwrap_or_else(|e| e)
    }

    pub(crate) async fn map_locked(
        &self,
        cpu: Cpu<'_>,
        space: Space,
        va: Va,
        page: Page,
    ) -> Result<Done, Done> {
        let pmd = self.pmd_alloc(cpu, space, va).await?;
        let desc = cpu.pte_read(pmd).await;
        let table = match self.format.decode(2, desc) {
            Decoded::Leaf(_) => return Ok(Done::No),
            Decoded::Table(table) => table,
            Decoded::Invalid => {
                let table = frame(cpu.alloc_table(space).await)?;
                self.set_desc(cpu, pmd, self.format.table(table)).await;
                table
            }
        };
        let pte = slot_pa(table, 3, va);
        if cpu.pte_read(pte).await.valid() {
            return Ok(Done::No);
        }
        let pa = frame(cpu.alloc_page(space, page).await)?;
        self.set_desc(cpu, pte, self.format.leaf(3, pa, true)).await;
        Ok(Done::Yes)
    }

    /// Unmaps a page.
    pub async fn unmap(&self, cpu: Cpu<'_>, space: Space, va: Va) -> Done {
        self.begin_change(cpu, space).await;
        let mut done = Done::No;
        if let Some((pte, 3, desc)) = self.lookup(cpu, space, va).await {
            let old = self.replace(cpu, pte, desc, Desc::INVALID).await;
            let table = if self.free_pgtables {
                self.clear_empty(cpu, space, va).await
            } else {
                None
            };
            match table {
                Some(_) => {
                    let first = va / level_size(2) * level_size(2);
                    self.flush.range(cpu, space, first, level_size(2)).await;
                }
                None => self.flush.leaf(cpu, space, va, 3).await,
            }
            cpu.free(self.format.pa(3, old)).await;
            if let Some(table) = table {
                self.free_table(cpu, table).await;
            }
            done = Done::Yes;
        }
        self.end_change(cpu, space).await;
        done
    }

    /// Reclaims a page, in a batch of its own.
    pub async fn reclaim(&self, cpu: Cpu<'_>, space: Space, va: Va) -> Done {
        self.begin_change(cpu, space).await;
        if let Some((pte, 3, desc)) = self.lookup(cpu, space, va).await {
            let old = self.replace(cpu, pte, desc, Desc::INVALID).await;
            let batch = self.flush.batch_add(cpu, space, va).await;
            self.end_change(cpu, space).await;
            self.flush.batch_flush(cpu, batch).await;
            cpu.free(self.format.pa(3, old)).await;
            return Done::Yes;
        }
        self.end_change(cpu, space).await;
        Done::No
    }

    /// Throws a page away: the flush comes after the lock.
    pub async fn zap(&self, cpu: Cpu<'_>, space: Space, va: Va) -> Done {
        self.lock[space.0 as usize].lock(cpu).await;
        let mut done = Done::No;
        let mut old = Desc::INVALID;
        if let Some((pte, 3, desc)) = self.lookup(cpu, space, va).await {
            self.flush.gather(cpu, space).await;
            old = self.replace(cpu, pte, desc, Desc::INVALID).await;
            done = Done::Yes;
        }
        self.end_change(cpu, space).await;
        if done == Done::Yes {
            self.flush.leaf(cpu, space, va, 3).await;
            self.flush.finish(cpu, space).await;
            cpu.free(self.format.pa(3, old)).await;
        }
        done
    }

    /// `free_pte_range`: unlinks the table for `va` if nothing is left in it. `pmd_clear` is a
    /// plain store.
    async fn clear_empty(&self, cpu: Cpu<'_>, space: Space, va: Va) -> Option<u64> {
        let pmd = self.pmd_alloc(cpu, space, va).await.ok()?;
        let table = self.format.next(2, cpu.pte_read(pmd).await)?;
        for i in 0..SLOTS as u64 {
            if cpu.pte_read(table + i * 8).await.valid() {
                return None;
            }
        }
        cpu.pte_write(pmd, Desc::INVALID).await;
        Some(table)
    }

    /// Changes a permission; legal without a break (machine rule 18).
    pub async fn protect(&self, cpu: Cpu<'_>, space: Space, va: Va, prot: Prot) -> Done {
        self.begin_change(cpu, space).await;
        let mut done = Done::No;
        let writable = prot == Prot::Rw;
        if let Some((at, level, desc)) = self.lookup(cpu, space, va).await
            && self.format.writable(level, desc) != writable
        {
            let new = self.format.with_writable(desc, writable);
            self.replace(cpu, at, desc, new).await;
            if writable {
                self.flush.relax(cpu, space, va, level).await;
            } else {
                self.flush.restrict(cpu, space, va, level).await;
            }
            done = Done::Yes;
        }
        self.end_change(cpu, space).await;
        done
    }

    /// Migrates a page: `ptep_clear_flush`, copy, map the copy.
    pub async fn remap(&self, cpu: Cpu<'_>, space: Space, va: Va, page: Page) -> Done {
        self.begin_change(cpu, space).await;
        let mut done = Done::No;
        if let Some((pte, 3, desc)) = self.lookup(cpu, space, va).await {
            let new = cpu.alloc_page(space, page).await;
            done = Done::Exhausted;
            if new != 0 {
                let old = self.replace(cpu, pte, desc, Desc::INVALID).await;
                self.flush.leaf(cpu, space, va, 3).await;
                cpu.copy_page(self.format.pa(3, old), new).await;
                let desc = self.format.leaf(3, new, self.format.writable(3, old));
                self.set_desc(cpu, pte, desc).await;
                cpu.free(self.format.pa(3, old)).await;
                done = Done::Yes;
            }
        }
        self.end_change(cpu, space).await;
        done
    }

    /// Splits a block.
    pub async fn split(&self, cpu: Cpu<'_>, space: Space, va: Va) -> Done {
        self.begin_change(cpu, space).await;
        let done = self.split_locked(cpu, space, va).await;
        self.end_change(cpu, space).await;
        done.unwrap_or_else(|e| e)
    }

    async fn split_locked(&self, cpu: Cpu<'_>, space: Space, va: Va) -> Result<Done, Done> {
        let Some((pmd, 2, block)) = self.lookup(cpu, space, va).await else {
            return Ok(Done::No);
        };
        let table = frame(cpu.alloc_table(space).await)?;
        let (pa, writable) = (self.format.pa(2, block), self.format.writable(2, block));
        for i in 0..SLOTS as u64 {
            let page = self.format.leaf(3, pa + i * PAGE, writable);
            cpu.pte_write(table + i * 8, page).await;
        }
        if self.skip_break {
            self.set_desc(cpu, pmd, self.format.table(table)).await;
            // A later change of one page flushes with that page's level, which need not
            // remove the block: it must be gone before.
            if !self.keep_block {
                let first = va / level_size(2) * level_size(2);
                self.flush.range(cpu, space, first, level_size(2)).await;
            }
        } else {
            self.replace(cpu, pmd, block, Desc::INVALID).await;
            self.flush.leaf(cpu, space, va, 2).await;
            self.set_desc(cpu, pmd, self.format.table(table)).await;
        }
        Ok(Done::Yes)
    }

    /// Collapses a table of pages into a block.
    pub async fn collapse(&self, cpu: Cpu<'_>, space: Space, va: Va, page: Page) -> Done {
        self.begin_change(cpu, space).await;
        let done = self.collapse_locked(cpu, space, va, page).await;
        self.end_change(cpu, space).await;
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
        let Some(table) = self.format.next(2, desc) else {
            return Ok(Done::No);
        };
        let mut pages = [0; SLOTS];
        let mut writable = None;
        for (i, page) in pages.iter_mut().enumerate() {
            let pte = cpu.pte_read(table + i as u64 * 8).await;
            match self.format.mapped(3, pte) {
                Some(leaf) if writable.is_none_or(|w| w == leaf.writable) => {
                    (*page, writable) = (leaf.pa, Some(leaf.writable));
                }
                _ => return Ok(Done::No),
            }
        }
        let writable = writable.unwrap_or(true);
        let first = va / level_size(2) * level_size(2);
        let base = pages[0];
        let in_place = shootdown_machine::Ram::is_block(base)
            && (0..).zip(&pages).all(|(i, pa)| *pa == base + i * PAGE);
        if in_place && self.skip_break {
            self.format
                .xchg(cpu, pmd, self.format.leaf(2, base, writable))
                .await;
            self.flush.range(cpu, space, first, level_size(2)).await;
        } else {
            let block = if in_place {
                base
            } else {
                frame(cpu.alloc_block(space, page).await)?
            };
            self.replace(cpu, pmd, desc, Desc::INVALID).await;
            if self.free_first {
                self.free_table(cpu, table).await;
            }
            self.flush.range(cpu, space, first, level_size(2)).await;
            if !in_place {
                for (i, pa) in (0..).zip(&pages) {
                    cpu.copy_page(*pa, block + i * PAGE).await;
                }
            }
            self.set_desc(cpu, pmd, self.format.leaf(2, block, writable))
                .await;
        }
        if !in_place {
            for pa in pages {
                cpu.free(pa).await;
            }
        }
        if !self.free_first {
            self.free_table(cpu, table).await;
        }
        Ok(Done::Yes)
    }

    /// `tlb_remove_table`. A CPU inside the switch code may still have the tables loaded under
    /// a tag that a rollover has given up, which no TLBI for the space reaches.
    pub async fn free_table(&self, cpu: Cpu<'_>, table: u64) {
        if self.free_at_once {
            cpu.free(table).await;
        } else {
            cpu.tlb_remove_table(table).await;
        }
    }

    /// Frees everything, and gives the letter an empty root.
    pub async fn exit(&self, cpu: Cpu<'_>, space: Space) -> Done {
        // Unnoticed: the harness lets nothing else run on a space that exits.
        self.lock[space.0 as usize].lock(cpu).await;
        let root = self.pgd(cpu, space).await;
        if self.flush_first {
            self.flush.exit(cpu, space).await;
        }
        let mut unlinked = [Desc::INVALID; SLOTS];
        for (i, slot) in unlinked.iter_mut().enumerate() {
            let at = root + i as u64 * 8;
            let desc = cpu.pte_read(at).await;
            if desc.valid() {
                *slot = self.replace(cpu, at, desc, Desc::INVALID).await;
            }
        }
        if !self.flush_first {
            self.flush.exit(cpu, space).await;
        }
        for desc in unlinked {
            self.free_below(cpu, desc, self.first_level).await;
        }
        self.flush.destroy(cpu, space).await;
        let new = cpu.new_root(space).await;
        self.pgd[space.0 as usize].write(cpu, new).await;
        if !self.flush.keep_root(cpu, space, root).await {
            self.free_table(cpu, root).await;
        }
        self.end_change(cpu, space).await;
        if new == 0 { Done::Exhausted } else { Done::Yes }
    }

    /// Frees what an unlinked descriptor of this level leads to.
    async fn free_below(&self, cpu: Cpu<'_>, desc: Desc, level: u8) {
        match self.format.decode(level, desc) {
            Decoded::Invalid => {}
            Decoded::Leaf(leaf) => {
                for i in 0..level_size(level) / PAGE {
                    cpu.free(leaf.pa + i * PAGE).await;
                }
            }
            Decoded::Table(table) => {
                for i in 0..SLOTS as u64 {
                    let child = cpu.pte_read(table + i * 8).await;
                    if self.format.next(level + 1, child).is_some() {
                        Box::pin(self.free_below(cpu, child, level + 1)).await;
                    } else if let Some(leaf) = self.format.mapped(level + 1, child) {
                        for i in 0..level_size(level + 1) / PAGE {
                            cpu.free(leaf.pa + i * PAGE).await;
                        }
                    }
                }
                self.free_table(cpu, table).await;
            }
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
        let permitted = leaf.filter(|(_, level, desc)| {
            access == Access::Read || self.format.writable(*level, *desc)
        });
        if let Some((at, _, desc)) = permitted
            && self.format.arch == Arch::Arm64
            && !desc.accessed()
        {
            // ptep_set_access_flags; hardware may be as fast.
            cpu.pte_cmpxchg(at, desc, desc.with_accessed(true)).await;
        }
        lock.unlock(cpu).await;
        // On RISC-V a walker may remember that there was nothing.
        let told = why == Outcome::Permission || self.format.arch == Arch::Riscv;
        if permitted.is_some() && told {
            self.flush.spurious(cpu, space, va).await;
        }
        permitted.is_some()
    }
}

/// The operations of a [`Variant`](crate::Variant) that one of its fields does alone:
/// `tables`, or the named one.
macro_rules! page_table_ops {
    () => {
        $crate::pgtable::page_table_ops!(tables);
    };
    ($field:ident) => {
        async fn map(&self, cpu: Cpu<'_>, space: Space, va: Va, page: Page) -> Done {
            self.$field.map(cpu, space, va, page).await
        }
        async fn unmap(&self, cpu: Cpu<'_>, space: Space, va: Va) -> Done {
            self.$field.unmap(cpu, space, va).await
        }
        async fn protect(&self, cpu: Cpu<'_>, space: Space, va: Va, prot: Prot) -> Done {
            self.$field.protect(cpu, space, va, prot).await
        }
        async fn remap(&self, cpu: Cpu<'_>, space: Space, va: Va, page: Page) -> Done {
            self.$field.remap(cpu, space, va, page).await
        }
        async fn split(&self, cpu: Cpu<'_>, space: Space, va: Va) -> Done {
            self.$field.split(cpu, space, va).await
        }
        async fn collapse(&self, cpu: Cpu<'_>, space: Space, va: Va, page: Page) -> Done {
            self.$field.collapse(cpu, space, va, page).await
        }
    };
}
pub(crate) use page_table_ops;
