// SPDX-License-Identifier: GPL-2.0-only
//! Generic mm code on x86: PCIDs by CPU, flushes by IPI (A6). As before
//! CONFIG_MMU_GATHER_RCU_TABLE_FREE, lockless walkers are waited for by the IPIs of the flush.

use super::defects as generic;
use super::{Gather, Mmu};
use crate::x86::tlbstate::{Features, Tlb, number};
use crate::{Defect, Source, Tagging};
use shootdown_machine::{Arch, Boot, Config, Cpu, PAGE, Shared, Space, Va, level_size};

/// `TLB_FLUSH_ALL`, as units from address 0.
const ALL: (Va, u64, bool) = (0, u64::MAX, false);

/// The kernel.
#[derive(Debug)]
pub struct X86 {
    tlb: Tlb,
    /// `current->tlb_ubc.arch.cpumask`, by CPU.
    tlb_ubc: [Shared<u64>; 4],
}

impl Mmu for X86 {
    const NAME: &'static str = "mm-x86";
    const ABOUT: &'static str = "generic mm code on x86: flushes by IPI, lazy TLB mode, batches";
    const SOURCE: Source = Source {
        tree: "Linux 7.3",
        files: "mm/mmu_gather.c, memory.c, rmap.c, mprotect.c, mremap.c, khugepaged.c, gup.c, arch/x86",
    };
    const DEFECTS: &'static [Defect] = generic::X86;
    const TAGGING: Tagging = Tagging::PerCpu;
    const RCU_TABLE_FREE: bool = false;

    fn machine(config: Config) -> Config {
        Config {
            arch: Arch::X86,
            ..config
        }
    }

    fn boot(boot: &Boot<'_>, pgd: [Shared<u64>; 8]) -> Self {
        X86 {
            tlb: Tlb::boot(boot, Features::NONE, pgd),
            tlb_ubc: boot.vars("tlb_ubc.cpumask", 0),
        }
    }

    async fn switch_mm(&self, cpu: Cpu<'_>, _: Option<Space>, next: Space, _: u64) {
        cpu.local_irq_save().await;
        self.tlb.switch_mm_irqs_off(cpu, number(next)).await;
        cpu.local_irq_enable().await;
    }

    async fn switch_to_init_mm(&self, cpu: Cpu<'_>, _: Space) {
        cpu.local_irq_save().await;
        self.tlb.enter_lazy_tlb(cpu).await;
        cpu.local_irq_enable().await;
    }

    async fn destroy_context(&self, cpu: Cpu<'_>, mm: Space) {
        self.tlb.init_new_context(cpu, mm).await;
    }

    async fn current_mm(&self, cpu: Cpu<'_>, mm: Space) -> bool {
        self.tlb.runs(cpu, number(mm)).await
    }

    async fn flush_tlb_page(&self, cpu: Cpu<'_>, mm: Space, va: Va) {
        self.tlb
            .flush_tlb_mm_range(cpu, mm, (va, 1, false), false)
            .await;
    }

    async fn flush_tlb_range(&self, cpu: Cpu<'_>, mm: Space, start: Va, end: Va, _: bool) {
        let range = (start, (end - start) / PAGE, false);
        self.tlb.flush_tlb_mm_range(cpu, mm, range, true).await;
    }

    async fn flush_tlb_mm(&self, cpu: Cpu<'_>, mm: Space) {
        self.tlb.flush_tlb_mm_range(cpu, mm, ALL, true).await;
    }

    async fn tlb_flush(&self, cpu: Cpu<'_>, tlb: &Gather) {
        let blocks = !tlb.cleared_ptes && tlb.cleared_pmds;
        let stride = if blocks { level_size(2) } else { PAGE };
        let range = if tlb.fullmm {
            ALL
        } else {
            (tlb.start, (tlb.end - tlb.start).div_ceil(stride), blocks)
        };
        let tables = tlb.freed_tables || tlb.unshared_tables;
        self.tlb
            .flush_tlb_mm_range(cpu, tlb.mm, range, tables)
            .await;
    }

    /// The mm's CPUs join the batch's.
    async fn arch_tlbbatch_add_pending(&self, cpu: Cpu<'_>, mm: Space, _: Va) {
        let mask = self.tlb.arch_tlbbatch_add_pending(cpu, mm).await;
        let batch = self.tlb_ubc[cpu.id() as usize];
        let others = batch.read(cpu).await;
        batch.write(cpu, others | mask).await;
    }

    async fn arch_tlbbatch_flush(&self, cpu: Cpu<'_>) {
        let batch = self.tlb_ubc[cpu.id() as usize];
        let mask = batch.read(cpu).await;
        self.tlb.arch_tlbbatch_flush(cpu, mask).await;
        // Unnoticed: what is in the batch still is flushed once more.
        batch.write(cpu, 0).await;
    }

    /// A page fault has removed what was in its way.
    async fn flush_tlb_fix_spurious_fault(&self, _: Cpu<'_>, _: Space, _: Va) {}

    async fn ipi(&self, cpu: Cpu<'_>, message: u64) {
        self.tlb.handle_ipi(cpu, message).await;
    }
}
