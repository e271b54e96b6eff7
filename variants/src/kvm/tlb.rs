// SPDX-License-Identifier: GPL-2.0-only
//! KVM's TLB operations: `arch/arm64/kvm/hyp/vhe/tlb.c`.

use super::vmid::idx;
use crate::pgtable::Flush;
use shootdown_machine::arm64::{HCR_TGE, HCR_VM, Kind, Reg, Tlbi, Ttl, ttbr};
use shootdown_machine::{Cpu, Dsb, PAGE, Shared, Space, Va};

/// Flushes of a VM's stage 2. Each changes to the VM's VMID for its length: the operations
/// mean the current one.
#[derive(Debug)]
pub struct Stage2Flush {
    /// `mmu->vmid.id`.
    pub id: [Shared<u64>; 8],
    /// `mmu->pgd_phys`.
    pub pgd_phys: [Shared<u64>; 8],
    /// VTTBR_EL2.CnP is set.
    pub cnp: bool,
}

impl Stage2Flush {
    /// `kvm_get_vttbr` and the write of it.
    pub async fn __load_stage2(&self, cpu: Cpu<'_>, vm: Space) {
        let vmid = idx(self.id[vm.0 as usize].read(cpu).await) as u16;
        let pgd = self.pgd_phys[vm.0 as usize].read(cpu).await;
        cpu.write_sysreg(Reg::Vttbr, ttbr::new(pgd, vmid, self.cnp))
            .await;
    }

    async fn enter_vmid_context(&self, cpu: Cpu<'_>, vm: Space) -> bool {
        let irqs_were_off = cpu.local_irq_save().await;
        self.__load_stage2(cpu, vm).await;
        // Without TGE, EL1&0 operations mean the guest.
        cpu.write_sysreg(Reg::Hcr, HCR_VM).await;
        cpu.isb().await;
        irqs_were_off
    }

    async fn exit_vmid_context(&self, cpu: Cpu<'_>, irqs_were_off: bool) {
        cpu.write_sysreg(Reg::Hcr, HCR_VM | HCR_TGE).await;
        // Unnoticed: whoever uses VTTBR or HCR next writes and synchronizes them first.
        cpu.isb().await;
        if !irqs_were_off {
            cpu.local_irq_enable().await;
        }
    }

    /// `__kvm_tlb_flush_vmid_ipa`. The DSB between the two keeps a walker from making a
    /// combined entry out of a stage-2 entry that is not gone yet.
    async fn flush_vmid_ipa(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, level: u8) {
        let granule = cpu.config().granule;
        cpu.dsb(Dsb::Ishst).await;
        let irqs = self.enter_vmid_context(cpu, vm).await;
        cpu.tlbi(Tlbi::addr_in(
            granule,
            Kind::Ipas2e1is,
            ipa,
            0,
            Ttl::Level(level),
        ))
        .await;
        cpu.dsb(Dsb::Ish).await;
        cpu.tlbi(Tlbi::all(Kind::Vmalle1is)).await;
        cpu.dsb(Dsb::Ish).await;
        // Unnoticed: exit_vmid_context has one too.
        cpu.isb().await;
        self.exit_vmid_context(cpu, irqs).await;
    }

    /// `__kvm_tlb_flush_vmid_ipa_nsh`: this CPU only.
    async fn flush_vmid_ipa_nsh(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, ttl: Ttl) {
        let granule = cpu.config().granule;
        // Unnoticed: the worst is one more fault, whose handler waits for the lock that the store
        // is made under.
        cpu.dsb(Dsb::Nshst).await;
        let irqs = self.enter_vmid_context(cpu, vm).await;
        cpu.tlbi(Tlbi::addr_in(granule, Kind::Ipas2e1, ipa, 0, ttl))
            .await;
        // Unnoticed: the worst is one more fault, whose handler completes this TLBI with its
        // own.
        cpu.dsb(Dsb::Nsh).await;
        cpu.tlbi(Tlbi::all(Kind::Vmalle1)).await;
        // Unnoticed: the worst is one more fault, whose handler completes this TLBI with its
        // own.
        cpu.dsb(Dsb::Nsh).await;
        // Unnoticed: exit_vmid_context has one too.
        cpu.isb().await;
        self.exit_vmid_context(cpu, irqs).await;
    }
}

impl Flush for Stage2Flush {
    async fn leaf(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, level: u8) {
        self.flush_vmid_ipa(cpu, vm, ipa, level).await;
    }

    async fn restrict(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, level: u8) {
        self.flush_vmid_ipa(cpu, vm, ipa, level).await;
    }

    /// `kvm_pgtable_stage2_relax_perms`: other CPUs may take a spurious fault.
    async fn relax(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, level: u8) {
        self.flush_vmid_ipa_nsh(cpu, vm, ipa, Ttl::Level(level))
            .await;
    }

    /// `__kvm_tlb_flush_vmid_range`: level unknown.
    async fn range(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, size: u64) {
        let granule = cpu.config().granule;
        cpu.dsb(Dsb::Ishst).await;
        let irqs = self.enter_vmid_context(cpu, vm).await;
        let num = (size / PAGE / 2 - 1) as u8;
        cpu.tlbi(Tlbi::range_in(
            granule,
            Kind::Ripas2e1is,
            ipa,
            0,
            num,
            0,
            Ttl::Unknown,
        ))
        .await;
        cpu.dsb(Dsb::Ish).await;
        cpu.tlbi(Tlbi::all(Kind::Vmalle1is)).await;
        cpu.dsb(Dsb::Ish).await;
        // Unnoticed: exit_vmid_context has one too.
        cpu.isb().await;
        self.exit_vmid_context(cpu, irqs).await;
    }

    /// Nothing: the VMID is not used again before a rollover has flushed everything.
    async fn exit(&self, _cpu: Cpu<'_>, _vm: Space) {}

    async fn spurious(&self, cpu: Cpu<'_>, vm: Space, ipa: Va) {
        self.flush_vmid_ipa_nsh(cpu, vm, ipa, Ttl::Unknown).await;
    }

    /// Everything of the VMID, on this CPU (Arm ARM, D8.14.3).
    async fn conflict(&self, cpu: Cpu<'_>, vm: Space) {
        // Unnoticed: the worst is one more fault, whose handler waits for the lock that the store
        // is made under.
        cpu.dsb(Dsb::Nshst).await;
        let irqs = self.enter_vmid_context(cpu, vm).await;
        cpu.tlbi(Tlbi::all(Kind::Vmalls12e1)).await;
        // Unnoticed: the worst is one more fault, whose handler completes this TLBI with its
        // own.
        cpu.dsb(Dsb::Nsh).await;
        // Unnoticed: exit_vmid_context has one too.
        cpu.isb().await;
        self.exit_vmid_context(cpu, irqs).await;
    }
}
