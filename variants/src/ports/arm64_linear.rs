// SPDX-License-Identifier: GPL-2.0-only
//! The arm64 linear map under BBML3: large entries are split in place, without a TLBI, before
//! a part of one changes; the flush of that change is what removes the large entry. Every space
//! has one of its own here. Without BBML3 there are pages only, and nothing to split.

use crate::arm64::idx;
use crate::bbml3::{Kernel, Tables};
use crate::pgtable::{Flush, PageTables};
use crate::{Defect, Source};
use shootdown_machine::arm64::{Desc, Kind, Stage, Tlbi, Ttl};
use shootdown_machine::{
    Access, Bbm, Boot, Config, Cpu, Done, Dsb, GROUP, OpKind, Outcome, PAGE, Page, Prot, SLOTS,
    Shared, Space, Va,
};

const HINTED: Defect = Defect {
    name: "level-3-hint",
    about: "a change of a page's attributes is flushed with the page's level, which leaves the block that it was part of",
    source: "derived; flush_tlb_kernel_range has no level",
    breaks: &[&[
        "TLBEmptyInvalPTE",
        "ttl-mismatch",
        "no-use-after-unmap",
        "no-use-of-freed-frame",
        "no-write-after-protect",
        "no-lost-write",
        "break-before-make",
        "no-conflicting-entries",
    ]],
    needs: &[],
};

const NO_SPLIT_CONT: Defect = Defect {
    name: "no-split-contpte",
    about: "one page of a contiguous group changes with both still said to be contiguous",
    source: "derived; split_contpte before a change of less than the group",
    breaks: &[&[
        "TLBEmptyInvalPTE",
        "no-use-after-unmap",
        "no-use-of-freed-frame",
        "no-write-after-protect",
        "no-lost-write",
        "break-before-make",
    ]],
    needs: &[],
};

const GOAL_SPLIT: &str = "a block is split in place, without a TLBI";
const GOAL_SPLIT_CONT: &str = "a contiguous group is split in place, without a TLBI";

/// `flush_tlb_kernel_range`: by address, whatever the ASID.
#[derive(Debug)]
pub struct KernelFlush {
    context_id: [Shared<u64>; 8],
    hinted: bool,
}

impl Flush for KernelFlush {
    async fn leaf(&self, cpu: Cpu<'_>, _space: Space, va: Va, _level: u8) {
        let granule = cpu.config().granule;
        let ttl = if self.hinted {
            Ttl::Level(3)
        } else {
            Ttl::Unknown
        };
        cpu.dsb(Dsb::Ishst).await;
        cpu.tlbi(Tlbi::addr_in(granule, Kind::Vaale1is, va, 0, ttl))
            .await;
        cpu.dsb(Dsb::Ish).await;
        // Unnoticed: the accesses here are a user's, after an exception return.
        cpu.isb().await;
    }

    async fn restrict(&self, cpu: Cpu<'_>, space: Space, va: Va, level: u8) {
        self.leaf(cpu, space, va, level).await;
    }

    async fn relax(&self, cpu: Cpu<'_>, space: Space, va: Va, level: u8) {
        self.leaf(cpu, space, va, level).await;
    }

    /// Nothing merges pages.
    async fn range(&self, _cpu: Cpu<'_>, _space: Space, _va: Va, _size: u64) {}

    /// The map itself is for ever; a space that ends is `flush_tlb_mm`.
    async fn exit(&self, cpu: Cpu<'_>, space: Space) {
        cpu.dsb(Dsb::Ishst).await;
        let asid = idx(self.context_id[space.0 as usize].read(cpu).await) as u16;
        // Unnoticed: no walk of an unloaded context is in flight (switch `inflight`), and a
        // rollover flushes before the ASID is used again.
        cpu.tlbi(Tlbi::asid(Kind::Aside1is, asid)).await;
        cpu.dsb(Dsb::Ish).await;
    }

    async fn spurious(&self, cpu: Cpu<'_>, space: Space, va: Va) {
        self.leaf(cpu, space, va, 3).await;
    }

    async fn conflict(&self, cpu: Cpu<'_>, _space: Space) {
        cpu.warn("a conflict abort under BBML3");
    }
}

/// The tables.
#[derive(Debug)]
pub struct Linear {
    tables: PageTables<KernelFlush>,
    no_split_cont: bool,
}

impl Linear {
    /// `split_pmd`: pages with the block's attributes, as contiguous groups.
    async fn split_pmd(&self, cpu: Cpu<'_>, space: Space, va: Va) -> Done {
        let Some((pmd, 2, block)) = self.tables.lookup(cpu, space, va).await else {
            return Done::No;
        };
        let table = cpu.alloc_table(space).await;
        if table == 0 {
            return Done::Exhausted;
        }
        for i in 0..SLOTS as u64 {
            let writable = block.writable(Stage::One);
            let page = Desc::leaf(Stage::One, 3, block.addr() + i * PAGE, writable);
            let page = page.with_contiguous(true);
            cpu.pte_write(table + i * 8, page).await;
        }
        // The pages are visible before the table.
        cpu.dsb(Dsb::Ishst).await;
        cpu.pte_write(pmd, Desc::table(table)).await;
        cpu.goal(GOAL_SPLIT);
        Done::Yes
    }

    /// `split_contpte`: each entry of the group, in place.
    async fn split_contpte(&self, cpu: Cpu<'_>, va: Va, pte: u64) {
        if self.no_split_cont || !cpu.pte_read(pte).await.contiguous() {
            return;
        }
        let first = pte - va / PAGE % GROUP as u64 * 8;
        for i in 0..GROUP as u64 {
            let old = cpu.pte_read(first + i * 8).await;
            cpu.pte_write(first + i * 8, old.with_contiguous(false))
                .await;
        }
        cpu.goal(GOAL_SPLIT_CONT);
    }
}

impl Tables for Linear {
    const NAME: &'static str = "arm64-linear";
    const ABOUT: &'static str = "arm64 linear map, split in place without a TLBI under BBML3";
    const SOURCE: Source = Source {
        tree: "Linux 7.3",
        files: "arch/arm64/mm/mmu.c, arch/arm64/mm/pageattr.c",
    };
    const OPS: &'static [OpKind] = &[
        OpKind::Switch,
        OpKind::SchedOut,
        OpKind::Map,
        OpKind::Unmap,
        OpKind::Protect,
        OpKind::Split,
        OpKind::Touch,
        OpKind::Exit,
    ];
    const DEFECTS: &'static [Defect] = &[HINTED, NO_SPLIT_CONT];
    const GOALS: &'static [&'static str] = &[GOAL_SPLIT, GOAL_SPLIT_CONT];

    fn machine(config: Config) -> Config {
        Config {
            bbm: Bbm::NoAbort,
            ..config
        }
    }

    fn boot(boot: &Boot<'_>, context_id: [Shared<u64>; 8]) -> Self {
        let flush = KernelFlush {
            context_id,
            hinted: boot.has(HINTED.name),
        };
        Linear {
            tables: PageTables::boot(boot, Stage::One, "pgtable_split_lock", |_| flush),
            no_split_cont: boot.has(NO_SPLIT_CONT.name),
        }
    }

    async fn pgd(&self, cpu: Cpu<'_>, space: Space) -> u64 {
        self.tables.pgd(cpu, space).await
    }

    async fn map(&self, cpu: Cpu<'_>, space: Space, va: Va, page: Page) -> Done {
        self.tables.map(cpu, space, va, page).await
    }

    /// `set_direct_map_invalid_noflush` and its flush.
    async fn unmap(&self, cpu: Cpu<'_>, space: Space, va: Va) -> Done {
        let lock = self.tables.lock(space);
        lock.lock(cpu).await;
        let mut done = Done::No;
        if let Some((pte, 3, desc)) = self.tables.lookup(cpu, space, va).await {
            self.split_contpte(cpu, va, pte).await;
            cpu.pte_write(pte, Desc::INVALID).await;
            self.tables.flush.leaf(cpu, space, va, 3).await;
            cpu.free(desc.addr()).await;
            done = Done::Yes;
        }
        lock.unlock(cpu).await;
        done
    }

    /// `change_memory_common`: a page, or a whole block.
    async fn protect(&self, cpu: Cpu<'_>, space: Space, va: Va, prot: Prot) -> Done {
        let lock = self.tables.lock(space);
        lock.lock(cpu).await;
        let writable = prot == Prot::Rw;
        let mut done = Done::No;
        if let Some((at, level, desc)) = self.tables.lookup(cpu, space, va).await
            && desc.writable(Stage::One) != writable
        {
            let mut desc = desc;
            if level == 3 {
                self.split_contpte(cpu, va, at).await;
                desc = cpu.pte_read(at).await;
            }
            cpu.pte_write(at, desc.with_writable(Stage::One, writable))
                .await;
            self.tables.flush.leaf(cpu, space, va, level).await;
            done = Done::Yes;
        }
        lock.unlock(cpu).await;
        done
    }

    async fn split(&self, cpu: Cpu<'_>, space: Space, va: Va) -> Done {
        let lock = self.tables.lock(space);
        lock.lock(cpu).await;
        let done = self.split_pmd(cpu, space, va).await;
        lock.unlock(cpu).await;
        done
    }

    async fn exit(&self, cpu: Cpu<'_>, space: Space) -> Done {
        self.tables.exit(cpu, space).await
    }

    async fn fault(&self, cpu: Cpu<'_>, s: Space, va: Va, access: Access, why: Outcome) -> bool {
        self.tables.fault(cpu, s, va, access, why).await
    }
}

/// The variant.
pub type Port = Kernel<Linear>;
