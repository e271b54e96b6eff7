// SPDX-License-Identifier: GPL-2.0-only
//! arm64 hugetlb pages of contiguous pages (`arch/arm64/include/asm/hugetlb.h`,
//! `arch/arm64/mm/hugetlbpage.c`), on CPUs with FEAT_LPA2 whose kernel uses no range operations.
//!
//! A block that is split becomes contiguous pages. What changes one of them breaks its group up
//! first; in the kernel the whole group changes.

use super::arm64_contpte::{BYTES, first, split_locked};
use crate::arm64::defects::Built;
use crate::arm64::tlbflush::{Features, Range, TlbFlush};
use crate::bbml3::{Kernel, Tables};
use crate::pgtable::PageTables;
use crate::{Defect, Source};
use shootdown_machine::arm64::{Desc, Stage, Ttl};
use shootdown_machine::{
    Access, Boot, Config, Cpu, Done, GROUP, Lock, OpKind, Outcome, PAGE, Page, Prot, Shared, Space,
    Switch, Va,
};

const LEVEL_0: Defect = Defect {
    name: "B-11",
    about: "the flush of contiguous pages hints at level 0, which was once no hint",
    source: "eed6bfa8b282 \"arm64: hugetlb: Fix flush_hugetlb_tlb_range() invalidation level\"",
    breaks: &[&[
        "break-before-make",
        "no-conflicting-entries",
        "no-write-after-protect",
        "TLBEmptyInvalPTE",
        "ttl-mismatch",
    ]],
    needs: &[],
};

const GOAL_BROKEN: &str = "a contiguous page is broken up";

/// The tables.
#[derive(Debug)]
pub struct Hugetlb {
    tables: PageTables<TlbFlush>,
    /// `hugetlb_vma_lock`: pages stay of the size that they are found to be.
    vma_lock: [Lock; 8],
    level_0: bool,
}

impl Hugetlb {
    /// `flush_hugetlb_tlb_range` of a page of CONT_PTE_SIZE.
    async fn flush_hugetlb_tlb_range(&self, cpu: Cpu<'_>, mm: Space, start: Va) {
        let range = Range {
            start,
            size: BYTES,
            stride: PAGE,
            level: Ttl::Level(if self.level_0 { 0 } else { 3 }),
            last_level: false,
        };
        self.tables.flush.__flush_tlb_range(cpu, mm, range).await;
    }

    /// `get_clear_contig` and a flush; then the pages again, each by itself, and the one at hand
    /// with the permission that it is to have. `None`: it was no contiguous page.
    async fn break_up(
        &self,
        cpu: Cpu<'_>,
        mm: Space,
        va: Va,
        writable: Option<bool>,
    ) -> Option<Done> {
        let lock = self.tables.lock(mm);
        lock.lock(cpu).await;
        let mut done = None;
        if let Some((pte, 3, desc)) = self.tables.lookup(cpu, mm, va).await
            && desc.contiguous()
        {
            cpu.goal(GOAL_BROKEN);
            let (start, ptep) = first(va, pte);
            let mut old = [Desc::INVALID; GROUP];
            for (i, old) in (0..).zip(&mut old) {
                *old = cpu.pte_xchg_relaxed(ptep + i * 8, Desc::INVALID).await;
            }
            self.flush_hugetlb_tlb_range(cpu, mm, start).await;
            for (i, old) in (0..).zip(old) {
                let mut page = old.with_contiguous(false);
                if start + i * PAGE == va {
                    let was = old.writable(Stage::One);
                    let now = writable.unwrap_or(was);
                    page = page.with_writable(Stage::One, now);
                    done = Some(if now == was { Done::No } else { Done::Yes });
                }
                self.tables.set_desc(cpu, ptep + i * 8, page).await;
            }
        }
        lock.unlock(cpu).await;
        done
    }
}

impl Tables for Hugetlb {
    const NAME: &'static str = "arm64-hugetlb";
    const ABOUT: &'static str = "arm64 hugetlb pages of contiguous pages, with LPA2 and without range operations";
    const SOURCE: Source = Source {
        tree: "Linux 7.3",
        files: "arch/arm64/include/asm/hugetlb.h, arch/arm64/mm/hugetlbpage.c",
    };
    const OPS: &'static [OpKind] = OpKind::BASIC;
    const DEFECTS: &'static [Defect] = &[LEVEL_0];
    const GOALS: &'static [&'static str] = &[GOAL_BROKEN];

    fn machine(config: Config) -> Config {
        Config {
            switches: config.switches.with(Switch::Lpa2, true),
            ..config
        }
    }

    fn boot(boot: &Boot<'_>, context_id: [Shared<u64>; 8]) -> Self {
        let features = Features {
            kpti: false,
            tlb_range: false,
        };
        let flush = |_| TlbFlush::new(boot, context_id, features, Built::of(boot, &[]));
        Hugetlb {
            tables: PageTables::boot(boot, Stage::One, "mmap_lock", flush),
            vma_lock: boot.locks("vma_lock"),
            level_0: boot.has(LEVEL_0.name),
        }
    }

    async fn pgd(&self, cpu: Cpu<'_>, mm: Space) -> u64 {
        self.tables.pgd(cpu, mm).await
    }

    async fn map(&self, cpu: Cpu<'_>, mm: Space, va: Va, page: Page) -> Done {
        self.tables.map(cpu, mm, va, page).await
    }

    async fn unmap(&self, cpu: Cpu<'_>, mm: Space, va: Va) -> Done {
        let lock = self.vma_lock[mm.0 as usize];
        lock.lock(cpu).await;
        self.break_up(cpu, mm, va, None).await;
        let done = self.tables.unmap(cpu, mm, va).await;
        lock.unlock(cpu).await;
        done
    }

    async fn protect(&self, cpu: Cpu<'_>, mm: Space, va: Va, prot: Prot) -> Done {
        let lock = self.vma_lock[mm.0 as usize];
        lock.lock(cpu).await;
        let writable = Some(prot == Prot::Rw);
        let done = match self.break_up(cpu, mm, va, writable).await {
            Some(done) => done,
            None => self.tables.protect(cpu, mm, va, prot).await,
        };
        lock.unlock(cpu).await;
        done
    }

    async fn remap(&self, cpu: Cpu<'_>, mm: Space, va: Va, page: Page) -> Done {
        let lock = self.vma_lock[mm.0 as usize];
        lock.lock(cpu).await;
        self.break_up(cpu, mm, va, None).await;
        let done = self.tables.remap(cpu, mm, va, page).await;
        lock.unlock(cpu).await;
        done
    }

    /// The pages are adjacent, and written as groups (`set_huge_pte_at`).
    async fn split(&self, cpu: Cpu<'_>, mm: Space, va: Va) -> Done {
        let (vma, lock) = (self.vma_lock[mm.0 as usize], self.tables.lock(mm));
        vma.lock(cpu).await;
        lock.lock(cpu).await;
        let done = split_locked(&self.tables, cpu, mm, va).await;
        lock.unlock(cpu).await;
        vma.unlock(cpu).await;
        done
    }

    async fn collapse(&self, cpu: Cpu<'_>, mm: Space, va: Va, page: Page) -> Done {
        self.tables.collapse(cpu, mm, va, page).await
    }

    async fn exit(&self, cpu: Cpu<'_>, mm: Space) -> Done {
        self.tables.exit(cpu, mm).await
    }

    async fn fault(&self, cpu: Cpu<'_>, mm: Space, va: Va, access: Access, why: Outcome) -> bool {
        self.tables.fault(cpu, mm, va, access, why).await
    }
}

/// The variant.
pub type Port = Kernel<Hugetlb>;
