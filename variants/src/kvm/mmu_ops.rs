// SPDX-License-Identifier: GPL-2.0-only
//! A VM's memory: the operations of a scenario.

use super::host::Stage2;
use super::mmu::{BLOCK, Fault, Invalidation, Mmu};
use super::tlb::Stage2Flush;
use shootdown_machine::arm64::{Desc, Stage};
use shootdown_machine::{
    Access, Boot, Cpu, Done, OpKind, Outcome, PAGE, Page, Prot, Ram, SLOTS, Shared, Space, Va,
};

/// What it can do.
pub const OPS: &[OpKind] = &[
    OpKind::Switch,
    OpKind::SchedOut,
    OpKind::Map,
    OpKind::Unmap,
    OpKind::Protect,
    OpKind::Remap,
    OpKind::Split,
    OpKind::Collapse,
    OpKind::Touch,
    OpKind::Exit,
    OpKind::Clean,
    OpKind::Age,
];

impl<const BBM2: bool> Stage2 for Mmu<BBM2> {
    fn boot(boot: &Boot<'_>, flush: impl FnOnce([Shared<u64>; 8]) -> Stage2Flush) -> Self {
        Mmu::boot_mmu(boot, flush)
    }

    fn flush(&self) -> &Stage2Flush {
        &self.pgt.flush
    }

    /// The host has a new page, and a vCPU faults on it.
    async fn map(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, page: Page) -> Done {
        let lock = &self.mmap_lock[vm.0 as usize];
        lock.lock(cpu).await;
        let (at, _, leaf) = self.host_leaf(cpu, vm, ipa).await;
        let mut done = Done::No;
        if !leaf.valid() {
            let pa = cpu.alloc_page(vm, page).await;
            done = Done::Exhausted;
            if pa != 0 {
                cpu.pte_write(at, Desc::leaf(Stage::Two, 3, pa, true)).await;
                done = Done::Yes;
            }
        }
        lock.unlock(cpu).await;
        if done == Done::Yes {
            self.fault_in(cpu, vm, ipa, Access::Write, Outcome::Translation)
                .await;
        }
        done
    }

    /// An MMU notifier, and then the page is freed.
    async fn unmap(&self, cpu: Cpu<'_>, vm: Space, ipa: Va) -> Done {
        let lock = &self.mmap_lock[vm.0 as usize];
        lock.lock(cpu).await;
        let (at, level, leaf) = self.host_leaf(cpu, vm, ipa).await;
        let mut done = Done::No;
        if level == 3 && leaf.valid() {
            self.invalidate_range_start(cpu, vm, ipa, PAGE, Invalidation::Unmap)
                .await;
            cpu.pte_write(at, Desc::INVALID).await;
            cpu.free(leaf.addr()).await;
            self.invalidate_range_end(cpu, vm).await;
            done = Done::Yes;
        }
        lock.unlock(cpu).await;
        done
    }

    /// Read-only: stage 2 is write-protected. Writable: a vCPU's store faults.
    async fn protect(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, prot: Prot) -> Done {
        let lock = &self.mmap_lock[vm.0 as usize];
        lock.lock(cpu).await;
        let (at, level, leaf) = self.host_leaf(cpu, vm, ipa).await;
        let writable = prot == Prot::Rw;
        let mut done = Done::No;
        if leaf.valid() && leaf.writable(Stage::Two) != writable {
            let (first, size) = match level {
                2 => (ipa / BLOCK * BLOCK, BLOCK),
                _ => (ipa, PAGE),
            };
            if !writable {
                self.invalidate_range_start(cpu, vm, first, size, Invalidation::WrProtect)
                    .await;
            }
            cpu.pte_write(at, leaf.with_writable(Stage::Two, writable))
                .await;
            if !writable {
                self.invalidate_range_end(cpu, vm).await;
            }
            done = Done::Yes;
        }
        lock.unlock(cpu).await;
        if done == Done::Yes && writable {
            self.fault_in(cpu, vm, ipa, Access::Write, Outcome::Permission)
                .await;
        }
        done
    }

    /// Migration by way of an MMU notifier. A read-only page is copied first, as one that KSM
    /// merges is, and stage 2 goes from the one to the other.
    async fn remap(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, page: Page) -> Done {
        let lock = &self.mmap_lock[vm.0 as usize];
        lock.lock(cpu).await;
        let (at, level, leaf) = self.host_leaf(cpu, vm, ipa).await;
        let mut done = Done::No;
        if level == 3 && leaf.valid() {
            let new = cpu.alloc_page(vm, page).await;
            done = Done::Exhausted;
            if new != 0 {
                self.migrate(cpu, vm, ipa, (at, leaf), new).await;
                done = Done::Yes;
            }
        }
        lock.unlock(cpu).await;
        if done == Done::Yes {
            self.fault_in(cpu, vm, ipa, Access::Read, Outcome::Translation)
                .await;
        }
        done
    }

    /// Dirty logging begins: pages from now on. Splitting at once is for blocks that are not
    /// write-protected; those that are, faults will split (KVM_CAP_ARM_EAGER_SPLIT_CHUNK_SIZE).
    async fn split(&self, cpu: Cpu<'_>, vm: Space, ipa: Va) -> Done {
        let lock = &self.mmap_lock[vm.0 as usize];
        lock.lock(cpu).await;
        let (at, level, block) = self.host_leaf(cpu, vm, ipa).await;
        let is_block = level == 2 && block.valid();
        let writable = block.writable(Stage::Two);
        if is_block {
            let table = self.host_table(vm, ipa);
            for i in 0..SLOTS as u64 {
                let page = Desc::leaf(Stage::Two, 3, block.addr() + i * PAGE, writable);
                cpu.pte_write(table + i * 8, page).await;
            }
            // Unnoticed: without it the host still has a block, and faults map that.
            cpu.pte_write(at, Desc::table(table)).await;
        }
        lock.unlock(cpu).await;
        if !is_block {
            return Done::No;
        }
        if writable {
            let mmu_lock = &self.mmu_lock[vm.0 as usize];
            mmu_lock.write_lock(cpu).await;
            // Without memory, faults will do it.
            let _ = self.pgt.split(cpu, vm, ipa / BLOCK * BLOCK, BLOCK).await;
            mmu_lock.write_unlock(cpu).await;
        }
        Done::Yes
    }

    /// Pages become a block: in place when dirty logging ends, else as khugepaged does it.
    async fn collapse(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, page: Page) -> Done {
        let lock = &self.mmap_lock[vm.0 as usize];
        lock.lock(cpu).await;
        let done = self.host_collapse(cpu, vm, ipa / BLOCK * BLOCK, page).await;
        lock.unlock(cpu).await;
        if done == Done::Yes {
            self.fault_in(cpu, vm, ipa, Access::Read, Outcome::Translation)
                .await;
        }
        done
    }

    /// `kvm_arch_destroy_vm`, and its process exits.
    async fn exit(&self, cpu: Cpu<'_>, vm: Space) -> Done {
        let i = vm.0 as usize;
        // Unnoticed: the harness lets nothing else run on a space that exits.
        self.mmu_lock[i].write_lock(cpu).await;
        let root = self.pgt.destroy(cpu, vm).await;
        self.mmu_lock[i].write_unlock(cpu).await;
        for slot in 0..SLOTS as u64 {
            let first = slot * BLOCK;
            let pmd = self.host_pmd(vm, first);
            let block = cpu.pte_read(pmd).await;
            if block.is_leaf(2) {
                self.free_pages(cpu, block).await;
                cpu.pte_write(pmd, Desc::table(self.host_table(vm, first)))
                    .await;
            }
            for page in (0..SLOTS as u64).map(|i| first + i * PAGE) {
                let at = self.host_pte(vm, page);
                let pte = cpu.pte_read(at).await;
                if pte.valid() {
                    cpu.pte_write(at, Desc::INVALID).await;
                    if !block.is_leaf(2) {
                        cpu.free(pte.addr()).await;
                    }
                }
            }
        }
        if root { Done::Yes } else { Done::Exhausted }
    }

    /// The dirty log is read: the next store to the page is to fault.
    async fn clean(&self, cpu: Cpu<'_>, vm: Space, ipa: Va) -> Done {
        let lock = &self.mmu_lock[vm.0 as usize];
        lock.write_lock(cpu).await;
        self.pgt.wrprotect(cpu, vm, ipa, PAGE).await;
        lock.write_unlock(cpu).await;
        if !self.pgt.bbm2 {
            self.pgt.flush.flush_vmid_range(cpu, vm, ipa, PAGE).await;
        }
        Done::Yes
    }

    /// `kvm_age_gfn`, and the core's flush.
    async fn age(&self, cpu: Cpu<'_>, vm: Space, ipa: Va) -> Done {
        let lock = &self.mmu_lock[vm.0 as usize];
        lock.write_lock(cpu).await;
        let young = self.pgt.test_clear_young(cpu, vm, ipa).await;
        if young {
            let first = ipa / BLOCK * BLOCK;
            self.pgt.flush.flush_vmid_range(cpu, vm, first, BLOCK).await;
        }
        lock.write_unlock(cpu).await;
        if young { Done::Yes } else { Done::No }
    }

    /// `kvm_handle_guest_abort`.
    async fn fault(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, access: Access, why: Outcome) -> bool {
        if why == Outcome::Conflict {
            return self.conflict_abort(cpu, vm, ipa).await;
        }
        self.user_mem_abort(cpu, vm, ipa, access, why).await != Fault::Refused
    }
}

impl<const BBM2: bool> Mmu<BBM2> {
    async fn migrate(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, pte: (u64, Desc), new: u64) {
        let (at, old) = pte;
        let writable = old.writable(Stage::Two);
        if writable {
            self.invalidate_range_start(cpu, vm, ipa, PAGE, Invalidation::Unmap)
                .await;
            cpu.copy_page(old.addr(), new).await;
        } else {
            cpu.copy_page(old.addr(), new).await;
            self.invalidate_range_start(cpu, vm, ipa, PAGE, Invalidation::ChangePte(new))
                .await;
        }
        cpu.pte_write(at, Desc::leaf(Stage::Two, 3, new, writable))
            .await;
        cpu.free(old.addr()).await;
        self.invalidate_range_end(cpu, vm).await;
    }

    async fn host_collapse(&self, cpu: Cpu<'_>, vm: Space, first: Va, page: Page) -> Done {
        let at = self.host_pmd(vm, first);
        if cpu.pte_read(at).await.is_leaf(2) {
            return Done::No;
        }
        let table = self.host_table(vm, first);
        let mut ptes = [Desc::INVALID; SLOTS];
        for (i, pte) in (0..).zip(&mut ptes) {
            *pte = cpu.pte_read(table + i * 8).await;
        }
        let (base, writable) = (ptes[0].addr(), ptes[0].writable(Stage::Two));
        let alike = |pte: &Desc| pte.valid() && pte.writable(Stage::Two) == writable;
        if !ptes.iter().all(alike) {
            return Done::No;
        }
        let adjacent = (0..).zip(&ptes).all(|(i, p)| p.addr() == base + i * PAGE);
        if Ram::is_block(base) && adjacent {
            let block = Desc::leaf(Stage::Two, 2, base, writable);
            // Unnoticed: without it the host still has pages, and faults map those.
            cpu.pte_write(at, block).await;
            return Done::Yes;
        }
        let new = cpu.alloc_block(vm, page).await;
        if new == 0 {
            return Done::Exhausted;
        }
        self.invalidate_range_start(cpu, vm, first, BLOCK, Invalidation::Unmap)
            .await;
        for (i, pte) in (0..).zip(&ptes) {
            cpu.copy_page(pte.addr(), new + i * PAGE).await;
        }
        let block = Desc::leaf(Stage::Two, 2, new, writable);
        cpu.pte_write(at, block).await;
        for pte in &ptes {
            cpu.free(pte.addr()).await;
        }
        self.invalidate_range_end(cpu, vm).await;
        Done::Yes
    }

    async fn free_pages(&self, cpu: Cpu<'_>, block: Desc) {
        for i in 0..SLOTS as u64 {
            cpu.free(block.addr() + i * PAGE).await;
        }
    }
}
