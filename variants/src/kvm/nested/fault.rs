// SPDX-License-Identifier: GPL-2.0-only
//! A fault in a guest's guest: the guest's tables are walked, and a shadow leaf is made.

use super::Look;
use super::guest::{BLOCK, Guest};
use super::shadow::Shadows;
use crate::kvm::pgtable::{Mode, Stop};
use crate::kvm::pgtable_map::Mapping;
use shootdown_machine::arm64::{Desc, Stage};
use shootdown_machine::{Access, Cpu, Outcome, PAGE, Ram, Space, Va, level_size};

/// Places worth reaching.
pub const GOAL_SPLINTER: &str = "a page of a guest's block is shadowed by itself";
/// As above.
pub const GOAL_BLOCK: &str = "a guest's block is shadowed by a block";
/// As above.
pub const GOAL_OVERTAKEN: &str = "a guest's TLBI has overtaken a fault";
/// As above.
pub const GOAL_INJECTED: &str = "L1 finds a fault settled when it looks";

/// `kvm_s2_trans`: what a guest's tables say of an address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trans {
    /// The leaf.
    pub desc: Desc,
    /// Its level.
    pub level: u8,
}

impl Trans {
    /// The address is mapped, and the access is permitted. A leaf that has not been accessed is
    /// L1's to mark.
    pub fn permits(&self, access: Access) -> bool {
        let written = access == Access::Write;
        self.desc.valid() && (!written || self.desc.writable(Stage::Two))
    }
}

/// What the host maps at an address of L1's memory, which is the physical address here: pages, and
/// a block where it has one. It has two in four blocks of L1's in pages.
fn host_size(phys: u64) -> u64 {
    let first = phys / BLOCK * BLOCK;
    if Ram::is_block(first) && first / BLOCK % 4 >= 2 {
        BLOCK
    } else {
        PAGE
    }
}

impl Guest {
    /// `kvm_handle_guest_abort`, of a fault in a shadow stage 2; whether to try the access again.
    pub(super) async fn kvm_handle_guest_abort(
        &self,
        cpu: Cpu<'_>,
        vm: Space,
        ipa: Va,
        access: Access,
        why: Outcome,
    ) -> bool {
        let changes = cpu.changes();
        let seq = self.host.mmu_invalidate_seq.read(cpu).await;
        // Unnoticed: a load of a descriptor is taken to be no earlier than any load before it.
        cpu.smp_rmb().await;
        let trans = self.kvm_walk_nested_s2(cpu, vm, ipa).await;
        // kvm_s2_handle_perm_fault.
        if !trans.permits(access) || !trans.desc.accessed() {
            return self.kvm_inject_s2_fault(cpu, vm, ipa, access).await;
        }
        self.host.mmu_lock.read_lock(cpu).await;
        if self.host.mmu_invalidate_seq.read(cpu).await != seq {
            cpu.goal(GOAL_OVERTAKEN);
            self.host.mmu_lock.read_unlock(cpu).await;
            return true;
        }
        // rcu_read_lock.
        let irqs_were_off = cpu.local_irq_save().await;
        let done = self.host.user_mem_abort(cpu, vm, ipa, trans, why).await;
        if !irqs_were_off {
            cpu.local_irq_enable().await;
        }
        self.host.mmu_lock.read_unlock(cpu).await;
        if done == Err(Stop::Locked) {
            // The guest would fault again and again.
            cpu.await_change(changes).await;
        }
        done != Err(Stop::NoMemory)
    }

    /// L1's handler, to which the fault goes; whether it finds that there is nothing amiss.
    async fn kvm_inject_s2_fault(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, access: Access) -> bool {
        // Unnoticed by kvm-nested-16k: its L1 changes permissions only, and an early look makes one
        // more fault.
        self.lock[vm.0 as usize].lock(cpu).await;
        let (at, trans) = self.leaf(cpu, vm, ipa).await;
        let permits = trans.permits(access);
        if permits {
            cpu.goal(GOAL_INJECTED);
            if !trans.desc.accessed() {
                self.accessed(cpu, vm, ipa, at, trans.desc).await;
            }
        }
        self.lock[vm.0 as usize].unlock(cpu).await;
        permits
    }
}

impl Shadows {
    /// What of `user_mem_abort` there is under mmu_lock.
    async fn user_mem_abort(
        &self,
        cpu: Cpu<'_>,
        vm: Space,
        ipa: Va,
        trans: Trans,
        why: Outcome,
    ) -> Result<(), Stop> {
        let mmu = self.hw_mmu(cpu).await;
        let guest_size = level_size(trans.level);
        let phys = trans.desc.addr() + ipa % guest_size;
        let size = guest_size.min(host_size(phys));
        if guest_size == BLOCK {
            cpu.goal(if size == BLOCK {
                GOAL_BLOCK
            } else {
                GOAL_SPLINTER
            });
        }
        let (old, level) = self.pgt.get_leaf(cpu, mmu, ipa).await;
        let writable = trans.desc.writable(Stage::Two);
        if why == Outcome::Permission && old.valid() && level_size(level) == size {
            return self.pgt.relax_perms(cpu, mmu, ipa, writable).await;
        }
        let guest_level = match self.look {
            Look::Nowhere => 0,
            _ if self.dev.host_level => {
                if size == BLOCK {
                    2
                } else {
                    3
                }
            }
            _ => self.granule.level(trans.level),
        };
        let map = Mapping {
            addr: ipa / size * size,
            size,
            phys: phys / size * size,
            writable,
            guest_level,
            memcache: vm,
        };
        self.pgt.map(cpu, mmu, map, Mode::Shared).await
    }
}
