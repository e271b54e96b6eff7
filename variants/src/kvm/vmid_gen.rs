// SPDX-License-Identifier: GPL-2.0-only
//! The VMID generations that KVM had until 2021 (A2, 2a): `virt/kvm/arm/arm.c`.
//!
//! Numbers are handed out in order. When they run out, every CPU is made to leave its guest,
//! everything is flushed, and each VM takes a new number before it is entered again.

use super::host::Allocator;
use super::tlb::__kvm_flush_vm_context;
use crate::Defect;
use crate::consequences::{ALIASED, DIVERGED};
use shootdown_machine::{Boot, Cpu, Dsb, Lock, Shared, Space};

/// B-13a: the generation is there before the number that it vouches for.
pub const GEN_FIRST: Defect = Defect {
    name: "B-13a",
    about: "a VM's vmid_gen is written before its vmid",
    source: "before f0cf47d939d0 \"KVM: arm/arm64: Close VMID generation race\"",
    breaks: &[DIVERGED, ALIASED],
    needs: &[],
};

/// B-13b: the lock that was to close it is not taken where it counts.
pub const RWLOCK: Defect = Defect {
    name: "B-13b",
    about: "the fast path takes the lock, the last check before the guest does not; \
            vmid_gen is still written before vmid",
    source: "f0cf47d939d0, fixed by fb544d1ca65a \"KVM: arm/arm64: Fix VMID alloc race by \
             reverting to lock-less\"",
    breaks: &[DIVERGED, ALIASED],
    needs: &[],
};

/// The fix without its barrier for stores.
pub const NO_WMB: Defect = Defect {
    name: "B-13-no-wmb",
    about: "no smp_wmb between the stores of vmid and of vmid_gen",
    source: "derived from fb544d1ca65a",
    breaks: &[DIVERGED, ALIASED],
    needs: &[],
};

/// The fix as merged, on VHE: nothing orders the read of `vmid` behind that of `vmid_gen`.
pub const NO_RMB: Defect = Defect {
    name: "B-13-no-rmb",
    about: "vmid may be read before the vmid_gen that vouches for it, as on VHE until 2021",
    source: "fb544d1ca65a as merged: its smp_rmb is before the read of vmid_gen; found here",
    breaks: &[DIVERGED, ALIASED],
    needs: &[],
};

/// Places worth reaching.
pub const GOALS: &[&str] = &[GOAL_ROLLOVER, GOAL_RECHECK, GOAL_AGAIN];
const GOAL_ROLLOVER: &str = "new generation";
const GOAL_RECHECK: &str = "another vCPU has taken a VMID meanwhile";
const GOAL_AGAIN: &str = "generation has changed before the guest is entered";

/// The allocator's state.
#[derive(Debug)]
pub struct Generations {
    num_vmids: u64,
    kvm_vmid_gen: Shared<u64>,
    kvm_next_vmid: Shared<u64>,
    kvm_vmid_lock: Lock,
    /// `kvm->arch.vmid`.
    vmid: [Shared<u64>; 8],
    /// `kvm->arch.vmid_gen`.
    vmid_gen: [Shared<u64>; 8],
    gen_first: bool,
    rwlock: bool,
    no_wmb: bool,
    no_rmb: bool,
}

impl Generations {
    /// The first VM to run begins a generation.
    pub fn boot(boot: &Boot<'_>) -> Generations {
        Generations {
            num_vmids: boot.config().tags as u64,
            kvm_vmid_gen: boot.var("kvm_vmid_gen", 1),
            kvm_next_vmid: boot.var("kvm_next_vmid", 0),
            kvm_vmid_lock: boot.lock("kvm_vmid_lock"),
            vmid: boot.vars("vmid.id", 0),
            vmid_gen: boot.vars("vmid_gen", 0),
            gen_first: boot.has(GEN_FIRST.name) || boot.has(RWLOCK.name),
            rwlock: boot.has(RWLOCK.name),
            no_wmb: boot.has(NO_WMB.name),
            no_rmb: boot.has(NO_RMB.name),
        }
    }

    async fn need_new_vmid_gen(&self, cpu: Cpu<'_>, vm: Space) -> bool {
        let current_vmid_gen = self.kvm_vmid_gen.read(cpu).await;
        // Unnoticed: an older kvm_vmid_gen than vmid_gen only means another try, and one that
        // is old altogether that the rollover still waits for this CPU.
        cpu.smp_rmb().await;
        self.vmid_gen[vm.0 as usize].read(cpu).await != current_vmid_gen
    }

    /// An IPI to everyone, and its acknowledgement: no guest runs under an old VMID then.
    async fn force_vm_exit(&self, cpu: Cpu<'_>) {
        for other in (0..cpu.config().cpus).filter(|c| *c != cpu.id()) {
            cpu.send_ipi(other, 0).await;
        }
        cpu.wait_ipis().await;
    }

    /// `update_vttbr`.
    async fn update_vttbr(&self, cpu: Cpu<'_>, vm: Space) {
        // A reader here keeps other readers out, too; none of them changes anything.
        if self.rwlock {
            self.kvm_vmid_lock.lock(cpu).await;
        }
        let new = self.need_new_vmid_gen(cpu, vm).await;
        if self.rwlock {
            self.kvm_vmid_lock.unlock(cpu).await;
        }
        if !new {
            return;
        }
        cpu.slow_path();
        self.kvm_vmid_lock.lock(cpu).await;
        if self.need_new_vmid_gen(cpu, vm).await {
            self.take_vmid(cpu, vm).await;
        } else {
            cpu.goal(GOAL_RECHECK);
        }
        self.kvm_vmid_lock.unlock(cpu).await;
    }

    async fn take_vmid(&self, cpu: Cpu<'_>, vm: Space) {
        if self.kvm_next_vmid.read(cpu).await == 0 {
            cpu.goal(GOAL_ROLLOVER);
            self.kvm_vmid_gen.add_return_relaxed(cpu, 1).await;
            // Unnoticed: a VM would get number 0, which is the host's on nVHE and nobody's here.
            self.kvm_next_vmid.write(cpu, 1).await;
            self.force_vm_exit(cpu).await;
            __kvm_flush_vm_context(cpu, Dsb::Ishst).await;
        }
        if self.gen_first {
            self.write_gen(cpu, vm).await;
        }
        let next = self.kvm_next_vmid.read(cpu).await;
        self.kvm_next_vmid
            .write(cpu, (next + 1) % self.num_vmids)
            .await;
        self.vmid[vm.0 as usize].write(cpu, next).await;
        if !self.gen_first {
            if !self.no_wmb {
                // Unnoticed: rarely met at random; its loss is the defect B-13-no-wmb.
                cpu.smp_wmb().await;
            }
            self.write_gen(cpu, vm).await;
        }
    }

    async fn write_gen(&self, cpu: Cpu<'_>, vm: Space) {
        let current = self.kvm_vmid_gen.read(cpu).await;
        self.vmid_gen[vm.0 as usize].write(cpu, current).await;
    }
}

impl Allocator for Generations {
    fn id(&self) -> [Shared<u64>; 8] {
        self.vmid
    }

    async fn update(&self, cpu: Cpu<'_>, vm: Space) {
        self.update_vttbr(cpu, vm).await;
    }

    async fn confirm(&self, cpu: Cpu<'_>, vm: Space) -> bool {
        // smp_store_mb of vcpu->mode. An IPI from here on waits until the guest is left.
        // Unnoticed: a rollover whose IPI was taken is seen, and one whose IPI was not waits for
        // this CPU.
        cpu.smp_mb().await;
        if self.need_new_vmid_gen(cpu, vm).await {
            cpu.goal(GOAL_AGAIN);
            return false;
        }
        if !self.no_rmb {
            // Not in Linux: nVHE goes through HVC here, which has the same effect, VHE through
            // nothing.
            // Unnoticed: rarely met at random; its loss is the defect B-13-no-rmb.
            cpu.smp_rmb().await;
        }
        true
    }

    /// A VM keeps its VMID for the rest of the generation.
    async fn put(&self, _cpu: Cpu<'_>) {}

    /// `kvm_arch_init_vm`.
    async fn init(&self, cpu: Cpu<'_>, vm: Space) {
        self.vmid_gen[vm.0 as usize].write(cpu, 0).await;
    }
}
