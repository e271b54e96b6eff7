// SPDX-License-Identifier: GPL-2.0-only
//! Shadow stage 2s: who has which, and who takes over whose.

use super::defects::Deviations;
use super::vncr::Vncr;
use super::{Granule, Look};
use crate::kvm::host::Allocator;
use crate::kvm::pgtable::Pgtable;
use crate::kvm::tlb::Stage2Flush;
use crate::kvm::vmid::{Version, Vmids};
use shootdown_machine::arm64::ttbr;
use shootdown_machine::{Boot, Cpu, Domain, PAGE, PAGES, RwLock, Shared, Space, Use};

/// Places worth reaching.
pub const GOAL_RECYCLED: &str = "a shadow stage 2 is taken over from another VM";
/// As above.
pub const GOAL_HELP: &str = "a shadow stage 2 has been emptied by another vCPU";

/// `kvm_s2_mmu_valid`: a guest's VTTBR never has this bit here, which is CnP's.
pub(super) const INVALID: u64 = 1;

/// `kvm->arch.nested_mmus`. Each is numbered, and that number is a VM's for the stage-2 code.
#[derive(Debug)]
pub struct Shadows {
    pub(super) pgt: Pgtable,
    vmids: Vmids,
    pgd: [u64; 8],
    /// How many there are. The kernel has two for each vCPU; with fewer, they are taken over
    /// sooner.
    pub(super) nested_mmus_size: u8,
    nested_mmus_next: Shared<u64>,
    /// `kvm->mmu_lock`.
    pub(super) mmu_lock: RwLock,
    pub(super) mmu_invalidate_seq: Shared<u64>,
    /// Guest VMID and table of each.
    pub(super) tlb_vttbr: [Shared<u64>; 8],
    refcnt: [Shared<u64>; 8],
    pending_unmap: [Shared<u64>; 8],
    /// The one that each vCPU has loaded.
    hw_mmu: [Shared<u64>; 4],
    /// KVM_REQ_NESTED_S2_UNMAP.
    requests: [Shared<u64>; 4],
    pub(super) vncr: Vncr,
    pub(super) look: Look,
    pub(super) granule: Granule,
    pub(super) dev: Deviations,
}

impl Shadows {
    /// Sets them up, with nothing in them.
    pub fn boot(boot: &Boot<'_>, look: Look, granule: Granule) -> Shadows {
        let config = boot.config();
        let nested_mmus_size = config.cpus + 1;
        let vmids = Vmids::boot_for(boot, Version::V4, "nested_mmus.vmid");
        let pgd = core::array::from_fn(|i| {
            if i >= nested_mmus_size as usize {
                return 0;
            }
            let root = boot.reserved_table();
            boot.page_count(root, 1);
            root
        });
        let pgd_phys = boot.vars_from("nested_mmus.pgd_phys", pgd);
        let cnp = config.domain == Domain::Smt;
        let flush = Stage2Flush::boot(boot, vmids.id(), pgd_phys, cnp, true, false);
        Shadows {
            pgt: Pgtable::new(boot, false, flush, pgd_phys),
            vmids,
            pgd,
            nested_mmus_size,
            nested_mmus_next: boot.var("nested_mmus_next", 0),
            mmu_lock: boot.rw_lock("mmu_lock"),
            mmu_invalidate_seq: boot.var("mmu_invalidate_seq", 0),
            tlb_vttbr: boot.vars("nested_mmus.tlb_vttbr", INVALID),
            refcnt: boot.vars("nested_mmus.refcnt", 0),
            pending_unmap: boot.vars("nested_mmus.pending_unmap", 0),
            hw_mmu: boot.vars("hw_mmu", 0),
            requests: boot.vars("requests", 0),
            vncr: Vncr::boot(boot),
            look,
            granule,
            dev: Deviations::boot(boot),
        }
    }

    /// The shadow stage 2 that this CPU's vCPU has loaded.
    pub(super) async fn hw_mmu(&self, cpu: Cpu<'_>) -> Space {
        Space(self.hw_mmu[cpu.id() as usize].read(cpu).await as u8)
    }

    /// `lookup_s2_mmu`. mmu_lock is held for writing.
    async fn lookup_s2_mmu(&self, cpu: Cpu<'_>, vttbr: u64) -> Option<Space> {
        for i in 0..self.nested_mmus_size {
            if self.tlb_vttbr[i as usize].read(cpu).await == vttbr {
                return Some(Space(i));
            }
        }
        None
    }

    /// The second half of `get_s2_mmu_nested`: one that nobody has loaded, whosever it was.
    async fn take_over(&self, cpu: Cpu<'_>, vttbr: u64) -> Space {
        let size = self.nested_mmus_size as u64;
        let next = self.nested_mmus_next.read(cpu).await;
        let mut i = next;
        while self.refcnt[(i % size) as usize].read(cpu).await != 0 && !self.dev.in_use {
            i += 1;
            if i == next + size {
                cpu.warn("every shadow stage 2 is in use");
                break;
            }
        }
        let mmu = (i % size) as usize;
        // Unnoticed: only says where the next search begins.
        self.nested_mmus_next.write(cpu, (i + 1) % size).await;
        if self.tlb_vttbr[mmu].read(cpu).await != INVALID {
            cpu.goal(GOAL_RECYCLED);
            self.pending_unmap[mmu].write(cpu, 1).await;
        }
        self.tlb_vttbr[mmu].write(cpu, vttbr).await;
        Space(mmu as u8)
    }

    /// `get_s2_mmu_nested`. What it has taken over is emptied before any vCPU uses it: each asks
    /// for that, whoever has done so before.
    async fn get_s2_mmu_nested(&self, cpu: Cpu<'_>, vttbr: u64) -> Space {
        let mmu = match self.lookup_s2_mmu(cpu, vttbr).await {
            Some(mmu) => mmu,
            None => self.take_over(cpu, vttbr).await,
        };
        let i = mmu.0 as usize;
        self.refcnt[i].add_return(cpu, 1).await;
        let pending = self.pending_unmap[i].read(cpu).await;
        self.requests[cpu.id() as usize].write(cpu, pending).await;
        mmu
    }

    /// `kvm_vcpu_load_hw_mmu` and the rest of `kvm_arch_vcpu_load`.
    pub async fn kvm_vcpu_load(&self, cpu: Cpu<'_>, vm: Space, vttbr: u64) {
        self.mmu_lock.write_lock(cpu).await;
        let mmu = self.get_s2_mmu_nested(cpu, vttbr).await;
        self.mmu_lock.write_unlock(cpu).await;
        let me = cpu.id() as usize;
        self.hw_mmu[me].write(cpu, mmu.0 as u64).await;
        self.pgt.flush.set_running(cpu, Some(mmu)).await;
        if self.requests[me].read(cpu).await == 0 {
            cpu.lend_root(self.pgd[mmu.0 as usize], Some(vm));
        }
        self.vmids.update(cpu, mmu).await;
        self.pgt.flush.__load_stage2(cpu, mmu).await;
    }

    /// `kvm_arch_vcpu_put`. VTTBR keeps what it has.
    pub async fn kvm_vcpu_put(&self, cpu: Cpu<'_>) {
        self.vmids.put(cpu).await;
        self.pgt.flush.set_running(cpu, None).await;
        let mmu = self.hw_mmu(cpu).await;
        self.refcnt[mmu.0 as usize].add_return(cpu, u64::MAX).await;
    }

    /// `check_nested_vcpu_requests`.
    pub async fn check_nested_vcpu_requests(&self, cpu: Cpu<'_>, vm: Space) {
        let me = cpu.id() as usize;
        if self.requests[me].read(cpu).await == 0 {
            return;
        }
        // Unnoticed: without it, each entry looks whether there is something to do.
        self.requests[me].write(cpu, 0).await;
        let mmu = self.hw_mmu(cpu).await;
        let pending = &self.pending_unmap[mmu.0 as usize];
        self.mmu_lock.write_lock(cpu).await;
        if pending.read(cpu).await != 0 {
            if !self.dev.not_emptied {
                let all = PAGES as u64 * PAGE;
                self.pgt.unmap(cpu, mmu, 0, all).await;
            }
            // Unnoticed: without it, each vCPU that loads it empties it again.
            pending.write(cpu, 0).await;
        } else {
            cpu.goal(GOAL_HELP);
        }
        cpu.lend_root(self.pgd[mmu.0 as usize], Some(vm));
        self.mmu_lock.write_unlock(cpu).await;
    }

    /// Ghost: a VM of L1's ends, and with it what the judge counts as its own.
    pub(super) fn forget(&self, cpu: Cpu<'_>, vm: Space) {
        for root in self.pgd {
            let owner = cpu.with(|state| state.mem.frame(root).usage);
            if matches!(owner, Use::Table(Some(life)) if life.space == vm) {
                cpu.lend_root(root, None);
            }
        }
    }

    /// Whether two VTTBRs have one VMID.
    pub(super) fn same_vmid(a: u64, b: u64) -> bool {
        ttbr::tag(a) == ttbr::tag(b)
    }
}
