// SPDX-License-Identifier: GPL-2.0-only
//! A host with its VMs, VHE or nVHE: who calls the VMID allocator, and when.
//!
//! `switch` is vCPU load, `sched_out` vCPU put, `touch` one turn of the run loop. The vCPU of
//! a VM that a CPU loads is always the same one.

use super::tlb::Stage2Flush;
use crate::consequences::{ALIASED, DIVERGED};
use crate::pgtable::{PageTables, page_table_ops};
use crate::{Defect, Source, Variant};
use core::fmt::Debug;
use core::marker::PhantomData;
use shootdown_machine::arm64::{HCR_TGE, HCR_VM, Reg, Stage};
use shootdown_machine::{
    Access, Boot, Cpu, Domain, Done, Dsb, OpKind, Outcome, Page, Prot, Shared, Space, Switch, Va,
};

/// Nothing between a put and a load orders what they do.
pub const NO_SWITCH_DSB: Defect = Defect {
    name: "no-switch-dsb",
    about: "no barrier between the put of one vCPU and the load of the next, as in a thread that \
            runs vCPUs of two VMs",
    source: "derived; __switch_to has a DSB, and the vCPU's mutex orders memory as well",
    breaks: &[ALIASED, DIVERGED],
    needs: &[],
};

/// B-16: walks of one guest are not over when the next is entered.
pub const NO_WALK_DSB: Defect = Defect {
    name: "B-16",
    about: "no DSB for walks in flight where VTTBR changes between guest and host",
    source: "55b5bac15939 \"KVM: arm64: nvhe: Synchronise with page table walker on vcpu run\", \
             7e1b2329c205 (the same for TLB operations)",
    breaks: &[ALIASED],
    needs: &[Switch::Inflight, Switch::LateTag],
};

/// How a host gives VMIDs to VMs.
pub trait Allocator: Debug + 'static {
    /// The VMID of each VM, with or without a generation above it.
    fn id(&self) -> [Shared<u64>; 8];
    /// Gives a VM a VMID that may be used now. Preemption is off.
    async fn update(&self, cpu: Cpu<'_>, vm: Space);
    /// Whether the VMID may still be used. Interrupts are masked until the guest is left.
    async fn confirm(&self, _cpu: Cpu<'_>, _vm: Space) -> bool {
        true
    }
    /// A vCPU is put.
    async fn put(&self, cpu: Cpu<'_>);
    /// A device uses the VM's VMID from now on: a rollover must leave it as it is.
    async fn pin(&self, _cpu: Cpu<'_>, _vm: Space) -> Done {
        Done::No
    }
    /// It does so no longer.
    async fn unpin(&self, _cpu: Cpu<'_>, _vm: Space) -> Done {
        Done::No
    }
    /// A new VM has no VMID.
    async fn init(&self, cpu: Cpu<'_>, vm: Space);
}

/// What a host is built with.
pub trait Flavour: 'static {
    /// See [`Variant`].
    const NAME: &'static str;
    /// See [`Variant`].
    const ABOUT: &'static str;
    /// See [`Variant`].
    const SOURCE: Source;
    /// See [`Variant`].
    const DEFECTS: &'static [Defect];
    /// See [`Variant`].
    const GOALS: &'static [&'static str];
    /// See [`Variant`].
    const OPS: &'static [OpKind] = OpKind::BASIC;
    /// The host is at EL1, and goes through EL2 to the guest and for TLB operations.
    const NVHE: bool = false;
    /// Stage 2 is loaded with the vCPU, not at each guest entry.
    const LOAD: bool = false;
    /// Its allocator.
    type Vmids: Allocator;
    /// Sets it up.
    fn vmids(boot: &Boot<'_>) -> Self::Vmids;
}

/// The second stage of a host's VMs; the operations are those of [`Variant`].
#[allow(missing_docs)]
pub trait Stage2: Debug + Sized + 'static {
    /// Sets it up; `flush` is given the variables with the root tables.
    fn boot(boot: &Boot<'_>, flush: impl FnOnce([Shared<u64>; 8]) -> Stage2Flush) -> Self;
    /// Its TLB operations.
    fn flush(&self) -> &Stage2Flush;
    async fn map(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, page: Page) -> Done;
    async fn unmap(&self, cpu: Cpu<'_>, vm: Space, ipa: Va) -> Done;
    async fn protect(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, prot: Prot) -> Done;
    async fn remap(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, page: Page) -> Done;
    async fn split(&self, cpu: Cpu<'_>, vm: Space, ipa: Va) -> Done;
    async fn collapse(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, page: Page) -> Done;
    async fn exit(&self, cpu: Cpu<'_>, vm: Space) -> Done;
    async fn clean(&self, _cpu: Cpu<'_>, _vm: Space, _ipa: Va) -> Done {
        Done::No
    }
    async fn age(&self, _cpu: Cpu<'_>, _vm: Space, _ipa: Va) -> Done {
        Done::No
    }
    /// Handles a guest's fault, out of the guest.
    async fn fault(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, access: Access, why: Outcome) -> bool;
}

/// Tables that are changed under a lock held for the whole change.
impl Stage2 for PageTables<Stage2Flush> {
    fn boot(boot: &Boot<'_>, flush: impl FnOnce([Shared<u64>; 8]) -> Stage2Flush) -> Self {
        PageTables::boot(boot, Stage::Two, "mmu_lock", flush)
    }
    fn flush(&self) -> &Stage2Flush {
        &self.flush
    }
    async fn map(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, page: Page) -> Done {
        self.map(cpu, vm, ipa, page).await
    }
    async fn unmap(&self, cpu: Cpu<'_>, vm: Space, ipa: Va) -> Done {
        self.unmap(cpu, vm, ipa).await
    }
    async fn protect(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, prot: Prot) -> Done {
        self.protect(cpu, vm, ipa, prot).await
    }
    async fn remap(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, page: Page) -> Done {
        self.remap(cpu, vm, ipa, page).await
    }
    async fn split(&self, cpu: Cpu<'_>, vm: Space, ipa: Va) -> Done {
        self.split(cpu, vm, ipa).await
    }
    async fn collapse(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, page: Page) -> Done {
        self.collapse(cpu, vm, ipa, page).await
    }
    async fn exit(&self, cpu: Cpu<'_>, vm: Space) -> Done {
        self.exit(cpu, vm).await
    }
    async fn fault(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, access: Access, why: Outcome) -> bool {
        self.fault(cpu, vm, ipa, access, why).await
    }
}

/// The VMs of a host, with second stages of type `T`.
#[derive(Debug)]
pub struct Vms<F: Flavour, T = PageTables<Stage2Flush>> {
    vmids: F::Vmids,
    tables: T,
    /// Only with [`Flavour::LOAD`].
    last_vcpu_ran: Option<[Shared<u64>; 4]>,
    no_switch_dsb: bool,
    no_walk_dsb: bool,
    flavour: PhantomData<F>,
}

impl<F: Flavour, T: Stage2> Vms<F, T> {
    /// `vcpu_load`, or a vCPU's thread being scheduled in.
    async fn vcpu_load(&self, cpu: Cpu<'_>, vm: Space) {
        let Some(last_vcpu_ran) = self.last_vcpu_ran else {
            return; // everything is done in the run loop
        };
        self.tables.flush().set_running(cpu, Some(vm)).await;
        self.vmids.update(cpu, vm).await;
        // A byte for each VM. One that is new has not run here, whatever the one before it did.
        let last = last_vcpu_ran[cpu.id() as usize];
        let (ran, shift) = (last.read(cpu).await, vm.0 as u32 * 8);
        let mine = (cpu.with(|state| state.life(vm).nth) as u64 + 1) & 0xff;
        if ran >> shift & 0xff != mine {
            self.tables.flush().__kvm_flush_cpu_context(cpu, vm).await;
            // Unnoticed: without it, each load flushes.
            last.write(cpu, ran & !(0xff << shift) | mine << shift)
                .await;
        }
        self.tables.flush().__load_stage2(cpu, vm).await;
    }

    /// `vcpu_put`. VTTBR keeps what it has.
    async fn vcpu_put(&self, cpu: Cpu<'_>) {
        self.vmids.put(cpu).await;
        self.tables.flush().set_running(cpu, None).await;
    }

    /// `vcpu_put`, and the barrier of `__switch_to`. A rollover's 0 that the put has overwritten
    /// is only made up for by a generation that is read after that store. And walks that the
    /// guest has begun are over.
    async fn sched_away(&self, cpu: Cpu<'_>) {
        self.vcpu_put(cpu).await;
        if !self.no_switch_dsb {
            // Unnoticed: where VTTBR is written at guest entry, only walks that outlive their
            // context need it (inflight).
            cpu.dsb(Dsb::Ish).await;
        }
    }

    /// EL2 of nVHE: on to the guest.
    async fn __kvm_vcpu_run_nvhe(&self, cpu: Cpu<'_>, vm: Space) {
        // Unnoticed: HVC; what was read before is older than what is read now.
        cpu.isb().await;
        if !self.no_walk_dsb {
            // Unnoticed: only walks of the host are still in flight, which are not modelled.
            cpu.dsb(Dsb::Nsh).await;
        }
        self.tables.flush().__load_stage2(cpu, vm).await;
        cpu.enter_guest().await;
    }

    /// EL2 of nVHE: back to the host.
    async fn __kvm_vcpu_exit_nvhe(&self, cpu: Cpu<'_>) {
        cpu.exit_guest().await;
        if !self.no_walk_dsb {
            // Unnoticed: without walks that outlive their context (switch `inflight`) there are
            // none to wait for.
            cpu.dsb(Dsb::Nsh).await;
        }
        // Unnoticed: whoever uses VTTBR next writes and synchronizes it first.
        cpu.write_sysreg(Reg::Vttbr, 0).await;
        // Unnoticed: ERET; as the write.
        cpu.isb().await;
    }
}

impl<F: Flavour, T: Stage2> Variant for Vms<F, T> {
    const NAME: &'static str = F::NAME;
    const ABOUT: &'static str = F::ABOUT;
    const SOURCE: Source = F::SOURCE;
    const OPS: &'static [OpKind] = F::OPS;
    const DEFECTS: &'static [Defect] = F::DEFECTS;
    const GOALS: &'static [&'static str] = F::GOALS;

    fn boot(boot: &Boot<'_>) -> Self {
        // A host at EL1 has VTTBR 0 and VMID 0, and walks of its own are not modelled.
        let tge = if F::NVHE { 0 } else { HCR_TGE };
        boot.sysreg(Reg::Hcr, HCR_VM | tge);
        let vmids = F::vmids(boot);
        let id = vmids.id();
        let cnp = boot.config().domain == Domain::Smt;
        let tables = T::boot(boot, |pgd_phys| {
            Stage2Flush::boot(boot, id, pgd_phys, cnp, F::LOAD, F::NVHE)
        });
        let last_vcpu_ran = F::LOAD.then(|| boot.vars("last_vcpu_ran", 0));
        Vms {
            vmids,
            tables,
            last_vcpu_ran,
            no_switch_dsb: boot.has(NO_SWITCH_DSB.name),
            no_walk_dsb: boot.has(NO_WALK_DSB.name),
            flavour: PhantomData,
        }
    }

    async fn switch_to(&self, cpu: Cpu<'_>, prev: Option<Space>, next: Space) {
        if prev.is_some() {
            self.sched_away(cpu).await;
        }
        self.vcpu_load(cpu, next).await;
    }

    async fn sched_out(&self, cpu: Cpu<'_>, _prev: Space) {
        self.sched_away(cpu).await;
    }

    /// The run loop up to the guest.
    async fn enter(&self, cpu: Cpu<'_>, vm: Space) {
        loop {
            if !F::LOAD {
                self.vmids.update(cpu, vm).await;
            }
            cpu.local_irq_save().await;
            if self.vmids.confirm(cpu, vm).await {
                break;
            }
            cpu.local_irq_enable().await;
        }
        if F::NVHE {
            return self.__kvm_vcpu_run_nvhe(cpu, vm).await;
        }
        if !F::LOAD {
            self.tables.flush().__load_stage2(cpu, vm).await;
        }
        cpu.write_sysreg(Reg::Hcr, HCR_VM).await;
        cpu.enter_guest().await;
    }

    async fn leave(&self, cpu: Cpu<'_>, _vm: Space) {
        if F::NVHE {
            self.__kvm_vcpu_exit_nvhe(cpu).await;
        } else {
            cpu.exit_guest().await;
            cpu.write_sysreg(Reg::Hcr, HCR_VM | HCR_TGE).await;
            // Unnoticed: whoever uses VTTBR or HCR next writes and synchronizes them first.
            cpu.isb().await;
        }
        cpu.local_irq_enable().await;
    }

    page_table_ops!();

    async fn clean(&self, cpu: Cpu<'_>, vm: Space, ipa: Va) -> Done {
        self.tables.clean(cpu, vm, ipa).await
    }

    async fn age(&self, cpu: Cpu<'_>, vm: Space, ipa: Va) -> Done {
        self.tables.age(cpu, vm, ipa).await
    }

    async fn pin(&self, cpu: Cpu<'_>, vm: Space) -> Done {
        self.vmids.pin(cpu, vm).await
    }

    async fn unpin(&self, cpu: Cpu<'_>, vm: Space) -> Done {
        self.vmids.unpin(cpu, vm).await
    }

    async fn exit(&self, cpu: Cpu<'_>, vm: Space) -> Done {
        let done = self.tables.exit(cpu, vm).await;
        self.vmids.init(cpu, vm).await;
        done
    }

    async fn fault(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, access: Access, why: Outcome) -> bool {
        self.leave(cpu, vm).await;
        let again = self.tables.fault(cpu, vm, ipa, access, why).await;
        self.enter(cpu, vm).await;
        again
    }

    /// An IPI only takes its CPU out of the guest, which is left before interrupts are unmasked.
    async fn ipi(&self, _cpu: Cpu<'_>, _message: u64) {}
}
