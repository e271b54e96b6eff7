// SPDX-License-Identifier: GPL-2.0-only
//! An x86 kernel's mms: page tables, flushes, and the switch between them.

use super::defects::B35;
use super::tlbstate::{Features, Tlb, number};
use super::{flush, global_asid, pti, pv, remote, tlbstate};
use crate::pgtable::{PageTables, page_table_ops};
use crate::{Defect, Source, Tagging, Variant};
use core::marker::PhantomData;
use shootdown_machine::arm64::Stage;
use shootdown_machine::{
    Access, Arch, Boot, Config, Cpu, Done, OpKind, Outcome, Page, Prot, Space, Va,
};

/// What a kernel is built with.
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
    /// What it is built for.
    const FEATURES: Features;
}

/// Goals of a kernel whose flushes are IPIs.
pub const GOALS: &[&str] = &[
    tlbstate::GOAL_SLOT,
    tlbstate::GOAL_SLOT_STALE,
    tlbstate::GOAL_LAZY_STALE,
    flush::GOAL_LAZY_SKIPPED,
    flush::GOAL_LAZY_DROPS,
    flush::GOAL_SWITCHING,
    flush::GOAL_TRIM,
    flush::GOAL_DONE,
    flush::GOAL_PARTIAL,
    flush::GOAL_BATCHED,
];
/// Those of 6.12.
pub const GOALS_612: &[&str] = &[
    tlbstate::GOAL_SLOT,
    tlbstate::GOAL_SLOT_STALE,
    tlbstate::GOAL_LAZY_STALE,
    flush::GOAL_LAZY_SKIPPED,
    flush::GOAL_LAZY_DROPS,
    flush::GOAL_DONE,
    flush::GOAL_PARTIAL,
    flush::GOAL_BATCHED,
];
/// Those without PCIDs.
pub const GOALS_NOPCID: &[&str] = &[
    tlbstate::GOAL_LAZY_STALE,
    flush::GOAL_LAZY_SKIPPED,
    flush::GOAL_LAZY_DROPS,
    flush::GOAL_SWITCHING,
    flush::GOAL_TRIM,
    flush::GOAL_DONE,
    flush::GOAL_PARTIAL,
    flush::GOAL_BATCHED,
];
/// Those of page-table isolation.
pub const GOALS_PTI: &[&str] = &[pti::GOAL_TWIN];
/// Those of global ASIDs.
pub const GOALS_INVLPGB: &[&str] = &[
    global_asid::GOAL_RESET,
    global_asid::GOAL_FULL_ABOVE,
    global_asid::GOAL_STRAGGLER,
    global_asid::GOAL_TRANSITION,
];
/// Those of a guest.
pub const GOALS_PV: &[&str] = &[pv::GOAL_PREEMPTED, pv::GOAL_BACK];
/// Those of flushes on behalf of others.
pub const GOALS_REMOTE: &[&str] = &[
    remote::GOAL_RECYCLED,
    remote::GOAL_PARTIAL,
    remote::GOAL_FULL,
];

/// The mms of a kernel.
#[derive(Debug)]
pub struct Mms<F> {
    tables: PageTables<Tlb>,
    flavour: PhantomData<F>,
}

impl<F: Flavour> Mms<F> {
    fn tlb(&self) -> &Tlb {
        &self.tables.flush
    }
}

impl<F: Flavour> Variant for Mms<F> {
    const NAME: &'static str = F::NAME;
    const ABOUT: &'static str = F::ABOUT;
    const SOURCE: Source = F::SOURCE;
    const OPS: &'static [OpKind] = &[
        OpKind::Switch,
        OpKind::SchedOut,
        OpKind::Map,
        OpKind::Unmap,
        OpKind::Protect,
        OpKind::Remap,
        OpKind::Split,
        OpKind::Collapse,
        OpKind::Touch,
        OpKind::Exit,
        OpKind::Reclaim,
        OpKind::Zap,
    ];
    const DEFECTS: &'static [Defect] = F::DEFECTS;
    const GOALS: &'static [&'static str] = F::GOALS;
    const TAGGING: Tagging = Tagging::PerCpu;

    fn machine(config: Config) -> Config {
        Config {
            arch: Arch::X86,
            ..config
        }
    }

    fn boot(boot: &Boot<'_>) -> Self {
        let flush = |pgd| Tlb::boot(boot, F::FEATURES, pgd);
        let tables = PageTables::boot(boot, Stage::One, "mmap_lock", flush)
            .plain_stores()
            .free_tables_first(boot.has(B35.name));
        Mms {
            tables,
            flavour: PhantomData,
        }
    }

    /// `switch_mm` under `context_switch`, interrupts masked.
    async fn switch_to(&self, cpu: Cpu<'_>, _prev: Option<Space>, next: Space) {
        cpu.local_irq_save().await;
        self.tlb().switch_mm_irqs_off(cpu, number(next)).await;
        cpu.local_irq_enable().await;
        self.tlb().consider_global_asid(cpu, next).await;
    }

    /// To a kernel thread.
    async fn sched_out(&self, cpu: Cpu<'_>, _prev: Space) {
        cpu.local_irq_save().await;
        self.tlb().enter_lazy_tlb(cpu).await;
        cpu.local_irq_enable().await;
    }

    page_table_ops!();

    async fn reclaim(&self, cpu: Cpu<'_>, mm: Space, va: Va) -> Done {
        self.tables.reclaim(cpu, mm, va).await
    }

    async fn zap(&self, cpu: Cpu<'_>, mm: Space, va: Va) -> Done {
        self.tables.zap(cpu, mm, va).await
    }

    async fn exit(&self, cpu: Cpu<'_>, mm: Space) -> Done {
        let done = self.tables.exit(cpu, mm).await;
        self.tlb().init_new_context(cpu, mm).await;
        done
    }

    async fn enter(&self, cpu: Cpu<'_>, _: Space) {
        self.tlb().switch_to_user_cr3(cpu).await;
    }

    async fn leave(&self, cpu: Cpu<'_>, _: Space) {
        self.tlb().switch_to_kernel_cr3(cpu).await;
    }

    async fn fault(&self, cpu: Cpu<'_>, mm: Space, va: Va, access: Access, why: Outcome) -> bool {
        self.leave(cpu, mm).await;
        let again = self.tables.fault(cpu, mm, va, access, why).await;
        self.enter(cpu, mm).await;
        again
    }

    async fn ipi(&self, cpu: Cpu<'_>, message: u64) {
        let user = self.tlb().is_user(cpu);
        if user {
            self.tlb().switch_to_kernel_cr3(cpu).await;
        }
        self.tlb().handle_ipi(cpu, message).await;
        if user {
            self.tlb().switch_to_user_cr3(cpu).await;
        }
    }
}
