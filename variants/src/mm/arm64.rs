// SPDX-License-Identifier: GPL-2.0-only
//! Generic mm code on arm64: the ASID allocator and the flush API (A1).

use super::defects::{self, UNSHARE_LEAF};
use super::{Gather, Mmu};
use crate::arm64::context::Asids;
use crate::arm64::defects::Built;
use crate::arm64::tlbflush::{Features, Range, TlbFlush};
use crate::pgtable::Flush;
use crate::{Defect, Source};
use shootdown_machine::arm64::Ttl;
use shootdown_machine::{Boot, Cpu, Dsb, PAGE, Shared, Space, Va, level_size};

/// The kernel.
#[derive(Debug)]
pub struct Arm64 {
    asids: Asids,
    flush: TlbFlush,
    /// B-29-leaf.
    leaf_only: bool,
}

impl Arm64 {
    /// `__flush_tlb_range`, of leaves of this level; `None`: of any.
    async fn range(&self, cpu: Cpu<'_>, mm: Space, start: Va, end: Va, how: (Option<u8>, bool)) {
        let (level, last_level) = how;
        let range = Range {
            start,
            size: end - start,
            stride: level.map_or(PAGE, level_size),
            level: level.map_or(Ttl::Unknown, Ttl::Level),
            last_level,
        };
        self.flush.__flush_tlb_range(cpu, mm, range).await;
    }
}

impl Mmu for Arm64 {
    const NAME: &'static str = "mm-arm64";
    const ABOUT: &'static str = "generic mm code on arm64: reclaim, mremap, fork, NUMA, THP, GUP";
    const SOURCE: Source = Source {
        tree: "Linux 7.3",
        files: "mm/mmu_gather.c, memory.c, rmap.c, mprotect.c, mremap.c, khugepaged.c, gup.c, arch/arm64",
    };

    const DEFECTS: &'static [Defect] = defects::ARM64;

    fn boot(boot: &Boot<'_>, _: [Shared<u64>; 8]) -> Self {
        let built = Built::of(boot, &[]);
        let asids = Asids::boot(boot, false, false, built);
        let features = Features {
            kpti: false,
            tlb_range: true,
        };
        Arm64 {
            flush: TlbFlush::new(boot, asids.context_id, features, built),
            leaf_only: boot.has(UNSHARE_LEAF.name),
            asids,
        }
    }

    async fn switch_mm(&self, cpu: Cpu<'_>, _: Option<Space>, next: Space, pgd: u64) {
        cpu.local_irq_save().await;
        self.asids.check_and_switch_context(cpu, next).await;
        self.asids.cpu_switch_mm(cpu, next, pgd).await;
        // Unnoticed: threads do not migrate between a TLBI and its DSB here.
        cpu.dsb(Dsb::Ish).await;
        cpu.local_irq_enable().await;
    }

    async fn switch_to_init_mm(&self, cpu: Cpu<'_>, _: Space) {
        self.asids.switch_to_init_mm(cpu).await;
    }

    async fn destroy_context(&self, cpu: Cpu<'_>, mm: Space) {
        self.asids.init_new_context(cpu, mm).await;
    }

    async fn flush_tlb_page(&self, cpu: Cpu<'_>, mm: Space, va: Va) {
        self.flush.leaf(cpu, mm, va, 3).await;
    }

    async fn flush_tlb_range(&self, cpu: Cpu<'_>, mm: Space, start: Va, end: Va, _: bool) {
        self.range(cpu, mm, start, end, (None, false)).await;
    }

    async fn flush_tlb_mm(&self, cpu: Cpu<'_>, mm: Space) {
        self.flush.flush_tlb_mm(cpu, mm).await;
    }

    async fn tlb_flush(&self, cpu: Cpu<'_>, tlb: &Gather) {
        let last_level = !(tlb.freed_tables || (tlb.unshared_tables && !self.leaf_only));
        if tlb.fullmm {
            // A dead ASID is not handed out again without a flush: only walk caches matter.
            if !last_level {
                self.flush_tlb_mm(cpu, tlb.mm).await;
            }
            return;
        }
        let how = (tlb.level(), last_level);
        self.range(cpu, tlb.mm, tlb.start, tlb.end, how).await;
    }

    /// The TLBI at once, its DSB at the end of the batch.
    async fn arch_tlbbatch_add_pending(&self, cpu: Cpu<'_>, mm: Space, va: Va) {
        self.flush.flush_tlb_page_nosync(cpu, mm, va, 3).await;
    }

    async fn arch_tlbbatch_flush(&self, cpu: Cpu<'_>) {
        self.flush.arch_tlbbatch_flush(cpu).await;
    }

    async fn flush_tlb_fix_spurious_fault(&self, cpu: Cpu<'_>, mm: Space, va: Va) {
        self.flush.spurious(cpu, mm, va).await;
    }

    async fn update_mmu_cache(&self, cpu: Cpu<'_>) {
        // Without an ISB: a fault that comes too early is taken again.
        // Unnoticed: the same if the store is late. The unlock that follows makes it visible.
        cpu.dsb(Dsb::Ishst).await;
    }

    async fn conflict(&self, cpu: Cpu<'_>) {
        self.flush.conflict(cpu, Space(0)).await;
    }
}
