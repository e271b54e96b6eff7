// SPDX-License-Identifier: GPL-2.0-only
//! KVM on arm64 (VHE): VMID allocator v4 as merged, broadcast flush on rollover.
//!
//! `switch` is vCPU load, `sched_out` vCPU put, `touch` one turn of the run loop, as in
//! v5.16 to 6.5: the VMID is updated in the loop, and VTTBR written at guest entry.

use crate::kvm::tlb::Stage2Flush;
use crate::kvm::vmid::{self, Vmids};
use crate::pgtable::{PageTables, page_table_ops};
use crate::{Defect, Source, Variant};
use shootdown_machine::arm64::{HCR_TGE, HCR_VM, Reg, Stage};
use shootdown_machine::{Access, Boot, Cpu, Domain, Done, Outcome, Page, Prot, Space, Va};

/// A host with its VMs.
#[derive(Debug)]
pub struct Port {
    vmids: Vmids,
    tables: PageTables<Stage2Flush>,
}

impl Variant for Port {
    const NAME: &'static str = "kvm-vmid";
    const ABOUT: &'static str = "KVM VMID allocator v4, broadcast flush on rollover (VHE)";
    const SOURCE: Source = Source {
        tree: "Linux 5.16 to 6.5",
        files: "arch/arm64/kvm/vmid.c, arch/arm64/kvm/arm.c, arch/arm64/kvm/hyp/vhe/tlb.c",
    };
    const DEFECTS: &'static [Defect] = &[vmid::NO_XCHG, vmid::ALWAYS_NEW, vmid::INVALID_LOCAL];
    const GOALS: &'static [&'static str] = vmid::GOALS;

    fn boot(boot: &Boot<'_>) -> Port {
        boot.sysreg(Reg::Hcr, HCR_VM | HCR_TGE);
        let vmids = Vmids::boot(boot);
        let cnp = boot.config().domain == Domain::Smt;
        let tables = PageTables::boot(boot, Stage::Two, "mmu_lock", |pgd_phys| Stage2Flush {
            id: vmids.id,
            pgd_phys,
            cnp,
        });
        Port { vmids, tables }
    }

    async fn switch_to(&self, cpu: Cpu<'_>, prev: Option<Space>, _next: Space) {
        if let Some(prev) = prev {
            self.sched_out(cpu, prev).await; // kvm_arch_vcpu_put; the load does nothing here
        }
    }

    async fn sched_out(&self, cpu: Cpu<'_>, _prev: Space) {
        self.vmids.kvm_arm_vmid_clear_active(cpu).await;
    }

    async fn enter(&self, cpu: Cpu<'_>, vm: Space) {
        self.vmids.kvm_arm_vmid_update(cpu, vm).await;
        cpu.local_irq_save().await;
        self.tables.flush.__load_stage2(cpu, vm).await;
        cpu.write_sysreg(Reg::Hcr, HCR_VM).await;
        cpu.enter_guest().await;
    }

    async fn leave(&self, cpu: Cpu<'_>, _vm: Space) {
        cpu.exit_guest().await;
        cpu.write_sysreg(Reg::Hcr, HCR_VM | HCR_TGE).await;
        // Unnoticed: whoever uses VTTBR or HCR next writes and synchronizes them first.
        cpu.isb().await;
        cpu.local_irq_enable().await;
    }

    page_table_ops!();

    async fn exit(&self, cpu: Cpu<'_>, vm: Space) -> Done {
        let done = self.tables.exit(cpu, vm).await;
        self.vmids.id[vm.0 as usize].write(cpu, 0).await; // a new VM has no VMID
        done
    }

    async fn fault(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, access: Access, why: Outcome) -> bool {
        self.leave(cpu, vm).await;
        let again = self.tables.fault(cpu, vm, ipa, access, why).await;
        self.enter(cpu, vm).await;
        again
    }
}
