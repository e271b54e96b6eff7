// SPDX-License-Identifier: GPL-2.0-only
//! KVM's stage-2 tables (A4): the walker, and how it changes an entry.
//! `arch/arm64/kvm/hyp/pgtable.c`, Linux 7.3.
//!
//! A guest's faults change the tables with mmu_lock held for reading, many at a time: an entry
//! is taken over by CMPXCHG to LOCKED, invalid to hardware, before what it was is invalidated.
//! Whoever finds it LOCKED gives up and faults again. Everything else holds mmu_lock for
//! writing. A table that faults have detached is freed after an RCU grace period.

use super::pgtable_attr::Attrs;
use super::pgtable_defects::Deviations;
use super::pgtable_map::Mapping;
use super::tlb::Stage2Flush;
use shootdown_machine::arm64::{Desc, Stage, Ttl};
use shootdown_machine::{
    BLOCK_PAGES, Bbm, Boot, Cpu, PAGE, Shared, Space, Va, initial_page, level_size, slot_pa,
};

/// Places worth reaching.
pub const GOAL_LOCKED: &str = "entry is LOCKED by another vCPU";
/// As above.
pub const GOAL_LOST: &str = "CMPXCHG lost to another vCPU";
/// As above.
pub const GOAL_RELOAD: &str = "walk goes on in the table that its callback has installed";
/// As above.
pub const GOAL_LAST: &str = "unmap frees a table with its last entry";

/// Why a walk has ended early.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// Another vCPU was faster: -EAGAIN.
    Again,
    /// The same, and it is not finished.
    Locked,
    /// -ENOMEM.
    NoMemory,
}

/// How mmu_lock is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// For reading: KVM_PGTABLE_WALK_SHARED.
    Shared,
    /// For writing.
    Exclusive,
}

/// `kvm_pgtable_visit_ctx`: an entry, as it was when it was read.
#[derive(Clone, Copy, Debug)]
pub struct Ctx {
    /// The VM.
    pub vm: Space,
    /// The table that the entry is in.
    pub table: u64,
    /// Where the entry lies.
    pub ptep: u64,
    /// Its value.
    pub old: Desc,
    /// The address that the walk has come to.
    pub addr: Va,
    /// The entry's level.
    pub level: u8,
    /// How mmu_lock is held.
    pub mode: Mode,
}

/// What a walk does, and when it is called.
pub(super) enum Walker<'a> {
    /// LEAF and TABLE_PRE.
    Map(&'a Mapping),
    /// LEAF and TABLE_POST; whether leaves' invalidation is put off to the walk's end.
    Unmap(bool),
    /// LEAF.
    Attr(&'a mut Attrs),
    /// LEAF.
    Split,
    /// LEAF and TABLE_POST.
    Free,
}

impl Walker<'_> {
    fn table_pre(&self) -> bool {
        matches!(self, Walker::Map(_))
    }

    fn table_post(&self) -> bool {
        matches!(self, Walker::Unmap(_) | Walker::Free)
    }
}

/// `kvm_pgtable`, of all VMs.
#[derive(Debug)]
pub struct Pgtable {
    /// The TLB operations.
    pub flush: Stage2Flush,
    pgd: [Shared<u64>; 8],
    first_level: u8,
    /// Sizes change in place (our own; needs FEAT_BBM level 2).
    pub(super) bbm2: bool,
    pub(super) dev: Deviations,
    /// Range operations are there (and FEAT_S2FWB), and used for unmapping.
    defer: bool,
}

/// `stage2_pte_is_counted`.
pub(super) fn counted(pte: Desc) -> bool {
    pte != Desc::INVALID
}

impl Pgtable {
    /// The tables of every VM with the pages that it starts with, and where those are: two pages
    /// and a block. `bbm2`: sizes may change in place, where the machine has FEAT_BBM level 2.
    pub fn boot(
        boot: &Boot<'_>,
        bbm2: bool,
        flush: impl FnOnce([Shared<u64>; 8]) -> Stage2Flush,
    ) -> (Pgtable, [[u64; 3]; 8]) {
        let spaces = boot.config().spaces;
        let roots = core::array::from_fn(|i| {
            let vm = Space(i as u8);
            if vm.0 < spaces { boot.root(vm) } else { 0 }
        });
        let pgd = boot.vars_from("pgd_phys", roots);
        let pgtable = Pgtable::new(boot, bbm2, flush(pgd), pgd);
        let mut initial = [[0; 3]; 8];
        for vm in (0..spaces).map(Space) {
            let i = vm.0 as usize;
            initial[i] = pgtable.boot_vm(boot, vm, roots[i]);
        }
        (pgtable, initial)
    }

    /// Tables under these roots, which have nothing in them yet.
    pub fn new(boot: &Boot<'_>, bbm2: bool, flush: Stage2Flush, pgd: [Shared<u64>; 8]) -> Pgtable {
        Pgtable {
            flush,
            pgd,
            first_level: boot.config().first_level(),
            bbm2: bbm2 && boot.config().bbm >= Bbm::Level2,
            dev: Deviations::boot(boot),
            defer: !bbm2,
        }
    }

    fn boot_vm(&self, boot: &Boot<'_>, vm: Space, root: u64) -> [u64; 3] {
        let mut table = root;
        for level in self.first_level..2 {
            let next = boot.table(vm);
            boot.set(slot_pa(table, level, 0), Desc::table(next));
            boot.page_count(table, 2);
            table = next;
        }
        let ptes = boot.table(vm);
        boot.set(slot_pa(table, 2, 0), Desc::table(ptes));
        let pages = [0, 1].map(|i| boot.page(vm, initial_page(vm, i)));
        for (i, pa) in (0..).zip(pages) {
            let pte = slot_pa(ptes, 3, i * PAGE);
            boot.set(pte, Desc::leaf(Stage::Two, 3, pa, true));
        }
        let block = boot.block(vm, initial_page(vm, BLOCK_PAGES));
        let pmd = slot_pa(table, 2, BLOCK_PAGES as u64 * PAGE);
        boot.set(pmd, Desc::leaf(Stage::Two, 2, block, true));
        boot.page_count(table, 3);
        boot.page_count(ptes, 3);
        [pages[0], pages[1], block]
    }

    /// `kvm_pgtable_walk`: every entry for the addresses `addr..end`, and the tables above them.
    /// `ignore_eagain`: an entry that another vCPU has changed does not end it.
    pub(super) async fn walk(
        &self,
        cpu: Cpu<'_>,
        vm: Space,
        range: (Va, u64),
        mode: Mode,
        ignore_eagain: bool,
        walker: &mut Walker<'_>,
    ) -> Result<(), Stop> {
        let (mut addr, end) = (range.0, range.0 + range.1);
        let first = self.first_level;
        let mut level = first;
        let mut tables = [0; 4];
        tables[first as usize] = self.pgd[vm.0 as usize].read(cpu).await;
        let filter = |done: Result<(), Stop>| match done {
            Err(Stop::Again | Stop::Locked) if ignore_eagain => Ok(()),
            done => done,
        };
        loop {
            let mut ctx = self.ctx(vm, tables[level as usize], addr, level, mode);
            ctx.old = cpu.pte_read(ctx.ptep).await;
            let was_table = ctx.old.is_table(level);
            if !was_table || walker.table_pre() {
                filter(self.visit(cpu, &ctx, walker).await)?;
                // The callback may have installed a table, or taken one away.
                if !self.dev.no_reload {
                    ctx.old = cpu.pte_read(ctx.ptep).await;
                }
                if !was_table && ctx.old.is_table(level) {
                    cpu.goal(GOAL_RELOAD);
                }
            }
            if ctx.old.is_table(level) {
                level += 1;
                tables[level as usize] = ctx.old.addr();
                continue;
            }
            addr = (addr / level_size(level) + 1) * level_size(level);
            // Up, out of every table that this was the last entry of.
            while level > first && (addr >= end || addr.is_multiple_of(level_size(level - 1))) {
                level -= 1;
                if walker.table_post() {
                    let mut ctx = self.ctx(vm, tables[level as usize], addr - 1, level, mode);
                    ctx.addr = ctx.addr / level_size(level) * level_size(level);
                    ctx.old = Desc::table(tables[level as usize + 1]);
                    filter(self.table_post(cpu, &ctx, walker).await)?;
                }
            }
            if addr >= end {
                return Ok(());
            }
        }
    }

    fn ctx(&self, vm: Space, table: u64, addr: Va, level: u8, mode: Mode) -> Ctx {
        Ctx {
            vm,
            table,
            ptep: slot_pa(table, level, addr),
            old: Desc::INVALID,
            addr,
            level,
            mode,
        }
    }

    async fn visit(&self, cpu: Cpu<'_>, ctx: &Ctx, walker: &mut Walker<'_>) -> Result<(), Stop> {
        match walker {
            Walker::Map(map) if ctx.old.is_table(ctx.level) => {
                self.stage2_map_walk_table_pre(cpu, ctx, map).await
            }
            Walker::Map(map) => self.stage2_map_walk_leaf(cpu, ctx, map).await,
            Walker::Attr(attrs) => self.stage2_attr_walker(cpu, ctx, attrs).await,
            Walker::Split => self.stage2_split_walker(cpu, ctx).await,
            Walker::Unmap(defer) => {
                self.stage2_unmap_walker(cpu, ctx, *defer).await;
                Ok(())
            }
            Walker::Free => {
                if counted(ctx.old) {
                    self.put_page(cpu, ctx.table).await;
                }
                Ok(())
            }
        }
    }

    async fn table_post(&self, cpu: Cpu<'_>, ctx: &Ctx, walker: &Walker<'_>) -> Result<(), Stop> {
        match walker {
            Walker::Unmap(defer) => self.stage2_unmap_walker(cpu, ctx, *defer).await,
            _ => {
                self.put_page(cpu, ctx.table).await;
                self.put_page(cpu, ctx.old.addr()).await;
            }
        }
        Ok(())
    }

    /// `kvm_s2_zalloc_page`: a table nobody refers to but its maker; `None`: no memory.
    pub(super) async fn zalloc_page(&self, cpu: Cpu<'_>, vm: Space) -> Option<u64> {
        let pa = cpu.alloc_table(vm).await;
        if pa == 0 {
            return None;
        }
        cpu.page_count(pa).write(cpu, 1).await;
        Some(pa)
    }

    /// `page_ref_inc`, which orders nothing.
    pub(super) async fn get_page(&self, cpu: Cpu<'_>, table: u64) {
        cpu.page_count(table).add_return_relaxed(cpu, 1).await;
    }

    /// The last reference frees the table.
    pub(super) async fn put_page(&self, cpu: Cpu<'_>, table: u64) {
        if cpu.page_count(table).add_return(cpu, u64::MAX).await == 0 {
            cpu.free(table).await;
        }
    }

    /// `stage2_try_set_pte`.
    pub(super) async fn try_set(&self, cpu: Cpu<'_>, ctx: &Ctx, new: Desc) -> bool {
        if ctx.mode == Mode::Exclusive || self.dev.plain_store {
            cpu.pte_write(ctx.ptep, new).await;
            return true;
        }
        let won = cpu.pte_cmpxchg(ctx.ptep, ctx.old, new).await == ctx.old;
        if !won {
            cpu.goal(GOAL_LOST);
        }
        won
    }

    /// `stage2_try_break_pte`: the entry is LOCKED, and what it was is in no TLB.
    pub(super) async fn try_break(&self, cpu: Cpu<'_>, ctx: &Ctx) -> Result<(), Stop> {
        if ctx.old == Desc::BUSY {
            cpu.goal(GOAL_LOCKED);
            return Err(Stop::Locked);
        }
        if !self.try_set(cpu, ctx, Desc::BUSY).await {
            return Err(Stop::Again);
        }
        let size = level_size(ctx.level);
        if ctx.old.is_table(ctx.level) && !self.dev.merge_one_ipa {
            let first = ctx.addr / size * size;
            self.flush.flush_vmid_range(cpu, ctx.vm, first, size).await;
        } else if ctx.old.valid() {
            let ttl = Ttl::Level(ctx.level);
            self.flush.flush_vmid_ipa(cpu, ctx.vm, ctx.addr, ttl).await;
        }
        if counted(ctx.old) {
            self.put_page(cpu, ctx.table).await;
        }
        Ok(())
    }

    /// `stage2_make_pte`: what the entry leads to is visible before the entry.
    pub(super) async fn make(&self, cpu: Cpu<'_>, ctx: &Ctx, new: Desc) {
        if counted(new) {
            self.get_page(cpu, ctx.table).await;
        }
        cpu.pte_write_release(ctx.ptep, new).await;
    }

    /// The leaf for an address, with its level: `kvm_pgtable_get_leaf`.
    pub async fn get_leaf(&self, cpu: Cpu<'_>, vm: Space, addr: Va) -> (Desc, u8) {
        let mut table = self.pgd[vm.0 as usize].read(cpu).await;
        let mut level = self.first_level;
        loop {
            let pte = cpu.pte_read(slot_pa(table, level, addr)).await;
            if !pte.is_table(level) {
                return (pte, level);
            }
            table = pte.addr();
            level += 1;
        }
    }

    /// `stage2_unmap_walker`; also for a table, once its entries have been visited.
    async fn stage2_unmap_walker(&self, cpu: Cpu<'_>, ctx: &Ctx, defer: bool) {
        if !ctx.old.valid() {
            if counted(ctx.old) {
                cpu.pte_write(ctx.ptep, Desc::INVALID).await;
                self.put_page(cpu, ctx.table).await;
            }
            return;
        }
        let child = ctx.old.is_table(ctx.level).then(|| ctx.old.addr());
        if let Some(child) = child {
            if cpu.page_count(child).read(cpu).await != 1 {
                return;
            }
            cpu.goal(GOAL_LAST);
        }
        cpu.pte_write(ctx.ptep, Desc::INVALID).await;
        if child.is_some() {
            self.flush
                .flush_vmid_ipa(cpu, ctx.vm, ctx.addr, Ttl::Unknown)
                .await;
        } else if !defer {
            let ttl = Ttl::Level(ctx.level);
            self.flush.flush_vmid_ipa(cpu, ctx.vm, ctx.addr, ttl).await;
        }
        self.put_page(cpu, ctx.table).await;
        if let Some(child) = child {
            self.put_page(cpu, child).await;
        }
    }

    /// `kvm_pgtable_stage2_unmap`. With range operations (and FEAT_S2FWB) leaves are invalidated
    /// together, after the walk.
    pub async fn unmap(&self, cpu: Cpu<'_>, vm: Space, addr: Va, size: u64) {
        self.unmap_hinted(cpu, vm, (addr, size), Ttl::Unknown).await;
    }

    /// The same, `ttl` being the level of every leaf.
    pub(super) async fn unmap_hinted(&self, cpu: Cpu<'_>, vm: Space, range: (Va, u64), ttl: Ttl) {
        let mut walker = Walker::Unmap(self.defer);
        let walk = self.walk(cpu, vm, range, Mode::Exclusive, false, &mut walker);
        let done = walk.await;
        debug_assert!(done.is_ok(), "an unmap gives way to nobody");
        if self.defer {
            self.flush.flush_range(cpu, vm, range, ttl).await;
        }
    }

    /// `kvm_pgtable_stage2_destroy`, without a TLBI: the VMID is not used again before a rollover
    /// has flushed everything.
    pub async fn destroy(&self, cpu: Cpu<'_>, vm: Space) -> bool {
        let root = self.pgd[vm.0 as usize].read(cpu).await;
        let all = level_size(self.first_level) * shootdown_machine::SLOTS as u64;
        let mut walker = Walker::Free;
        let walk = self.walk(cpu, vm, (0, all), Mode::Exclusive, false, &mut walker);
        let done = walk.await;
        debug_assert!(done.is_ok(), "nothing fails");
        let new = cpu.new_root(vm).await;
        if new != 0 {
            cpu.page_count(new).write(cpu, 1).await;
        }
        self.pgd[vm.0 as usize].write(cpu, new).await;
        cpu.tlb_remove_table(root).await;
        new != 0
    }
}
