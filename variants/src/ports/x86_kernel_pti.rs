// SPDX-License-Identifier: GPL-2.0-only
//! x86's own mappings with page-table isolation: they are not global, each PCID has its own
//! entries for them, and INVLPG reaches those of one. The other PCIDs are forgotten at the next
//! switch (`invalidate_other`). A space stands for the kernel's half of an address space; threads
//! of two users, each with a PCID, take turns in it.

use crate::pgtable::{Flush, PageTables, page_table_ops};
use crate::{Defect, Source, Tagging, Variant};
use shootdown_machine::arm64::{Reg, Stage};
use shootdown_machine::x86::{NOFLUSH, PCIDE, cr3};
use shootdown_machine::{
    Access, Arch, Boot, Config, Cpu, Done, Outcome, Page, Prot, Shared, Space, Va,
};

const NO_OTHER: Defect = Defect {
    name: "no-invalidate-other",
    about: "a flush of a kernel address leaves the entries that other PCIDs have for it",
    source: "derived; flush_tlb_one_kernel",
    breaks: &[&[
        "TLBEmptyInvalPTE",
        "no-use-after-unmap",
        "no-use-of-freed-frame",
        "no-write-after-protect",
        "no-lost-write",
        "no-walk-of-freed-table",
    ]],
    needs: &[],
};

const GOAL_OTHER: &str = "a switch forgets the other PCIDs";
const GOAL_KEPT: &str = "a switch keeps what its PCID has";

/// What an IPI asks for: an address, or (odd) everything.
const ALL: u64 = 1;
/// PCIDs of users.
const SLOTS: u64 = 2;

/// `cpu_tlbstate`, by CPU.
#[derive(Debug)]
pub struct TlbState {
    /// The slot in use; [`SLOTS`]: that of `init_mm`.
    loaded_mm_asid: [Shared<u64>; 4],
    /// `ctxs[i].ctx_id`: the space and 1.
    ctx_id: [[Shared<u64>; 4]; SLOTS as usize],
    invalidate_other: [Shared<bool>; 4],
    no_other: bool,
}

impl TlbState {
    fn boot(boot: &Boot<'_>) -> TlbState {
        TlbState {
            loaded_mm_asid: boot.vars("loaded_mm_asid", SLOTS),
            ctx_id: [boot.vars("ctxs0.ctx_id", 0), boot.vars("ctxs1.ctx_id", 0)],
            invalidate_other: boot.vars("invalidate_other", false),
            no_other: boot.has(NO_OTHER.name),
        }
    }

    /// `clear_asid_other`.
    async fn clear_asid_other(&self, cpu: Cpu<'_>) {
        let me = cpu.id() as usize;
        if !self.invalidate_other[me].read(cpu).await {
            return;
        }
        cpu.goal(GOAL_OTHER);
        let loaded = self.loaded_mm_asid[me].read(cpu).await;
        for (asid, ctx_id) in (0..).zip(&self.ctx_id) {
            if asid != loaded {
                ctx_id[me].write(cpu, 0).await;
            }
        }
        // Unnoticed: the others are only forgotten again.
        self.invalidate_other[me].write(cpu, false).await;
    }

    /// `choose_new_asid` for the other user's thread: its slot, and whether it is to be flushed.
    async fn choose_new_asid(&self, cpu: Cpu<'_>, next: Space) -> (u64, bool) {
        self.clear_asid_other(cpu).await;
        let me = cpu.id() as usize;
        let asid = (self.loaded_mm_asid[me].read(cpu).await + 1) % SLOTS;
        let ctx_id = self.ctx_id[asid as usize][me];
        let id = next.0 as u64 + 1;
        let flush = ctx_id.read(cpu).await != id;
        if flush {
            // Unnoticed: the slot is flushed once more.
            ctx_id.write(cpu, id).await;
        } else {
            cpu.goal(GOAL_KEPT);
        }
        (asid, flush)
    }

    /// `on_each_cpu`.
    async fn on_each_cpu(&self, cpu: Cpu<'_>, what: u64) {
        for other in (0..cpu.config().cpus).filter(|c| *c != cpu.id()) {
            cpu.send_ipi(other, what).await;
        }
        cpu.local_irq_save().await;
        self.here(cpu, what).await;
        cpu.local_irq_enable().await;
        cpu.wait_ipis().await;
    }

    /// `flush_tlb_one_kernel`, or `__flush_tlb_all`; interrupts masked.
    async fn here(&self, cpu: Cpu<'_>, what: u64) {
        if what == ALL {
            cpu.invpcid_all().await;
            return;
        }
        cpu.invlpg(what).await;
        if !self.no_other {
            self.invalidate_other[cpu.id() as usize]
                .write(cpu, true)
                .await;
        }
    }
}

impl Flush for TlbState {
    /// `flush_tlb_kernel_range`.
    async fn leaf(&self, cpu: Cpu<'_>, _: Space, va: Va, _: u8) {
        self.on_each_cpu(cpu, va).await;
    }
    async fn restrict(&self, cpu: Cpu<'_>, _: Space, va: Va, _: u8) {
        self.on_each_cpu(cpu, va).await;
    }
    /// A page fault removes what is in its way.
    async fn relax(&self, _: Cpu<'_>, _: Space, _: Va, _: u8) {}
    /// `flush_tlb_all`.
    async fn range(&self, cpu: Cpu<'_>, _: Space, _: Va, _: u64) {
        self.on_each_cpu(cpu, ALL).await;
    }
    async fn exit(&self, cpu: Cpu<'_>, _: Space) {
        self.on_each_cpu(cpu, ALL).await;
    }
    async fn spurious(&self, _: Cpu<'_>, _: Space, _: Va) {}
    async fn conflict(&self, _: Cpu<'_>, _: Space) {}
}

/// The variant.
#[derive(Debug)]
pub struct Port {
    tables: PageTables<TlbState>,
    swapper_pg_dir: u64,
}

impl Variant for Port {
    const NAME: &'static str = "x86-kernel-pti";
    const ABOUT: &'static str = "x86 kernel mappings with PTI: not global, other PCIDs forgotten at a switch";
    const SOURCE: Source = Source {
        tree: "Linux 7.3.4",
        files: "arch/x86/mm/tlb.c (flush_tlb_one_kernel, clear_asid_other)",
    };
    const DEFECTS: &'static [Defect] = &[NO_OTHER];
    const GOALS: &'static [&'static str] = &[GOAL_OTHER, GOAL_KEPT];
    const TAGGING: Tagging = Tagging::PerCpu;
    const THREADS: bool = true;

    fn machine(config: Config) -> Config {
        Config {
            arch: Arch::X86,
            ..config
        }
    }

    fn boot(boot: &Boot<'_>) -> Self {
        let swapper_pg_dir = boot.reserved_table();
        boot.sysreg(Reg::Cr3, cr3(swapper_pg_dir, 0));
        boot.sysreg(Reg::Cr4, PCIDE);
        let flush = |_| TlbState::boot(boot);
        Port {
            tables: PageTables::boot(boot, Stage::One, "cpa_lock", flush),
            swapper_pg_dir,
        }
    }

    async fn switch_to(&self, cpu: Cpu<'_>, _: Option<Space>, next: Space) {
        let pgd = self.tables.pgd(cpu, next).await;
        let state = &self.tables.flush;
        cpu.local_irq_save().await;
        let (asid, flush) = state.choose_new_asid(cpu, next).await;
        let noflush = if flush { 0 } else { NOFLUSH };
        cpu.write_cr3(cr3(pgd, asid as u16 + 1) | noflush).await;
        // Unnoticed: with no slot in use, as after `sched_out`, all are forgotten when one is to be.
        state.loaded_mm_asid[cpu.id() as usize]
            .write(cpu, asid)
            .await;
        cpu.local_irq_enable().await;
    }

    async fn sched_out(&self, cpu: Cpu<'_>, _: Space) {
        cpu.local_irq_save().await;
        cpu.write_cr3(cr3(self.swapper_pg_dir, 0)).await;
        self.tables.flush.loaded_mm_asid[cpu.id() as usize]
            .write(cpu, SLOTS)
            .await;
        cpu.local_irq_enable().await;
    }

    page_table_ops!();

    async fn exit(&self, cpu: Cpu<'_>, space: Space) -> Done {
        self.tables.exit(cpu, space).await
    }

    async fn fault(
        &self,
        cpu: Cpu<'_>,
        space: Space,
        va: Va,
        access: Access,
        why: Outcome,
    ) -> bool {
        self.tables.fault(cpu, space, va, access, why).await
    }

    async fn ipi(&self, cpu: Cpu<'_>, what: u64) {
        self.tables.flush.here(cpu, what).await;
    }
}
