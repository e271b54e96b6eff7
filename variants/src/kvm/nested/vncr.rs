// SPDX-License-Identifier: GPL-2.0-only
//! The software TLB for VNCR_EL2: of each vCPU, one translation of the page that holds the
//! registers of what its hypervisor runs. Linux 7.3, `nested.c`.
//!
//! L1 has such a page for each of its VMs, so that a vCPU that goes from one to another finds the
//! wrong one translated. Nothing is accessed through it here; what may be wrong is what another
//! CPU sees of it.

use super::shadow::Shadows;
use shootdown_machine::{Boot, Cpu, Shared, Space};

/// A place worth reaching.
pub const GOAL_EMPTY: &str = "a TLBI meets a VNCR TLB that is being filled";

/// `struct vncr_tlb`, of each vCPU.
#[derive(Debug)]
pub(super) struct Vncr {
    valid: [Shared<bool>; 4],
    /// What is translated: the number of the VM.
    gva: [Shared<u64>; 4],
    /// `wi.pgshift`; 0: it has not been looked for yet.
    pgshift: [Shared<u64>; 4],
}

impl Vncr {
    pub(super) fn boot(boot: &Boot<'_>) -> Vncr {
        Vncr {
            valid: boot.vars("vncr_tlb.valid", false),
            gva: boot.vars("vncr_tlb.gva", 0),
            pgshift: boot.vars("vncr_tlb.pgshift", 0),
        }
    }
}

impl Shadows {
    /// `kvm_handle_vncr_abort`: L1 has accessed the page of this VM.
    pub(super) async fn kvm_handle_vncr_abort(&self, cpu: Cpu<'_>, vm: Space) {
        if !self.kvm_vncr_tlb_lookup(cpu, vm).await {
            self.kvm_translate_vncr(cpu, vm).await;
        }
    }

    async fn kvm_vncr_tlb_lookup(&self, cpu: Cpu<'_>, vm: Space) -> bool {
        let me = cpu.id() as usize;
        // Unnoticed: nobody but this vCPU makes it valid.
        self.mmu_lock.read_lock(cpu).await;
        let valid = self.vncr.valid[me].read(cpu).await;
        let found = valid && self.vncr.gva[me].read(cpu).await == vm.0 as u64;
        self.mmu_lock.read_unlock(cpu).await;
        found
    }

    /// `kvm_translate_vncr`. What there was is void before its place is used for the walk.
    async fn kvm_translate_vncr(&self, cpu: Cpu<'_>, vm: Space) {
        let me = cpu.id() as usize;
        if !self.dev.vncr_unlocked {
            self.mmu_lock.write_lock(cpu).await;
        }
        // Unnoticed by kvm-nested-16k: its L1 unmaps nothing, and the TLB stays as it is.
        self.vncr.valid[me].write(cpu, false).await;
        // Unnoticed: nobody looks at it as long as it is void.
        self.vncr.pgshift[me].write(cpu, 0).await;
        if !self.dev.vncr_unlocked {
            self.mmu_lock.write_unlock(cpu).await;
        }
        // __kvm_translate_va.
        // Unnoticed by kvm-nested-16k: its L1 unmaps nothing, and nobody looks.
        self.vncr.pgshift[me].write(cpu, 12).await;
        self.mmu_lock.write_lock(cpu).await;
        // Unnoticed: the next access translates the page again.
        self.vncr.gva[me].write(cpu, vm.0 as u64).await;
        // Unnoticed: so does it then.
        self.vncr.valid[me].write(cpu, true).await;
        self.mmu_lock.write_unlock(cpu).await;
    }

    /// `kvm_handle_s1e2_tlbi`: a TLBI for an address of L1's own, where no VNCR page is.
    pub(super) async fn kvm_handle_s1e2_tlbi(&self, cpu: Cpu<'_>) {
        self.mmu_lock.write_lock(cpu).await;
        for i in 0..cpu.config().cpus as usize {
            // invalidate_vncr_va.
            if !self.vncr.valid[i].read(cpu).await {
                cpu.goal(GOAL_EMPTY);
                continue;
            }
            // pgshift_level_to_ttl.
            if self.vncr.pgshift[i].read(cpu).await == 0 {
                cpu.warn("a VNCR TLB is valid, and has no granule");
            }
        }
        self.mmu_lock.write_unlock(cpu).await;
    }
}
