// SPDX-License-Identifier: GPL-2.0-only
//! KVM's stage-2 tables: a fault maps a page or a block, and what it replaces.

use super::pgtable::{Ctx, Mode, Pgtable, Stop, Walker};
use shootdown_machine::arm64::{Desc, Stage, Ttl};
use shootdown_machine::{Cpu, Dsb, PAGE, SLOTS, Space, Va, level_size};

/// Places worth reaching.
pub const GOAL_SAME: &str = "another vCPU has mapped the page already";
/// As above.
pub const GOAL_BLOCK_TO_TABLE: &str = "a fault makes a table of a block";
/// As above.
pub const GOAL_TABLE_TO_BLOCK: &str = "a fault makes a block of a table";
/// As above, without a break.
pub const GOAL_SPLIT_IN_PLACE: &str = "a block becomes a table in place";
/// As above.
pub const GOAL_MERGE_IN_PLACE: &str = "a table becomes a block in place";

/// `stage2_map_data`: what is to be mapped.
#[derive(Clone, Copy, Debug)]
pub struct Mapping {
    /// First address.
    pub addr: Va,
    /// A page, or a block.
    pub size: u64,
    /// Physical address.
    pub phys: u64,
    /// Stores are permitted.
    pub writable: bool,
    /// Of a shadow leaf, the level of the guest's leaf (KVM_NV_GUEST_MAP_SZ); else 0.
    pub guest_level: u8,
    /// Whose tables are to hold it: the VM of the vCPU whose memcache they come from.
    pub memcache: Space,
}

impl Mapping {
    /// `stage2_leaf_mapping_allowed`: whether an entry of this level maps no more than it.
    fn allowed(&self, level: u8) -> bool {
        self.size >= level_size(level)
    }

    fn leaf(&self, ctx: &Ctx) -> Desc {
        let phys = self.phys + (ctx.addr - self.addr);
        let leaf = Desc::leaf(Stage::Two, ctx.level, phys, self.writable);
        leaf.with_noted_level(self.guest_level)
    }
}

impl Pgtable {
    /// `kvm_pgtable_stage2_map`.
    pub async fn map(&self, cpu: Cpu<'_>, vm: Space, map: Mapping, mode: Mode) -> Result<(), Stop> {
        let range = (map.addr, map.size);
        let mut walker = Walker::Map(&map);
        let done = self.walk(cpu, vm, range, mode, false, &mut walker).await;
        // Unnoticed: a walker that the store is late for makes one more fault, whose handler
        // waits for the lock, and with it for the store.
        cpu.dsb(Dsb::Ishst).await;
        done
    }

    /// `stage2_map_walker_try_leaf`; `false`: -E2BIG, the entry is of too high a level.
    async fn try_leaf(&self, cpu: Cpu<'_>, ctx: &Ctx, map: &Mapping) -> Result<bool, Stop> {
        if !map.allowed(ctx.level) {
            return Ok(false);
        }
        let new = map.leaf(ctx);
        if !self.dev.ping_pong && !needs_update(ctx, new) {
            cpu.goal(GOAL_SAME);
            return Err(Stop::Again);
        }
        if self.dev.valid_to_valid && ctx.old.valid() {
            return self.set_then_flush(cpu, ctx, new).await.map(|()| true);
        }
        let moved = ctx.old.is_leaf(ctx.level) && ctx.old.addr() != new.addr();
        if self.bbm2 && self.dev.oa && moved {
            self.try_make(cpu, ctx, new).await?;
            return Ok(true);
        }
        self.try_break(cpu, ctx).await?;
        // Between break and make, the page would be cleaned to the point of coherency.
        self.make(cpu, ctx, new).await;
        Ok(true)
    }

    /// B-18: as it was before d4b9e0790aa7.
    async fn set_then_flush(&self, cpu: Cpu<'_>, ctx: &Ctx, new: Desc) -> Result<(), Stop> {
        if !self.try_set(cpu, ctx, new).await {
            return Err(Stop::Again);
        }
        let ttl = Ttl::Level(ctx.level);
        self.flush.flush_vmid_ipa(cpu, ctx.vm, ctx.addr, ttl).await;
        Ok(())
    }

    /// `stage2_map_walk_table_pre`: a block in the place of a table.
    pub(super) async fn stage2_map_walk_table_pre(
        &self,
        cpu: Cpu<'_>,
        ctx: &Ctx,
        map: &Mapping,
    ) -> Result<(), Stop> {
        if !map.allowed(ctx.level) {
            return Ok(());
        }
        let (child, new) = (ctx.old.addr(), map.leaf(ctx));
        if self.dev.cancel {
            cpu.pte_write(ctx.ptep, new).await;
            return Ok(());
        }
        if self.bbm2 && self.translates_alike(cpu, child, new).await {
            let made = self.try_make(cpu, ctx, new).await;
            if !self.dev.no_locked {
                made?;
            }
            cpu.goal(GOAL_MERGE_IN_PLACE);
        } else {
            self.try_leaf(cpu, ctx, map).await?;
            cpu.goal(GOAL_TABLE_TO_BLOCK);
        }
        self.free_unlinked_table(cpu, child).await;
        Ok(())
    }

    /// `kvm_pgtable_stage2_free_unlinked`, by RCU: other faults may be walking the table.
    async fn free_unlinked_table(&self, cpu: Cpu<'_>, child: u64) {
        if self.dev.leak {
            return;
        }
        if self.dev.no_rcu {
            cpu.free(child).await;
        } else {
            cpu.tlb_remove_table(child).await;
        }
    }

    /// `stage2_map_walk_leaf`: a page, or a table for it in the place of nothing or of a block.
    /// The block's other pages fault again.
    pub(super) async fn stage2_map_walk_leaf(
        &self,
        cpu: Cpu<'_>,
        ctx: &Ctx,
        map: &Mapping,
    ) -> Result<(), Stop> {
        if self.try_leaf(cpu, ctx, map).await? {
            return Ok(());
        }
        if self.bbm2 && ctx.old.is_leaf(ctx.level) {
            return self.split_in_place(cpu, ctx).await;
        }
        let child = self.zalloc_page(cpu, map.memcache).await;
        let child = child.ok_or(Stop::NoMemory)?;
        if let Err(stop) = self.try_break(cpu, ctx).await {
            self.put_page(cpu, child).await;
            return Err(stop);
        }
        if ctx.old.valid() {
            cpu.goal(GOAL_BLOCK_TO_TABLE);
        }
        self.make(cpu, ctx, Desc::table(child)).await;
        Ok(())
    }

    /// `kvm_pgtable_stage2_create_unlinked`: a table of pages that translate as a block does.
    async fn create_unlinked(&self, cpu: Cpu<'_>, ctx: &Ctx) -> Result<u64, Stop> {
        let child = self.zalloc_page(cpu, ctx.vm).await.ok_or(Stop::NoMemory)?;
        let writable = ctx.old.writable(Stage::Two);
        for i in 0..SLOTS as u64 {
            let phys = ctx.old.addr() + i * PAGE;
            let page = Desc::leaf(Stage::Two, 3, phys, writable);
            let page = page.with_accessed(ctx.old.accessed());
            cpu.pte_write(child + i * 8, page).await;
            self.get_page(cpu, child).await;
        }
        Ok(child)
    }

    /// A table that never was linked.
    async fn free_never_linked(&self, cpu: Cpu<'_>, child: u64) {
        for _ in 0..=SLOTS {
            self.put_page(cpu, child).await;
        }
    }

    /// `stage2_split_walker`: eager splitting, for the dirty log.
    pub(super) async fn stage2_split_walker(&self, cpu: Cpu<'_>, ctx: &Ctx) -> Result<(), Stop> {
        if ctx.level == 3 || !ctx.old.is_leaf(ctx.level) {
            return Ok(());
        }
        if self.bbm2 {
            return self.split_in_place(cpu, ctx).await;
        }
        let child = self.create_unlinked(cpu, ctx).await?;
        if let Err(stop) = self.try_break(cpu, ctx).await {
            self.free_never_linked(cpu, child).await;
            return Err(stop);
        }
        self.make(cpu, ctx, Desc::table(child)).await;
        Ok(())
    }

    /// `kvm_pgtable_stage2_split`.
    pub async fn split(&self, cpu: Cpu<'_>, vm: Space, addr: Va, size: u64) -> Result<(), Stop> {
        let mut walker = Walker::Split;
        let range = (addr, size);
        let walk = self.walk(cpu, vm, range, Mode::Exclusive, false, &mut walker);
        let done = walk.await;
        // Unnoticed: a walker that the store is late for makes one more fault, whose handler
        // waits for the lock, and with it for the store.
        cpu.dsb(Dsb::Ishst).await;
        done
    }

    /// Our own: a table that translates as the block does takes the block's place at once.
    async fn split_in_place(&self, cpu: Cpu<'_>, ctx: &Ctx) -> Result<(), Stop> {
        let child = self.create_unlinked(cpu, ctx).await?;
        if let Err(stop) = self.try_make(cpu, ctx, Desc::table(child)).await
            && !self.dev.no_locked
        {
            self.free_never_linked(cpu, child).await;
            return Err(stop);
        }
        cpu.goal(GOAL_SPLIT_IN_PLACE);
        Ok(())
    }

    /// Whether a table's pages are a block's, with its permissions: then only the size changes.
    async fn translates_alike(&self, cpu: Cpu<'_>, child: u64, block: Desc) -> bool {
        for i in 0..SLOTS as u64 {
            let phys = block.addr() + i * PAGE;
            let page = Desc::leaf(Stage::Two, 3, phys, block.writable(Stage::Two));
            if cpu.pte_read(child + i * 8).await != page {
                return false;
            }
        }
        true
    }

    /// Our own, under FEAT_BBM level 2: replaces a valid entry by another that differs in size or
    /// in permission, and invalidates what it replaced before anybody changes what is below.
    pub(super) async fn try_make(&self, cpu: Cpu<'_>, ctx: &Ctx, new: Desc) -> Result<(), Stop> {
        if ctx.mode == Mode::Exclusive && !self.dev.no_release {
            cpu.pte_write_release(ctx.ptep, new).await;
        } else if !self.try_set(cpu, ctx, new).await {
            return Err(Stop::Again);
        }
        let (level, size) = (ctx.level, level_size(ctx.level));
        let first = ctx.addr / size * size;
        let ttl = Ttl::Level(level);
        if ctx.old.is_table(level) {
            self.flush.flush_vmid_range(cpu, ctx.vm, first, size).await;
        } else if new.is_table(level) {
            // Later changes of its pages flush at their own level, and leave the block.
            if !self.dev.keep_block {
                self.flush.flush_vmid_ipa(cpu, ctx.vm, first, ttl).await;
            }
        } else if self.restricts(ctx.old, new) {
            if self.dev.nsh {
                self.flush.flush_vmid_ipa_nsh(cpu, ctx.vm, first, ttl).await;
            } else {
                self.flush.flush_vmid_ipa(cpu, ctx.vm, first, ttl).await;
            }
        }
        if self.dev.refcount {
            self.get_page(cpu, ctx.table).await;
        }
        Ok(())
    }

    /// Whether an entry permits less than before. B-20-perms-enum: bits that no permission is in
    /// are compared.
    fn restricts(&self, old: Desc, new: Desc) -> bool {
        if self.dev.perms_enum {
            return (old.0 ^ new.0) & 7 != 0;
        }
        old.writable(Stage::Two) && !new.writable(Stage::Two)
    }
}

/// `stage2_pte_needs_update`: more differs than a permission, which the other path relaxes.
fn needs_update(ctx: &Ctx, new: Desc) -> bool {
    let like_new = |old: Desc| old.with_writable(Stage::Two, new.writable(Stage::Two)) == new;
    !ctx.old.valid() || !like_new(ctx.old)
}
