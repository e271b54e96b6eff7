// SPDX-License-Identifier: GPL-2.0-only
//! No tags and no cleverness: flush everything, always. Whatever fails here is the
//! machine's or the oracle's fault.

use crate::pgtable::{Flush, PageTables, page_table_ops};
use crate::{Defect, Source, Tagging, Variant};
use shootdown_machine::arm64::{Kind, Reg, Stage, Tlbi, ttbr};
use shootdown_machine::{Access, Boot, Cpu, Done, Dsb, Outcome, Page, Prot, Space, Va};

/// The flushes; `CANARY`: one of them is missing.
#[derive(Debug)]
pub struct FlushAll<const CANARY: bool>;

impl<const CANARY: bool> FlushAll<CANARY> {
    async fn everywhere(&self, cpu: Cpu<'_>) {
        cpu.dsb(Dsb::Ishst).await;
        cpu.tlbi(Tlbi::all(Kind::Vmalle1is)).await;
        cpu.dsb(Dsb::Ish).await;
        // Unnoticed: user code begins with an exception return.
        cpu.isb().await;
    }

    async fn here(&self, cpu: Cpu<'_>) {
        // Unnoticed: descriptors are changed under locks, whose release makes them visible.
        cpu.dsb(Dsb::Nshst).await;
        cpu.tlbi(Tlbi::all(Kind::Vmalle1)).await;
        cpu.dsb(Dsb::Nsh).await;
        // Unnoticed: user code begins with an exception return.
        cpu.isb().await;
    }
}

impl<const CANARY: bool> Flush for FlushAll<CANARY> {
    async fn leaf(&self, cpu: Cpu<'_>, _space: Space, _va: Va, _level: u8) {
        if !CANARY {
            self.everywhere(cpu).await;
        }
    }
    async fn restrict(&self, cpu: Cpu<'_>, _space: Space, _va: Va, _level: u8) {
        self.everywhere(cpu).await;
    }
    async fn relax(&self, cpu: Cpu<'_>, _space: Space, _va: Va, _level: u8) {
        self.everywhere(cpu).await;
    }
    async fn range(&self, cpu: Cpu<'_>, _space: Space, _va: Va, _size: u64) {
        self.everywhere(cpu).await;
    }
    async fn exit(&self, cpu: Cpu<'_>, _space: Space) {
        self.everywhere(cpu).await;
    }
    async fn spurious(&self, cpu: Cpu<'_>, _space: Space, _va: Va) {
        self.here(cpu).await;
    }
    async fn conflict(&self, cpu: Cpu<'_>, _space: Space) {
        self.here(cpu).await;
    }
}

/// The variant.
pub type Port = Naive<false>;

/// A kernel with one ASID, number 0, for every space.
#[derive(Debug)]
pub struct Naive<const CANARY: bool> {
    tables: PageTables<FlushAll<CANARY>>,
    reserved_pg_dir: u64,
}

impl<const CANARY: bool> Naive<CANARY> {
    /// No walk of the old table can make an entry after the flush, and none of the new one
    /// before it.
    async fn leave_space(&self, cpu: Cpu<'_>) {
        cpu.write_sysreg(Reg::Ttbr0, self.reserved_pg_dir).await;
        cpu.isb().await;
        self.tables.flush.here(cpu).await;
    }
}

impl<const CANARY: bool> Variant for Naive<CANARY> {
    const NAME: &'static str = if CANARY { "canary" } else { "naive" };
    const ABOUT: &'static str = if CANARY {
        "planted bug: naive without the flush after an unmap"
    } else {
        "no tags: flush everything at every switch and every change"
    };
    const SOURCE: Source = Source { tree: "our own", files: "none" };
    const DEFECTS: &'static [Defect] = &[];
    const TAGGING: Tagging = Tagging::PerCpu;
    const CANARY: bool = CANARY;

    fn boot(boot: &Boot<'_>) -> Self {
        let reserved_pg_dir = boot.reserved_table();
        boot.sysreg(Reg::Ttbr0, reserved_pg_dir);
        let tables = PageTables::boot(boot, Stage::One, "mmap_lock", |_| FlushAll);
        Naive { tables, reserved_pg_dir }
    }

    async fn switch_to(&self, cpu: Cpu<'_>, _prev: Option<Space>, next: Space) {
        let pgd = self.tables.pgd(cpu, next).await;
        self.leave_space(cpu).await;
        cpu.write_sysreg(Reg::Ttbr0, ttbr::new(pgd, 0, false)).await;
        // Unnoticed: orders the CPU's own next access, and user code begins with an exception
        // return.
        cpu.isb().await;
    }

    async fn sched_out(&self, cpu: Cpu<'_>, _prev: Space) {
        self.leave_space(cpu).await;
    }

    page_table_ops!();

    async fn exit(&self, cpu: Cpu<'_>, space: Space) -> Done {
        self.tables.exit(cpu, space).await
    }

    async fn fault(&self, cpu: Cpu<'_>, space: Space, va: Va, access: Access, why: Outcome) -> bool {
        self.tables.fault(cpu, space, va, access, why).await
    }
}
