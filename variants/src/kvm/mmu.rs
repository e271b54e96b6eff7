// SPDX-License-Identifier: GPL-2.0-only
//! A VM's memory: what its host maps, and stage 2, which is filled from that by faults and
//! emptied by MMU notifiers. `arch/arm64/kvm/mmu.c`, Linux 7.3.
//!
//! The host's own tables of a VM's memory are walked by software only, here. They say what the
//! VM has; `map`, `protect rw` and `collapse` change them and then fault as a vCPU would
//! (KVM_PRE_FAULT_MEMORY), the others invalidate stage 2 first.

use super::pgtable::{Mode, Pgtable, Stop};
use super::pgtable_map::Mapping;
use super::tlb::Stage2Flush;
use crate::pgtable::Flush;
use shootdown_machine::arm64::{Desc, Stage};
use shootdown_machine::{
    Access, BLOCK_PAGES, Boot, Cpu, Lock, Outcome, PAGE, RwLock, SLOTS, Shared, Space, Va,
    level_size, slot_pa,
};

/// Places worth reaching.
pub const GOAL_DURING: &str = "fault while an invalidation is under way";
/// As above.
pub const GOAL_OUTLIVED: &str = "fault that an invalidation has overtaken";
/// As above.
pub const GOAL_OLD: &str = "access to a page without access flag";
/// As above.
pub const GOAL_CONFLICT: &str = "conflict abort";

/// Bytes of a block.
pub(super) const BLOCK: u64 = BLOCK_PAGES as u64 * PAGE;

/// What a fault has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// The access may be tried again.
    Handled,
    /// An invalidation, or another vCPU, has come between.
    Again,
    /// The host does not permit it.
    Refused,
}

/// What an invalidation does to stage 2.
#[derive(Clone, Copy, Debug)]
pub(super) enum Invalidation {
    /// `kvm_unmap_gfn_range`.
    Unmap,
    /// `kvm_mmu_wp_memory_region`.
    WrProtect,
    /// `kvm_set_spte_gfn`, as until 6.9: the read-only page moves to this address.
    ChangePte(u64),
}

/// The memory of all VMs. `BBM2`: sizes change in place under FEAT_BBM level 2.
#[derive(Debug)]
pub struct Mmu<const BBM2: bool> {
    pub(super) pgt: Pgtable,
    /// The host's tables: a root of level 2 for each VM, and a table below each of its slots.
    host: [u64; 8],
    host_ptes: [[u64; SLOTS]; 8],
    /// mmap_lock of the VM's process.
    pub(super) mmap_lock: [Lock; 8],
    pub(super) mmu_lock: [RwLock; 8],
    mmu_invalidate_seq: [Shared<u64>; 8],
    mmu_invalidate_in_progress: [Shared<u64>; 8],
}

impl<const BBM2: bool> Mmu<BBM2> {
    pub(super) fn boot_mmu(
        boot: &Boot<'_>,
        flush: impl FnOnce([Shared<u64>; 8]) -> Stage2Flush,
    ) -> Self {
        let (pgt, initial) = Pgtable::boot(boot, BBM2, flush);
        let mut mmu = Mmu {
            pgt,
            host: [0; 8],
            host_ptes: [[0; SLOTS]; 8],
            mmap_lock: boot.locks("mmap_lock"),
            mmu_lock: boot.rw_locks("mmu_lock"),
            mmu_invalidate_seq: boot.vars("mmu_invalidate_seq", 0),
            mmu_invalidate_in_progress: boot.vars("mmu_invalidate_in_progress", 0),
        };
        for vm in (0..boot.config().spaces).map(Space) {
            mmu.boot_host(boot, vm, initial[vm.0 as usize]);
        }
        mmu
    }

    /// `pas`: the two pages and the block that stage 2 has been booted with.
    fn boot_host(&mut self, boot: &Boot<'_>, vm: Space, pas: [u64; 3]) {
        let i = vm.0 as usize;
        self.host[i] = boot.reserved_table();
        boot.primary(vm, self.host[i]);
        for slot in 0..SLOTS {
            let ptes = boot.reserved_table();
            self.host_ptes[i][slot] = ptes;
            boot.set(self.host[i] + slot as u64 * 8, Desc::table(ptes));
        }
        for (page, pa) in (0..2).zip(pas) {
            let pte = Desc::leaf(Stage::Two, 3, pa, true);
            boot.set(self.host_pte(vm, page * PAGE), pte);
        }
        let block = Desc::leaf(Stage::Two, 2, pas[2], true);
        boot.set(self.host_pmd(vm, BLOCK), block);
    }

    pub(super) fn host_pmd(&self, vm: Space, ipa: Va) -> u64 {
        slot_pa(self.host[vm.0 as usize], 2, ipa)
    }

    pub(super) fn host_table(&self, vm: Space, ipa: Va) -> u64 {
        self.host_ptes[vm.0 as usize][(ipa / BLOCK) as usize % SLOTS]
    }

    pub(super) fn host_pte(&self, vm: Space, ipa: Va) -> u64 {
        slot_pa(self.host_table(vm, ipa), 3, ipa)
    }

    /// The host's leaf for an address, where it lies and its level. mmap_lock is held.
    pub(super) async fn host_leaf(&self, cpu: Cpu<'_>, vm: Space, ipa: Va) -> (u64, u8, Desc) {
        let at = self.host_pmd(vm, ipa);
        let pmd = cpu.pte_read(at).await;
        if pmd.is_leaf(2) {
            return (at, 2, pmd);
        }
        let at = self.host_pte(vm, ipa);
        (at, 3, cpu.pte_read(at).await)
    }

    /// `kvm_mmu_notifier_invalidate_range_start`: nothing that it takes away is in a TLB when it
    /// returns, and no fault can bring it back before the end. mmap_lock is held over both.
    pub(super) async fn invalidate_range_start(
        &self,
        cpu: Cpu<'_>,
        vm: Space,
        ipa: Va,
        size: u64,
        what: Invalidation,
    ) {
        let i = vm.0 as usize;
        self.mmu_lock[i].write_lock(cpu).await;
        // As a long of C does: with its lock left out, the count may wrap.
        let in_progress = self.mmu_invalidate_in_progress[i].read(cpu).await;
        self.mmu_invalidate_in_progress[i]
            .write(cpu, in_progress.wrapping_add(1))
            .await;
        match what {
            Invalidation::Unmap => self.pgt.unmap(cpu, vm, ipa, size).await,
            Invalidation::WrProtect => self.pgt.wrprotect(cpu, vm, ipa, size).await,
            Invalidation::ChangePte(phys) => self.set_spte_gfn(cpu, vm, ipa, phys).await,
        }
        self.mmu_lock[i].write_unlock(cpu).await;
        // Where entries are not invalidated as they change, it is for the dirty log to flush.
        if matches!(what, Invalidation::WrProtect) && !self.pgt.bbm2 {
            self.pgt.flush.flush_vmid_range(cpu, vm, ipa, size).await;
        }
    }

    /// `kvm_set_spte_gfn`: the page's contents are elsewhere, read-only. What is not mapped as a
    /// page is unmapped.
    async fn set_spte_gfn(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, phys: u64) {
        let (leaf, level) = self.pgt.get_leaf(cpu, vm, ipa).await;
        if level != 3 || !leaf.valid() {
            return self.pgt.unmap(cpu, vm, ipa, PAGE).await;
        }
        let map = Mapping {
            addr: ipa,
            size: PAGE,
            phys,
            writable: false,
            guest_level: 0,
            memcache: vm,
        };
        let done = self.pgt.map(cpu, vm, map, Mode::Exclusive).await;
        debug_assert!(done.is_ok(), "nobody else changes the tables");
    }

    /// `kvm_mmu_notifier_invalidate_range_end`.
    pub(super) async fn invalidate_range_end(&self, cpu: Cpu<'_>, vm: Space) {
        let i = vm.0 as usize;
        // Unnoticed: a fault that reads both without it is right, too, by their order.
        self.mmu_lock[i].write_lock(cpu).await;
        let seq = self.mmu_invalidate_seq[i].read(cpu).await;
        self.mmu_invalidate_seq[i].write(cpu, seq + 1).await;
        // Unnoticed: mmu_lock orders the two for whoever holds it to read them.
        cpu.smp_wmb().await;
        // As a long of C does: with its lock left out, the count may wrap.
        let in_progress = self.mmu_invalidate_in_progress[i].read(cpu).await;
        self.mmu_invalidate_in_progress[i]
            .write(cpu, in_progress.wrapping_sub(1))
            .await;
        self.mmu_lock[i].write_unlock(cpu).await;
    }

    /// `mmu_invalidate_retry`: whether what the host said may be so no more.
    async fn mmu_invalidate_retry(&self, cpu: Cpu<'_>, vm: Space, seq: u64) -> bool {
        let i = vm.0 as usize;
        if self.mmu_invalidate_in_progress[i].read(cpu).await != 0 {
            cpu.goal(GOAL_DURING);
            return true;
        }
        // Unnoticed: as in invalidate_range_end.
        cpu.smp_rmb().await;
        let overtaken = self.mmu_invalidate_seq[i].read(cpu).await != seq;
        if overtaken {
            cpu.goal(GOAL_OUTLIVED);
        }
        overtaken
    }

    /// `user_mem_abort`: asks the host, and maps what it says, unless it has thought better of it.
    pub(super) async fn user_mem_abort(
        &self,
        cpu: Cpu<'_>,
        vm: Space,
        ipa: Va,
        access: Access,
        why: Outcome,
    ) -> Fault {
        let i = vm.0 as usize;
        let changes = cpu.changes();
        let seq = self.mmu_invalidate_seq[i].read(cpu).await;
        // Unnoticed: mmap_lock, which is taken to ask the host, orders as much.
        cpu.smp_rmb().await;
        self.mmap_lock[i].lock(cpu).await;
        let (_, level, leaf) = self.host_leaf(cpu, vm, ipa).await;
        self.mmap_lock[i].unlock(cpu).await;
        let writable = leaf.writable(Stage::Two);
        if !leaf.valid() || (access == Access::Write && !writable) {
            return Fault::Refused;
        }
        self.mmu_lock[i].read_lock(cpu).await;
        if !self.pgt.dev.no_retry && self.mmu_invalidate_retry(cpu, vm, seq).await {
            self.mmu_lock[i].read_unlock(cpu).await;
            return Fault::Again;
        }
        // rcu_read_lock.
        let irqs_were_off = cpu.local_irq_save().await;
        let done = self.handle(cpu, vm, ipa, (level, leaf), why).await;
        if !irqs_were_off {
            cpu.local_irq_enable().await;
        }
        self.mmu_lock[i].read_unlock(cpu).await;
        match done {
            // Whoever was faster has done what there was to do.
            Ok(()) | Err(Stop::Again) => Fault::Handled,
            Err(Stop::Locked) => {
                // The guest would fault again and again.
                cpu.await_change(changes).await;
                Fault::Again
            }
            Err(Stop::NoMemory) => Fault::Refused,
        }
    }

    /// What a fault does to stage 2: sets the access flag, gives a permission, or maps. Whether
    /// it was for want of an access flag, and the level at which a permission was wanting, would
    /// be in ESR_EL2.
    async fn handle(
        &self,
        cpu: Cpu<'_>,
        vm: Space,
        ipa: Va,
        host: (u8, Desc),
        why: Outcome,
    ) -> Result<(), Stop> {
        let (level, leaf) = host;
        let (old, old_level) = self.pgt.get_leaf(cpu, vm, ipa).await;
        if old.valid() && !old.accessed() {
            cpu.goal(GOAL_OLD);
            return self.pgt.mkyoung(cpu, vm, ipa).await;
        }
        let writable = leaf.writable(Stage::Two);
        if why == Outcome::Permission && old.valid() && old_level == level {
            return self.pgt.relax_perms(cpu, vm, ipa, writable).await;
        }
        let size = level_size(level);
        let map = Mapping {
            addr: ipa / size * size,
            size,
            phys: leaf.addr(),
            writable,
            guest_level: 0,
            memcache: vm,
        };
        self.pgt.map(cpu, vm, map, Mode::Shared).await
    }

    /// Faults as a vCPU would, until the page is mapped or the host has none.
    pub(super) async fn fault_in(
        &self,
        cpu: Cpu<'_>,
        vm: Space,
        ipa: Va,
        access: Access,
        why: Outcome,
    ) {
        while self.user_mem_abort(cpu, vm, ipa, access, why).await == Fault::Again {}
    }

    /// A TLB conflict abort. No operation by address is certain to resolve it, and only this
    /// CPU has it (Arm ARM, D8.14.3).
    pub(super) async fn conflict_abort(&self, cpu: Cpu<'_>, vm: Space, ipa: Va) -> bool {
        cpu.goal(GOAL_CONFLICT);
        if self.pgt.dev.no_handler {
            return false;
        }
        if self.pgt.dev.conflict {
            self.pgt.flush.flush_ipa_only(cpu, vm, ipa).await;
        } else {
            self.pgt.flush.conflict(cpu, vm).await;
        }
        true
    }
}
