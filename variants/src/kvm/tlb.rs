// SPDX-License-Identifier: GPL-2.0-only
//! KVM's TLB operations: `arch/arm64/kvm/hyp/vhe/tlb.c`.

use super::vmid::idx;
use crate::Defect;
use crate::consequences::{ALIASED, DIVERGED};
use crate::pgtable::Flush;
use shootdown_machine::arm64::{HCR_TGE, HCR_VM, Kind, Reg, TCR_EPD, Tlbi, Ttl, ttbr};
use shootdown_machine::{Boot, Cpu, Dsb, PAGE, Shared, Space, Switch, Va};

/// A flush of another VM leaves its stage 2 behind.
pub const NO_RELOAD: Defect = Defect {
    name: "no-reload",
    about: "a TLB operation for another VM does not load the running vCPU's stage 2 again",
    source: "derived; 7.3 does so since stage 2 is loaded with the vCPU, and not at guest entry",
    breaks: &[ALIASED, DIVERGED],
    needs: &[],
};

/// Walks are not kept from the context of a VM that a TLB operation loads.
pub const NO_EPD: Defect = Defect {
    name: "no-epd",
    about: "no workaround for speculative AT: walks begin while a TLB operation has a VM's stage 2 \
            loaded; shows with the switch ooc",
    source: "\"arm64: KVM: Handle ARM erratum 1165522 in TLB invalidation\", \
             \"arm64: KVM: Disable EL1 PTW when invalidating S2 TLBs\"",
    breaks: &[ALIASED],
    needs: &[Switch::OutOfContext],
};

/// Flushes of a VM's stage 2. Each changes to the VM's VMID for its length: the operations
/// mean the current one.
#[derive(Debug)]
pub struct Stage2Flush {
    /// `mmu->vmid.id`.
    id: [Shared<u64>; 8],
    /// `mmu->pgd_phys`.
    pgd_phys: [Shared<u64>; 8],
    /// VTTBR_EL2.CnP is set.
    cnp: bool,
    /// The vCPU that each CPU has loaded: the number of its VM and 1, or 0. Only where VTTBR must
    /// have that VM's stage 2 outside of the guest, too.
    kvm_running_vcpu: Option<[Shared<u64>; 4]>,
    no_reload: bool,
    /// The host is at EL1, under VMID 0.
    nvhe: bool,
    no_walk_dsb: bool,
    /// ARM64_WORKAROUND_SPECULATIVE_AT.
    speculative_at: bool,
}

/// Broadcast: a VMID that is free from here on is in no TLB.
/// `before`: on nVHE one that waits for walks, too.
pub async fn __kvm_flush_vm_context(cpu: Cpu<'_>, before: Dsb) {
    // Unnoticed: descriptors are changed under locks, whose release makes them visible.
    cpu.dsb(before).await;
    cpu.tlbi(Tlbi::all(Kind::Alle1is)).await;
    cpu.dsb(Dsb::Ish).await;
}

/// What an operation on every CPU waits for before it, on VHE and on nVHE.
const BROADCAST: (Option<Dsb>, Dsb) = (Some(Dsb::Ishst), Dsb::Ish);
/// What one on this CPU waits for.
const LOCAL: (Option<Dsb>, Dsb) = (Some(Dsb::Nshst), Dsb::Nsh);
/// What one that follows no update of tables waits for.
const NO_UPDATE: (Option<Dsb>, Dsb) = (None, Dsb::Ish);

/// What to go back to.
struct Context {
    irqs_were_off: bool,
    /// The VM whose stage 2 VTTBR had.
    mmu: Option<Space>,
}

impl Stage2Flush {
    /// `loaded`: VTTBR keeps the stage 2 of the vCPU that is loaded.
    pub fn boot(
        boot: &Boot<'_>,
        id: [Shared<u64>; 8],
        pgd_phys: [Shared<u64>; 8],
        cnp: bool,
        loaded: bool,
        nvhe: bool,
    ) -> Stage2Flush {
        Stage2Flush {
            id,
            pgd_phys,
            cnp,
            kvm_running_vcpu: loaded.then(|| boot.vars("kvm_running_vcpu", 0)),
            no_reload: boot.has(NO_RELOAD.name),
            nvhe,
            no_walk_dsb: boot.has(super::host::NO_WALK_DSB.name),
            speculative_at: boot.config().switches.on(Switch::OutOfContext)
                && !boot.has(NO_EPD.name),
        }
    }

    /// Says which VM's vCPU this CPU has loaded.
    pub async fn set_running(&self, cpu: Cpu<'_>, vm: Option<Space>) {
        if let Some(running) = self.kvm_running_vcpu {
            let vm = vm.map_or(0, |vm| vm.0 as u64 + 1);
            running[cpu.id() as usize].write(cpu, vm).await;
        }
    }

    /// `kvm_get_vttbr` and the write of it.
    pub async fn __load_stage2(&self, cpu: Cpu<'_>, vm: Space) {
        let vmid = idx(self.id[vm.0 as usize].read(cpu).await) as u16;
        let pgd = self.pgd_phys[vm.0 as usize].read(cpu).await;
        cpu.write_sysreg(Reg::Vttbr, ttbr::new(pgd, vmid, self.cnp))
            .await;
    }

    /// `dsb`: for the update of the tables to be visible and, on nVHE, for that and for walks that
    /// began before EL2 was entered.
    async fn enter_vmid_context(
        &self,
        cpu: Cpu<'_>,
        vm: Space,
        dsb: (Option<Dsb>, Dsb),
    ) -> Context {
        let (update, walks) = dsb;
        if let Some(update) = update
            && (!self.nvhe || self.no_walk_dsb)
        {
            // Unnoticed: where it is DSB NSHST, the worst is one more fault, whose handler waits
            // for the lock that the store is made under.
            cpu.dsb(update).await;
        }
        let irqs_were_off = cpu.local_irq_save().await;
        if self.nvhe {
            if !self.no_walk_dsb {
                // Unnoticed: where it is DSB NSH, as that.
                cpu.dsb(walks).await;
            }
            if self.speculative_at {
                cpu.write_sysreg(Reg::Tcr, TCR_EPD).await;
                // Unnoticed: writes that nothing has synchronized take effect together here.
                cpu.isb().await;
            }
            self.__load_stage2(cpu, vm).await;
            cpu.isb().await;
            return Context {
                irqs_were_off,
                mmu: None,
            };
        }
        let mut mmu = None;
        if let Some(running) = self.kvm_running_vcpu {
            let running = running[cpu.id() as usize].read(cpu).await;
            let other = running != 0 && running != vm.0 as u64 + 1;
            mmu = other.then(|| Space(running as u8 - 1));
        }
        if self.speculative_at {
            cpu.write_sysreg(Reg::Tcr, TCR_EPD).await;
        }
        self.__load_stage2(cpu, vm).await;
        if self.speculative_at {
            // Unnoticed: writes that nothing has synchronized take effect together here.
            cpu.isb().await;
        }
        // Without TGE, EL1&0 operations mean the guest.
        cpu.write_sysreg(Reg::Hcr, HCR_VM).await;
        cpu.isb().await;
        Context { irqs_were_off, mmu }
    }

    async fn exit_vmid_context(&self, cpu: Cpu<'_>, context: Context) {
        if self.nvhe {
            // Unnoticed: whoever uses VTTBR next writes and synchronizes it first.
            cpu.write_sysreg(Reg::Vttbr, 0).await;
        } else {
            cpu.write_sysreg(Reg::Hcr, HCR_VM | HCR_TGE).await;
        }
        // Unnoticed: whoever uses VTTBR or HCR next writes and synchronizes them first.
        cpu.isb().await;
        if let Some(mmu) = context.mmu
            && !self.no_reload
        {
            self.__load_stage2(cpu, mmu).await;
        }
        if self.speculative_at {
            cpu.write_sysreg(Reg::Tcr, 0).await;
        }
        if !context.irqs_were_off {
            cpu.local_irq_enable().await;
        }
    }

    /// `__kvm_flush_cpu_context`: another vCPU of the VM has run here. The guest's own
    /// translations need not be the same on all of its vCPUs.
    pub async fn __kvm_flush_cpu_context(&self, cpu: Cpu<'_>, vm: Space) {
        let context = self.enter_vmid_context(cpu, vm, NO_UPDATE).await;
        // Unnoticed: the guests here have no translations of their own.
        cpu.tlbi(Tlbi::all(Kind::Vmalle1)).await;
        // Unnoticed: as the TLBI.
        cpu.dsb(Dsb::Nsh).await;
        // Unnoticed: exit_vmid_context has one too.
        cpu.isb().await;
        self.exit_vmid_context(cpu, context).await;
    }

    /// `__kvm_tlb_flush_vmid_ipa`. The DSB between the two keeps a walker from making a
    /// combined entry out of a stage-2 entry that is not gone yet.
    pub(super) async fn flush_vmid_ipa(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, ttl: Ttl) {
        let granule = cpu.config().granule;
        let context = self.enter_vmid_context(cpu, vm, BROADCAST).await;
        cpu.tlbi(Tlbi::addr_in(granule, Kind::Ipas2e1is, ipa, 0, ttl))
            .await;
        // Unnoticed by kvm-nested-16k: this is for tables that have become empty, and the flush of
        // the whole range follows. Until then it takes a TLBI, and a DSB after it.
        cpu.dsb(Dsb::Ish).await;
        // Unnoticed by kvm-nested-16k: the same.
        cpu.tlbi(Tlbi::all(Kind::Vmalle1is)).await;
        // Unnoticed by kvm-nested-16k: the same.
        cpu.dsb(Dsb::Ish).await;
        // Unnoticed: exit_vmid_context has one too.
        cpu.isb().await;
        self.exit_vmid_context(cpu, context).await;
    }

    /// `__kvm_tlb_flush_vmid_ipa_nsh`: this CPU only.
    pub(super) async fn flush_vmid_ipa_nsh(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, ttl: Ttl) {
        let granule = cpu.config().granule;
        let context = self.enter_vmid_context(cpu, vm, LOCAL).await;
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
        self.exit_vmid_context(cpu, context).await;
    }

    /// `__kvm_tlb_flush_vmid_range`: level unknown.
    pub(super) async fn flush_vmid_range(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, size: u64) {
        self.flush_range(cpu, vm, (ipa, size), Ttl::Unknown).await;
    }

    /// A range; an odd page goes by itself.
    pub(super) async fn flush_range(&self, cpu: Cpu<'_>, vm: Space, range: (Va, u64), ttl: Ttl) {
        let (ipa, size) = range;
        if size == PAGE {
            return self.flush_vmid_ipa(cpu, vm, ipa, ttl).await;
        }
        let granule = cpu.config().granule;
        let context = self.enter_vmid_context(cpu, vm, BROADCAST).await;
        let num = (size / PAGE / 2 - 1) as u8;
        cpu.tlbi(Tlbi::range_in(
            granule,
            Kind::Ripas2e1is,
            ipa,
            0,
            num,
            0,
            ttl,
        ))
        .await;
        cpu.dsb(Dsb::Ish).await;
        cpu.tlbi(Tlbi::all(Kind::Vmalle1is)).await;
        cpu.dsb(Dsb::Ish).await;
        // Unnoticed: exit_vmid_context has one too.
        cpu.isb().await;
        self.exit_vmid_context(cpu, context).await;
    }

    /// The stage-2 entries for an IPA, on this CPU, and no more.
    pub(super) async fn flush_ipa_only(&self, cpu: Cpu<'_>, vm: Space, ipa: Va) {
        let granule = cpu.config().granule;
        let context = self.enter_vmid_context(cpu, vm, NO_UPDATE).await;
        cpu.tlbi(Tlbi::addr_in(granule, Kind::Ipas2e1, ipa, 0, Ttl::Unknown))
            .await;
        cpu.dsb(Dsb::Nsh).await;
        self.exit_vmid_context(cpu, context).await;
    }
}

impl Flush for Stage2Flush {
    async fn leaf(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, level: u8) {
        self.flush_vmid_ipa(cpu, vm, ipa, Ttl::Level(level)).await;
    }

    async fn restrict(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, level: u8) {
        self.flush_vmid_ipa(cpu, vm, ipa, Ttl::Level(level)).await;
    }

    /// `kvm_pgtable_stage2_relax_perms`: other CPUs may take a spurious fault.
    async fn relax(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, level: u8) {
        self.flush_vmid_ipa_nsh(cpu, vm, ipa, Ttl::Level(level))
            .await;
    }

    async fn range(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, size: u64) {
        self.flush_vmid_range(cpu, vm, ipa, size).await;
    }

    /// Nothing: the VMID is not used again before a rollover has flushed everything.
    async fn exit(&self, _cpu: Cpu<'_>, _vm: Space) {}

    async fn spurious(&self, cpu: Cpu<'_>, vm: Space, ipa: Va) {
        self.flush_vmid_ipa_nsh(cpu, vm, ipa, Ttl::Unknown).await;
    }

    /// Everything of the VMID, on this CPU (Arm ARM, D8.14.3).
    async fn conflict(&self, cpu: Cpu<'_>, vm: Space) {
        let context = self.enter_vmid_context(cpu, vm, LOCAL).await;
        cpu.tlbi(Tlbi::all(Kind::Vmalls12e1)).await;
        // Unnoticed: the worst is one more fault, whose handler completes this TLBI with its
        // own.
        cpu.dsb(Dsb::Nsh).await;
        // Unnoticed: exit_vmid_context has one too.
        cpu.isb().await;
        self.exit_vmid_context(cpu, context).await;
    }
}
