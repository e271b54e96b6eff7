// SPDX-License-Identifier: GPL-2.0-only
//! x86 as it treats the kernel's own mappings: global pages, which every PCID shares, IPIs to all
//! CPUs with INVLPG or a flush of everything, and the change of attributes (`cpa`), which splits
//! large pages in place. A space stands for the kernel's half of an address space; to change it,
//! CR4.PGE is cleared and set.

use crate::pgtable::{Flush, Format, PageTables, page_table_ops};
use crate::{Defect, Source, Tagging, Variant};
use shootdown_machine::arm64::{Reg, Stage};
use shootdown_machine::x86::{PCIDE, PGE, cr3};
use shootdown_machine::{
    Access, Arch, Boot, Config, Cpu, Done, Outcome, Page, Prot, Space, Switch, Va,
};

/// B-43: PCIDs are used on CPUs whose INVLPG then leaves global entries.
const KEEP_GLOBAL: Defect = Defect {
    name: "B-43",
    about: "PCIDs are used on CPUs whose INVLPG then leaves global entries (needs keepglobal=on)",
    source: "ce0b15d11ad8 \"x86/mm: Avoid incomplete Global INVLPG flushes\"",
    breaks: &[&[
        "TLBEmptyInvalPTE",
        "no-use-after-unmap",
        "no-use-of-freed-frame",
        "no-write-after-protect",
        "no-lost-write",
        "no-walk-of-freed-table",
    ]],
    needs: &[Switch::KeepGlobal],
};

/// B-44: the attributes of a page change while its large page may be in a TLB.
const KEEP_LARGE: Defect = Defect {
    name: "B-44",
    about: "attributes are changed after a large page was split, with no flush between the two",
    source: "ad5ca55f6bdb \"x86, cpa: global flush tlb after splitting large page and before doing cpa\"",
    breaks: &[&["no-conflicting-entries"]],
    needs: &[],
};

/// What an IPI asks for: an address, or (odd) everything.
const ALL: u64 = 1;

/// Flushes of all CPUs.
#[derive(Debug)]
pub struct KernelFlush;

impl KernelFlush {
    /// `on_each_cpu`.
    async fn on_each_cpu(&self, cpu: Cpu<'_>, what: u64) {
        for other in (0..cpu.config().cpus).filter(|c| *c != cpu.id()) {
            cpu.send_ipi(other, what).await;
        }
        self.here(cpu, what).await;
        cpu.wait_ipis().await;
    }

    async fn here(&self, cpu: Cpu<'_>, what: u64) {
        if what == ALL {
            cpu.invpcid_all().await;
        } else {
            cpu.invlpg(what).await;
        }
    }
}

impl Flush for KernelFlush {
    /// `flush_tlb_kernel_range`.
    async fn leaf(&self, cpu: Cpu<'_>, _: Space, va: Va, _: u8) {
        self.on_each_cpu(cpu, va).await;
    }
    async fn restrict(&self, cpu: Cpu<'_>, _: Space, va: Va, _: u8) {
        self.on_each_cpu(cpu, va).await;
    }
    async fn relax(&self, cpu: Cpu<'_>, _: Space, va: Va, _: u8) {
        // Unnoticed: a page fault removes what is in its way.
        self.on_each_cpu(cpu, va).await;
    }
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
    tables: PageTables<KernelFlush>,
    swapper_pg_dir: u64,
    cr4: u64,
}

impl Port {
    /// Entries of the old tables are global: only a change of PGE removes them.
    async fn load(&self, cpu: Cpu<'_>, pgd: u64) {
        cpu.local_irq_save().await;
        cpu.write_cr3(cr3(self.swapper_pg_dir, 0)).await;
        cpu.write_cr4(self.cr4 & !PGE).await;
        cpu.write_cr4(self.cr4).await;
        cpu.write_cr3(cr3(pgd, 0)).await;
        cpu.local_irq_enable().await;
    }
}

impl Variant for Port {
    const NAME: &'static str = "x86-kernel-map";
    const ABOUT: &'static str = "x86 kernel mappings: global pages, large ones split in place";
    const SOURCE: Source = Source {
        tree: "Linux 7.3.4",
        files: "arch/x86/mm/tlb.c (flush_tlb_kernel_range), arch/x86/mm/pat/set_memory.c",
    };
    const DEFECTS: &'static [Defect] = &[KEEP_GLOBAL, KEEP_LARGE];
    const TAGGING: Tagging = Tagging::PerCpu;

    fn machine(config: Config) -> Config {
        Config {
            arch: Arch::X86,
            ..config
        }
    }

    fn boot(boot: &Boot<'_>) -> Self {
        let swapper_pg_dir = boot.reserved_table();
        // The CPU's model says whether it has the erratum.
        let erratum = boot.config().switches.on(Switch::KeepGlobal);
        let pcids = !erratum || boot.has(KEEP_GLOBAL.name);
        let cr4 = PGE | if pcids { PCIDE } else { 0 };
        boot.sysreg(Reg::Cr3, cr3(swapper_pg_dir, 0));
        boot.sysreg(Reg::Cr4, cr4);
        let format = Format::new(boot, Stage::One).global();
        let tables = PageTables::boot_as(boot, format, "cpa_lock", |_| KernelFlush)
            .skip_break(boot, boot.has(KEEP_LARGE.name));
        Port {
            tables,
            swapper_pg_dir,
            cr4,
        }
    }

    async fn switch_to(&self, cpu: Cpu<'_>, _: Option<Space>, next: Space) {
        let pgd = self.tables.pgd(cpu, next).await;
        self.load(cpu, pgd).await;
    }

    async fn sched_out(&self, cpu: Cpu<'_>, _: Space) {
        self.load(cpu, self.swapper_pg_dir).await;
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
