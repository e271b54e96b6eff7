// SPDX-License-Identifier: GPL-2.0-only
//! An arm64 kernel's mms: the ASID allocator, the page tables, and the switch between them.

use super::context::Asids;
use super::defects::Built;
use super::tlbflush::{Features, TlbFlush};
use super::uaccess::SavedTtbr0;
use super::unmap;
use crate::pgtable::PageTables;
use crate::{Defect, Source, Tagging, Variant};
use core::marker::PhantomData;
use shootdown_machine::arm64::Stage;
use shootdown_machine::{
    Access, Boot, Config, Cpu, Done, Dsb, OpKind, Outcome, Page, Prot, Space, Va,
};

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
    needs: &[],
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
    needs: &[],
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
    /// User code runs under an ASID of its own (KPTI), the odd one of a pair.
    const KPTI: bool = false;
    /// The kernel has no user table loaded (software PAN).
    const SW_PAN: bool = false;
    /// Its CPUs have FEAT_TLBIRANGE.
    const TLB_RANGE: bool = true;
}

/// The mms of a kernel.
#[derive(Debug)]
pub struct Mms<F> {
    asids: Asids,
    tables: PageTables<TlbFlush>,
    /// Only with [`Flavour::SW_PAN`].
    saved: Option<SavedTtbr0>,
    built: Built,
    flavour: PhantomData<F>,
}

impl<F: Flavour> Variant for Mms<F> {
    const NAME: &'static str = F::NAME;
    const ABOUT: &'static str = F::ABOUT;
    const SOURCE: Source = F::SOURCE;
    const OPS: &'static [OpKind] = OPS;
    const DEFECTS: &'static [Defect] = F::DEFECTS;
    const GOALS: &'static [&'static str] = super::context::GOALS;
    const TAGGING: Tagging = if F::KPTI {
        Tagging::Pairs
    } else {
        Tagging::Global
    };
    const THREADS: bool = F::SW_PAN;

    /// Of pairs, as many as there are single ASIDs elsewhere.
    fn machine(config: Config) -> Config {
        let tags = if F::KPTI {
            config.tags * 2
        } else {
            config.tags
        };
        Config { tags, ..config }
    }

    fn boot(boot: &Boot<'_>) -> Self {
        let built = Built::of(boot, F::DEFECTS);
        let asids = Asids::boot(boot, F::CNP, F::KPTI, built);
        let features = Features {
            kpti: F::KPTI,
            tlb_range: F::TLB_RANGE,
        };
        let flush = |_| TlbFlush::new(boot, asids.context_id, features, built);
        let mut tables = PageTables::boot(boot, Stage::One, "mmap_lock", flush);
        if F::BBM2 {
            tables = tables.skip_break(boot, boot.has(BLOCK_TO_TABLE.name));
        }
        let saved = F::SW_PAN.then(|| SavedTtbr0::boot(boot, &asids, built));
        Mms {
            asids,
            tables,
            saved,
            built,
            flavour: PhantomData,
        }
    }

    /// `switch_mm` under `context_switch`, interrupts masked, and the end of `__switch_to`.
    async fn switch_to(&self, cpu: Cpu<'_>, prev: Option<Space>, next: Space) {
        cpu.local_irq_save().await;
        let pgd = self.tables.pgd(cpu, next).await;
        if let Some(saved) = &self.saved {
            saved.pick_next_task(cpu, next).await;
        }
        if prev != Some(next) {
            self.asids.check_and_switch_context(cpu, next).await;
        }
        match &self.saved {
            None => self.asids.cpu_switch_mm(cpu, next, pgd).await,
            Some(saved) => {
                let asids = &self.asids;
                saved.update_saved_ttbr0(cpu, asids, prev, next, pgd).await;
            }
        }
        // A thread that migrates between a TLBI and its DSB must still find it complete.
        // Unnoticed: threads do not migrate between a TLBI and its DSB here, and the ISB has
        // ended the walks of the old context.
        cpu.dsb(Dsb::Ish).await;
        cpu.local_irq_enable().await;
    }

    async fn sched_out(&self, cpu: Cpu<'_>, _prev: Space) {
        self.asids.switch_to_init_mm(cpu).await;
    }

    /// `kernel_exit`.
    async fn enter(&self, cpu: Cpu<'_>, mm: Space) {
        if F::KPTI {
            self.asids.tramp(cpu, true).await;
        }
        if let Some(saved) = &self.saved {
            saved.uaccess_ttbr0_enable(cpu, mm).await;
        }
    }

    /// `kernel_entry`.
    async fn leave(&self, cpu: Cpu<'_>, _mm: Space) {
        if F::KPTI {
            self.asids.tramp(cpu, false).await;
            // Unnoticed: until the next synchronization the kernel walks as the user did.
            cpu.isb().await;
        }
        if let Some(saved) = &self.saved {
            saved.uaccess_ttbr0_disable(cpu).await;
        }
    }

    async fn map(&self, cpu: Cpu<'_>, mm: Space, va: Va, page: Page) -> Done {
        self.tables.map(cpu, mm, va, page).await
    }

    async fn unmap(&self, cpu: Cpu<'_>, mm: Space, va: Va) -> Done {
        unmap::unmap(&self.tables, cpu, mm, va, self.built).await
    }

    async fn protect(&self, cpu: Cpu<'_>, mm: Space, va: Va, prot: Prot) -> Done {
        self.tables.protect(cpu, mm, va, prot).await
    }

    async fn remap(&self, cpu: Cpu<'_>, mm: Space, va: Va, page: Page) -> Done {
        self.tables.remap(cpu, mm, va, page).await
    }

    async fn split(&self, cpu: Cpu<'_>, mm: Space, va: Va) -> Done {
        self.tables.split(cpu, mm, va).await
    }

    async fn collapse(&self, cpu: Cpu<'_>, mm: Space, va: Va, page: Page) -> Done {
        self.tables.collapse(cpu, mm, va, page).await
    }

    async fn reclaim(&self, cpu: Cpu<'_>, mm: Space, va: Va) -> Done {
        unmap::reclaim(&self.tables, cpu, mm, va).await
    }

    async fn age(&self, cpu: Cpu<'_>, mm: Space, va: Va) -> Done {
        unmap::age(&self.tables, cpu, mm, va).await
    }

    async fn pin(&self, cpu: Cpu<'_>, mm: Space) -> Done {
        self.asids.arm64_mm_context_get(cpu, mm).await
    }

    async fn unpin(&self, cpu: Cpu<'_>, mm: Space) -> Done {
        self.asids.arm64_mm_context_put(cpu, mm).await
    }

    /// `exit_mmap` and `mmdrop`; the ASID is not given back, a rollover will collect it.
    async fn exit(&self, cpu: Cpu<'_>, mm: Space) -> Done {
        let done = self.tables.exit(cpu, mm).await;
        if let Some(saved) = &self.saved {
            saved.exit(cpu, mm).await;
        }
        self.asids.init_new_context(cpu, mm).await;
        done
    }

    async fn fault(&self, cpu: Cpu<'_>, mm: Space, va: Va, access: Access, why: Outcome) -> bool {
        self.leave(cpu, mm).await;
        let again = self.tables.fault(cpu, mm, va, access, why).await;
        self.enter(cpu, mm).await;
        again
    }
}

/// The operations of all kernels here.
const OPS: &[OpKind] = &[
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
    OpKind::Age,
    OpKind::Pin,
    OpKind::Unpin,
];
