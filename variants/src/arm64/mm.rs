// SPDX-License-Identifier: GPL-2.0-only
//! An arm64 kernel's mms: the ASID allocator, the page tables, and the switch between them.

use super::context::Asids;
use super::tlbflush::TlbFlush;
use crate::pgtable::{PageTables, page_table_ops};
use crate::{Defect, Source, Variant};
use core::marker::PhantomData;
use shootdown_machine::arm64::Stage;
use shootdown_machine::{Access, Boot, Cpu, Done, Dsb, Outcome, Page, Prot, Space, Va};

/// B-20 (nsh): a permission change is flushed on one CPU.
pub const NSH: Defect = Defect {
    name: "B-20-nsh",
    about: "a permission changed without a break is invalidated on this CPU only",
    source: "Colton Lewis, 2 Jun 2023, \"Skip break phase when we have FEAT_BBM level 2\"",
    breaks: &[&[
        "no-write-after-protect",
        "TLBEmptyInvalPTE",
        "restriction-scope",
    ]],
};

/// B-20 (block to table): the block stays in TLBs.
pub const BLOCK_TO_TABLE: Defect = Defect {
    name: "B-20-block-to-table",
    about: "a block is replaced by a table without any invalidation of the block",
    source: "Colton Lewis, 2 Jun 2023, \"Skip break phase when we have FEAT_BBM level 2\"",
    breaks: &[&[
        "no-use-after-unmap",
        "no-use-of-freed-frame",
        "no-write-after-protect",
        "no-lost-write",
        "TLBEmptyInvalPTE",
        "no-conflicting-entries",
        "break-before-make",
    ]],
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
    /// Common not Private translations are used, on CPUs that share a TLB.
    const CNP: bool = false;
    /// Sizes change without a break where FEAT_BBM level 2 is there.
    const BBM2: bool = false;
}

/// The mms of a kernel.
#[derive(Debug)]
pub struct Mms<F> {
    asids: Asids,
    tables: PageTables<TlbFlush>,
    flavour: PhantomData<F>,
}

impl<F: Flavour> Variant for Mms<F> {
    const NAME: &'static str = F::NAME;
    const ABOUT: &'static str = F::ABOUT;
    const SOURCE: Source = F::SOURCE;
    const DEFECTS: &'static [Defect] = F::DEFECTS;
    const GOALS: &'static [&'static str] = super::context::GOALS;

    fn boot(boot: &Boot<'_>) -> Self {
        let asids = Asids::boot(boot, F::CNP);
        let flush = |_| TlbFlush::new(boot, asids.context_id);
        let mut tables = PageTables::boot(boot, Stage::One, "mmap_lock", flush);
        if F::BBM2 {
            tables = tables.skip_break(boot, boot.has(BLOCK_TO_TABLE.name));
        }
        Mms {
            asids,
            tables,
            flavour: PhantomData,
        }
    }

    /// `switch_mm` under `context_switch`, interrupts masked, and the end of `__switch_to`.
    async fn switch_to(&self, cpu: Cpu<'_>, _prev: Option<Space>, next: Space) {
        cpu.local_irq_save().await;
        let pgd = self.tables.pgd(cpu, next).await;
        self.asids.check_and_switch_context(cpu, next, pgd).await;
        // A thread that migrates between a TLBI and its DSB must still find it complete.
        // Unnoticed: threads do not migrate between a TLBI and its DSB here, and the ISB has
        // ended the walks of the old context.
        cpu.dsb(Dsb::Ish).await;
        cpu.local_irq_enable().await;
    }

    async fn sched_out(&self, cpu: Cpu<'_>, _prev: Space) {
        cpu.local_irq_save().await;
        self.asids.switch_to_init_mm(cpu).await;
        // Unnoticed: as in switch_to.
        cpu.dsb(Dsb::Ish).await;
        cpu.local_irq_enable().await;
    }

    page_table_ops!();

    /// `exit_mmap` and `mmdrop`; the ASID is not given back, a rollover will collect it.
    async fn exit(&self, cpu: Cpu<'_>, mm: Space) -> Done {
        let done = self.tables.exit(cpu, mm).await;
        // Unnoticed: the dead mm's entries under its ASID were just flushed; its successor
        // could keep it.
        self.asids.context_id[mm.0 as usize].write(cpu, 0).await; // mm_init of the next
        done
    }

    async fn fault(&self, cpu: Cpu<'_>, mm: Space, va: Va, access: Access, why: Outcome) -> bool {
        self.tables.fault(cpu, mm, va, access, why).await
    }
}
