// SPDX-License-Identifier: GPL-2.0-only
//! Nested virtualisation on arm64 (A5): a guest hypervisor, L1, with VMs of its own, and the
//! host's shadows of their stage 2. `arch/arm64/kvm/nested.c`, `sys_regs.c`, Linux 7.3.
//!
//! The spaces are L1's VMs, and their operations are L1's: it changes its own stage-2 tables,
//! which hardware never sees, and then executes a TLBI, which traps. What hardware walks are
//! shadow stage 2s, each under a VMID of the host's, filled by faults. A shadow leaf maps no
//! more than the guest's leaf nor than the host's mapping of that memory does, and notes the
//! level of the former.
//!
//! Simplified: L1 runs at the host's exception level, each of its vCPUs on a CPU of its own; the
//! host never takes memory away from L1; guests have no stage 1.

pub mod defects;
pub mod fault;
pub mod guest;
pub mod shadow;
pub mod tlbi;
pub mod vncr;

use crate::pgtable::page_table_ops;
use crate::{Defect, Source, Variant};
use core::marker::PhantomData;
use guest::Guest;
use shadow::Shadows;
use shootdown_machine::arm64::{HCR_TGE, HCR_VM, Reg};
use shootdown_machine::{
    Access, Boot, Cpu, Done, Dsb, Op, OpKind, Outcome, Page, Prot, Space, Va, level_size,
};

/// Where a TLBI without a level hint looks for the size of what it is to take away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Look {
    /// In the shadow leaf at the first address of what a guest's leaf of each size would map,
    /// smallest first: mainline.
    Down,
    /// In all shadow leaves there.
    Around,
    /// Nowhere.
    Nowhere,
}

/// The guest hypervisor's granule, beside the host's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Granule {
    /// The same.
    Same,
    /// As large as the host's blocks: 16K beside 4K, as this machine scales them.
    Larger,
}

impl Granule {
    /// What the guest calls the level of a leaf that is as large as the host's at this level.
    fn level(self, host: u8) -> u8 {
        host + u8::from(self == Granule::Larger)
    }

    /// Bytes that a guest's leaf of this level maps.
    fn size(self, level: u8) -> u64 {
        level_size(level - u8::from(self == Granule::Larger))
    }

    /// The guest's level whose leaves are the largest.
    fn largest(self) -> u8 {
        self.level(1)
    }
}

/// What distinguishes the variants.
pub trait Flavour: 'static {
    /// See [`Variant`].
    const NAME: &'static str;
    /// See [`Variant`].
    const ABOUT: &'static str;
    /// See [`Variant`].
    const DEFECTS: &'static [Defect];
    /// See [`Variant`].
    const GOALS: &'static [&'static str];
    /// Where to look.
    const LOOK: Look;
    /// L1's granule.
    const GRANULE: Granule = Granule::Same;
}

/// The host and its guest hypervisor.
#[derive(Debug)]
pub struct Nested<F> {
    l1: Guest,
    flavour: PhantomData<F>,
}

impl<F: Flavour> Nested<F> {
    /// `vcpu_put`, and the barrier of `__switch_to`.
    async fn sched_away(&self, cpu: Cpu<'_>) {
        self.l1.host.kvm_vcpu_put(cpu).await;
        // Unnoticed: there are VMIDs for all shadow stage 2s, and no rollovers.
        cpu.dsb(Dsb::Ish).await;
    }
}

impl<F: Flavour> Variant for Nested<F> {
    const NAME: &'static str = F::NAME;
    const ABOUT: &'static str = F::ABOUT;
    const SOURCE: Source = Source {
        tree: "Linux 7.3",
        files: "arch/arm64/kvm/nested.c, arch/arm64/kvm/sys_regs.c, arch/arm64/kvm/mmu.c",
    };
    const OPS: &'static [OpKind] = OpKind::BASIC;
    const DEFECTS: &'static [Defect] = F::DEFECTS;
    const GOALS: &'static [&'static str] = F::GOALS;

    /// With the larger granule, L1 has what is a block here, as a page, and nothing smaller.
    fn has(op: Op) -> bool {
        let whole = matches!(
            op.kind(),
            OpKind::Switch | OpKind::SchedOut | OpKind::Protect | OpKind::Touch | OpKind::Exit
        );
        let within = op.va().is_none_or(|va| va / guest::BLOCK == 1);
        Self::OPS.contains(&op.kind()) && (F::GRANULE == Granule::Same || (whole && within))
    }

    fn boot(boot: &Boot<'_>) -> Self {
        boot.sysreg(Reg::Hcr, HCR_VM | HCR_TGE);
        let host = Shadows::boot(boot, F::LOOK, F::GRANULE);
        Nested {
            l1: Guest::boot(boot, host),
            flavour: PhantomData,
        }
    }

    async fn switch_to(&self, cpu: Cpu<'_>, prev: Option<Space>, next: Space) {
        if prev.is_some() {
            self.sched_away(cpu).await;
        }
        self.l1.host.kvm_handle_vncr_abort(cpu, next).await;
        let vttbr = self.l1.vttbr(cpu, next).await;
        self.l1.host.kvm_vcpu_load(cpu, next, vttbr).await;
        // Of the run loop, where nothing comes between.
        self.l1.host.check_nested_vcpu_requests(cpu, next).await;
    }

    async fn sched_out(&self, cpu: Cpu<'_>, _prev: Space) {
        self.sched_away(cpu).await;
    }

    /// The run loop up to the guest's guest.
    async fn enter(&self, cpu: Cpu<'_>, _vm: Space) {
        cpu.local_irq_save().await;
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

    page_table_ops!(l1);

    async fn exit(&self, cpu: Cpu<'_>, vm: Space) -> Done {
        self.l1.exit(cpu, vm).await
    }

    async fn fault(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, access: Access, why: Outcome) -> bool {
        self.leave(cpu, vm).await;
        let again = self
            .l1
            .kvm_handle_guest_abort(cpu, vm, ipa, access, why)
            .await;
        self.enter(cpu, vm).await;
        again
    }
}
