// SPDX-License-Identifier: GPL-2.0-only
//! The VMID allocator of 2021 (A2), in the versions it had: `arch/arm64/kvm/vmid.c`.

use super::host::Allocator;
use super::tlb::__kvm_flush_vm_context;
use super::vmid_pin::Pins;
use crate::Defect;
use crate::consequences::{ALIASED, DIVERGED};
use shootdown_machine::arm64::{Kind, Tlbi};
use shootdown_machine::{Boot, Cpu, Done, Dsb, Lock, Shared, Space};

/// Bits of a VMID: the first generation is 1 << VMID_BITS.
const VMID_BITS: u32 = 8;
const VMID_FIRST_VERSION: u64 = 1 << VMID_BITS;

/// Generation 1, number 0: not 0, so that the fast path may be taken, and never handed out.
const VMID_ACTIVE_INVALID: u64 = VMID_FIRST_VERSION;

/// B-14: neither the fast path nor a rollover exchanges active_vmids.
pub const NO_XCHG: Defect = Defect {
    name: "B-14",
    about: "interim version: fast path stores active_vmids plainly, a rollover only reads it",
    source: "interim diff of Aug to Oct 2021, failed an overnight stress test",
    breaks: &[ALIASED, DIVERGED],
    needs: &[],
};

/// B-14, the other half of the sketch: the slow path does not look again under the lock.
pub const ALWAYS_NEW: Defect = Defect {
    name: "B-14-always-new",
    about: "interim version: slow path allocates without looking whether another vCPU has done so meanwhile",
    source: "interim diff of Aug to Oct 2021, failed an overnight stress test",
    breaks: &[DIVERGED],
    needs: &[],
};

/// The INVALID marker together with a local flush.
pub const INVALID_LOCAL: Defect = Defect {
    name: "invalid-local-flush",
    about: "rollover leaves flushing to each CPU, though a vCPU put may hide the rollover",
    source: "derived from v2 (16 Jun 2021) with VMID_ACTIVE_INVALID of v4 (Nov 2021)",
    breaks: &[ALIASED],
    needs: &[],
};

/// INVALID_VMID handed out.
pub const FROM_ZERO: Defect = Defect {
    name: "from-zero",
    about: "the search for a number begins at 0, as if INVALID_VMID were a VM's like any other",
    source: "derived from the question of Catalin Marinas, 19 Jan 2022, whether it ever is",
    breaks: &[&["allocator-exhaustion"]],
    needs: &[],
};

/// Places worth reaching, in any version.
pub const GOALS: &[&str] = &[
    GOAL_ROLLOVER,
    GOAL_ROLLOVER_FAST,
    GOAL_RESERVED,
    GOAL_AGAIN,
    GOAL_KEPT,
];
/// The same, and those of version 2.
pub const GOALS_V2: &[&str] = &[
    GOAL_ROLLOVER,
    GOAL_ROLLOVER_FAST,
    GOAL_RESERVED,
    GOAL_AGAIN,
    GOAL_KEPT,
    GOAL_PENDING,
];
/// Those of version 2, and of the RFC before it.
pub const GOALS_V1: &[&str] = &[
    GOAL_ROLLOVER,
    GOAL_ROLLOVER_FAST,
    GOAL_RESERVED,
    GOAL_AGAIN,
    GOAL_KEPT,
    GOAL_PENDING,
    GOAL_PINNED,
];
/// The same, and those of version 4.
pub const GOALS_V4: &[&str] = &[
    GOAL_ROLLOVER,
    GOAL_ROLLOVER_FAST,
    GOAL_RESERVED,
    GOAL_AGAIN,
    GOAL_KEPT,
    GOAL_INVALID,
];
const GOAL_ROLLOVER: &str = "rollover";
const GOAL_ROLLOVER_FAST: &str = "rollover while another CPU is on its fast path";
const GOAL_RESERVED: &str = "VM finds its VMID reserved";
const GOAL_AGAIN: &str = "rollover keeps what an earlier one has reserved";
const GOAL_KEPT: &str = "old VMID still free in the new generation";
const GOAL_PENDING: &str = "slow path with a flush pending";
const GOAL_PINNED: &str = "VM has its VMID pinned";
const GOAL_INVALID: &str = "rollover finds VMID_ACTIVE_INVALID";
const FAST: &str = "fast path";

/// The versions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// RFC: as version 2, and VMIDs may be pinned for a device.
    V1,
    /// As the ASID allocator: each CPU flushes for itself, and nothing happens when a vCPU is put.
    V2,
    /// A rollover flushes everywhere; a put makes active_vmids 0, so that each load takes the lock.
    V3,
    /// As merged: a put makes it VMID_ACTIVE_INVALID.
    V4,
}

/// The number of a VMID without its generation.
pub(crate) fn idx(vmid: u64) -> u64 {
    vmid & (VMID_FIRST_VERSION - 1)
}

/// The allocator's state.
#[derive(Debug)]
pub struct Vmids {
    num_vmids: u64,
    vmid_generation: Shared<u64>,
    vmid_map: Shared<u64>,
    cur_idx: Shared<u64>,
    active_vmids: [Shared<u64>; 4],
    reserved_vmids: [Shared<u64>; 4],
    pub(super) cpu_vmid_lock: Lock,
    /// Only with a local flush.
    tlb_flush_pending: Shared<u64>,
    /// `mmu->vmid.id`.
    pub(super) id: [Shared<u64>; 8],
    version: Version,
    no_xchg: bool,
    always_new: bool,
    /// The first number that may be handed out.
    first: u64,
    local: bool,
    /// Before the broadcast flush.
    flush_dsb: Dsb,
    pins: Option<Pins>,
}

impl Vmids {
    /// `kvm_arm_vmid_alloc_init`.
    pub fn boot(boot: &Boot<'_>, version: Version) -> Vmids {
        Vmids::boot_for(boot, version, "vmid.id")
    }

    /// The same for stage 2s that are not one to a VM; what their VMIDs are called.
    pub fn boot_for(boot: &Boot<'_>, version: Version, id: &'static str) -> Vmids {
        let first = if boot.has(FROM_ZERO.name) { 0 } else { 1 };
        Vmids {
            num_vmids: boot.config().tags as u64,
            vmid_generation: boot.var("vmid_generation", VMID_FIRST_VERSION),
            vmid_map: boot.var("vmid_map", 0),
            cur_idx: boot.var("cur_idx", first),
            active_vmids: boot.vars("active_vmids", 0),
            reserved_vmids: boot.vars("reserved_vmids", 0),
            cpu_vmid_lock: boot.lock("cpu_vmid_lock"),
            tlb_flush_pending: boot.var("tlb_flush_pending", 0),
            id: boot.vars(id, 0),
            no_xchg: boot.has(NO_XCHG.name),
            always_new: boot.has(ALWAYS_NEW.name),
            first,
            local: matches!(version, Version::V1 | Version::V2) || boot.has(INVALID_LOCAL.name),
            flush_dsb: Dsb::Ishst,
            pins: (version == Version::V1).then(|| Pins::boot(boot)),
            version,
        }
    }

    /// The same called from the host of nVHE, which is at EL1: the flush waits for its walks.
    pub fn nvhe(mut self) -> Vmids {
        self.flush_dsb = Dsb::Ish;
        self
    }

    pub(super) async fn vmid_gen_match(&self, cpu: Cpu<'_>, vmid: u64) -> bool {
        (vmid ^ self.vmid_generation.read(cpu).await) >> VMID_BITS == 0
    }

    async fn flush_context(&self, cpu: Cpu<'_>) {
        cpu.goal(GOAL_ROLLOVER);
        if cpu.another_in(FAST) {
            cpu.goal(GOAL_ROLLOVER_FAST);
        }
        let mut map = match &self.pins {
            Some(pins) => pins.map_at_rollover(cpu).await,
            None => 0,
        };
        for i in 0..cpu.config().cpus as usize {
            let mut vmid = if self.no_xchg {
                self.active_vmids[i].read(cpu).await
            } else {
                self.active_vmids[i].xchg_relaxed(cpu, 0).await
            };
            if vmid == VMID_ACTIVE_INVALID {
                cpu.goal(GOAL_INVALID);
            }
            // No vCPU has been loaded there since the last rollover: keep what was
            // reserved then.
            if vmid == 0 {
                vmid = self.reserved_vmids[i].read(cpu).await;
                if vmid != 0 {
                    cpu.goal(GOAL_AGAIN);
                }
            }
            map |= 1 << idx(vmid);
            self.reserved_vmids[i].write(cpu, vmid).await;
        }
        self.vmid_map.write(cpu, map).await;
        if self.local {
            self.tlb_flush_pending
                .write(cpu, (1 << cpu.config().cpus) - 1)
                .await;
        } else {
            __kvm_flush_vm_context(cpu, self.flush_dsb).await;
        }
    }

    async fn __kvm_tlb_flush_local_all(&self, cpu: Cpu<'_>) {
        // Unnoticed: descriptors are changed under locks, whose release makes them visible.
        cpu.dsb(Dsb::Nshst).await;
        cpu.tlbi(Tlbi::all(Kind::Alle1)).await;
        cpu.dsb(Dsb::Nsh).await;
    }

    async fn check_update_reserved_vmid(&self, cpu: Cpu<'_>, vmid: u64, newvmid: u64) -> bool {
        let mut hit = false;
        for i in 0..cpu.config().cpus as usize {
            if self.reserved_vmids[i].read(cpu).await == vmid {
                hit = true;
                self.reserved_vmids[i].write(cpu, newvmid).await;
            }
        }
        hit
    }

    async fn find_next_zero_bit(&self, cpu: Cpu<'_>, from: u64) -> Option<u64> {
        let map = self.vmid_map.read(cpu).await;
        (from..self.num_vmids).find(|i| map >> i & 1 == 0)
    }

    /// `new_vmid`: writes `vmid.id` itself, at each way out.
    pub(super) async fn new_vmid(&self, cpu: Cpu<'_>, vm: Space) -> u64 {
        let id = &self.id[vm.0 as usize];
        let vmid = id.read(cpu).await;
        let mut generation = self.vmid_generation.read(cpu).await;
        if vmid != 0 {
            let newvmid = generation | idx(vmid);
            if self.check_update_reserved_vmid(cpu, vmid, newvmid).await {
                cpu.goal(GOAL_RESERVED);
                id.write(cpu, newvmid).await;
                return newvmid;
            }
            if let Some(pins) = &self.pins
                && pins.pinned[vm.0 as usize].read(cpu).await != 0
            {
                cpu.goal(GOAL_PINNED);
                // Unnoticed: the number stays while the VM is pinned; it takes an unpin, and one
                // more rollover while it runs, for the generation to matter.
                id.write(cpu, newvmid).await;
                return newvmid;
            }
            if self.vmid_map.fetch_or(cpu, 1 << idx(vmid)).await >> idx(vmid) & 1 == 0 {
                cpu.goal(GOAL_KEPT);
                id.write(cpu, newvmid).await;
                return newvmid;
            }
        }
        let cur_idx = self.cur_idx.read(cpu).await;
        let mut found = self.find_next_zero_bit(cpu, cur_idx).await;
        if found.is_none() {
            generation = self
                .vmid_generation
                .add_return_relaxed(cpu, VMID_FIRST_VERSION)
                .await;
            self.flush_context(cpu).await;
            found = self.find_next_zero_bit(cpu, self.first).await;
        }
        let Some(number) = found else {
            cpu.warn("no VMID is free after a rollover");
            return generation | 1;
        };
        self.vmid_map.fetch_or(cpu, 1 << number).await;
        // Unnoticed: only says where the next search begins.
        self.cur_idx.write(cpu, number).await;
        id.write(cpu, generation | number).await;
        generation | number
    }

    /// `kvm_arm_vmid_clear_active`: called when a vCPU is put. A plain store, which may
    /// overwrite the 0 of a concurrent rollover.
    async fn kvm_arm_vmid_clear_active(&self, cpu: Cpu<'_>) {
        let none = match self.version {
            Version::V1 | Version::V2 => return,
            Version::V3 => 0,
            Version::V4 => VMID_ACTIVE_INVALID,
        };
        self.active_vmids[cpu.id() as usize]
            // Unnoticed: as in version 2, a rollover then reserves the VMID of a VM that is
            // not loaded: that costs numbers, not safety.
            .write(cpu, none)
            .await;
    }

    /// Number 0 is nobody's, so that VMID_ACTIVE_INVALID cannot be taken for a VM's.
    fn check(&self, cpu: Cpu<'_>, vmid: u64) {
        if idx(vmid) == 0 {
            cpu.warn("a VM has INVALID_VMID");
        }
    }

    /// `kvm_arm_vmid_update`: gives a VM a VMID of this generation. Preemption is off.
    async fn kvm_arm_vmid_update(&self, cpu: Cpu<'_>, vm: Space) {
        let me = cpu.id() as usize;
        let vmid = self.id[vm.0 as usize].read(cpu).await;
        cpu.phase(FAST);
        let fast = if self.no_xchg {
            let fast = self.vmid_gen_match(cpu, vmid).await;
            if fast {
                self.active_vmids[me].write(cpu, vmid).await;
            }
            fast
        } else {
            let old_active_vmid = self.active_vmids[me].read(cpu).await;
            old_active_vmid != 0
                && self.vmid_gen_match(cpu, vmid).await
                && self.active_vmids[me]
                    .cmpxchg_relaxed(cpu, old_active_vmid, vmid)
                    .await
                    != 0
        };
        cpu.phase("");
        if fast {
            self.check(cpu, vmid);
            return;
        }
        cpu.slow_path();
        let irqs_were_off = cpu.local_irq_save().await;
        self.cpu_vmid_lock.lock(cpu).await;
        let mut vmid = self.id[vm.0 as usize].read(cpu).await;
        if self.always_new || !self.vmid_gen_match(cpu, vmid).await {
            vmid = self.new_vmid(cpu, vm).await;
        }
        if self.local && self.tlb_flush_pending.fetch_andnot(cpu, 1 << me).await >> me & 1 != 0 {
            cpu.goal(GOAL_PENDING);
            self.__kvm_tlb_flush_local_all(cpu).await;
        }
        self.check(cpu, vmid);
        // Unnoticed: of shadow stage 2s there are no more than VMIDs, and so no rollovers.
        self.active_vmids[me].write(cpu, vmid).await;
        self.cpu_vmid_lock.unlock(cpu).await;
        if !irqs_were_off {
            cpu.local_irq_enable().await;
        }
    }
}

impl Allocator for Vmids {
    fn id(&self) -> [Shared<u64>; 8] {
        self.id
    }

    async fn update(&self, cpu: Cpu<'_>, vm: Space) {
        self.kvm_arm_vmid_update(cpu, vm).await;
    }

    async fn put(&self, cpu: Cpu<'_>) {
        self.kvm_arm_vmid_clear_active(cpu).await;
    }

    async fn pin(&self, cpu: Cpu<'_>, vm: Space) -> Done {
        match &self.pins {
            Some(pins) => self.kvm_arm_pinned_vmid_get(cpu, pins, vm).await,
            None => Done::No,
        }
    }

    async fn unpin(&self, cpu: Cpu<'_>, vm: Space) -> Done {
        match &self.pins {
            Some(pins) => self.kvm_arm_pinned_vmid_put(cpu, pins, vm, false).await,
            None => Done::No,
        }
    }

    async fn init(&self, cpu: Cpu<'_>, vm: Space) {
        if let Some(pins) = &self.pins {
            self.kvm_arm_pinned_vmid_put(cpu, pins, vm, true).await;
        }
        self.id[vm.0 as usize].write(cpu, 0).await;
    }
}
