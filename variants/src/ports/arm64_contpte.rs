// SPDX-License-Identifier: GPL-2.0-only
//! arm64 user mappings whose adjacent pages are folded into contiguous groups, and unfolded
//! before one of them changes (`arch/arm64/mm/contpte.c`). The tables' lock is the mm's here.

use crate::arm64::defects::Built;
use crate::arm64::idx;
use crate::arm64::tlbflush::{Features, TlbFlush};
use crate::bbml3::{Kernel, Tables};
use crate::pgtable::{Flush, PageTables};
use crate::{Defect, Source};
use shootdown_machine::arm64::{Desc, Kind, Stage, Tlbi, Ttl};
use shootdown_machine::{
    Access, Bbm, Boot, Cpu, Done, Dsb, GROUP, OpKind, Outcome, PAGE, Page, Prot, SLOTS, Shared,
    Space, Va,
};

const FOLD_NO_FLUSH: Defect = Defect {
    name: "convert-no-flush",
    about: "pages are folded and unfolded without a flush, whatever the CPUs have",
    source: "derived; the test for BBML3 in contpte_convert",
    breaks: &[&["no-conflicting-entries"]],
    needs: &[],
};

const FOLD_ONE_PAGE: Defect = Defect {
    name: "flush-one-page",
    about: "folding and unfolding flush the group's first page only",
    source: "derived; the range of the flush in contpte_convert",
    breaks: &[&["no-conflicting-entries"]],
    needs: &[],
};

const NO_UNFOLD: Defect = Defect {
    name: "access-flags-no-unfold",
    about: "a page gets write permission, and stays part of a group that has it not",
    source: "derived; contpte_ptep_set_access_flags unfolds if the write bit changes",
    breaks: &[&[
        "no-write-after-protect",
        "TLBEmptyInvalPTE",
        "no-conflicting-entries",
        // Unfolding gives all pages what one of them has.
        "matches-reference",
    ]],
    needs: &[],
};

const RESTRICT_NO_UNFOLD: Defect = Defect {
    name: "clear-no-unfold",
    about: "a page is unmapped or protected with the rest of its group still said to be contiguous",
    source: "derived; contpte_try_unfold in ptep_get_and_clear",
    breaks: &[&[
        "TLBEmptyInvalPTE",
        "no-use-after-unmap",
        "no-use-of-freed-frame",
        "no-write-after-protect",
        "no-lost-write",
        "no-conflicting-entries",
        "break-before-make",
        // Unfolding what is no group any more maps what was unmapped.
        "matches-reference",
    ]],
    needs: &[],
};

const GOAL_FOLD: &str = "pages are folded";
const GOAL_UNFOLD: &str = "a group is unfolded";
const GOAL_IN_USE: &str = "a group is unfolded while another CPU runs, without a flush";
const GOAL_YOUNG: &str = "a group gets its access flag back";

/// The tables.
#[derive(Debug)]
pub struct Contpte {
    tables: PageTables<TlbFlush>,
    flush: Local,
    /// FEAT_BBM level 2 without conflict aborts.
    bbml3: bool,
    no_flush: bool,
    one_page: bool,
    no_unfold: bool,
    clear_no_unfold: bool,
}

/// Flushes of a group.
#[derive(Debug)]
struct Local {
    context_id: [Shared<u64>; 8],
}

impl Local {
    async fn asid(&self, cpu: Cpu<'_>, mm: Space) -> u16 {
        idx(self.context_id[mm.0 as usize].read(cpu).await) as u16
    }

    /// `__flush_tlb_range(TLBF_NOWALKCACHE)`, level 3; without `wait`, its end is left to a later
    /// DSB.
    async fn range(&self, cpu: Cpu<'_>, mm: Space, va: Va, pages: usize, wait: bool) {
        cpu.dsb(Dsb::Ishst).await;
        let asid = self.asid(cpu, mm).await;
        let granule = cpu.config().granule;
        let op = if pages == 1 {
            Tlbi::addr_in(granule, Kind::Vale1is, va, asid, Ttl::Level(3))
        } else {
            let num = pages as u8 / 2 - 1;
            Tlbi::range_in(granule, Kind::Rvale1is, va, 0, num, asid, Ttl::Level(3))
        };
        cpu.tlbi(op).await;
        if wait {
            cpu.dsb(Dsb::Ish).await;
        }
    }

    /// The same on this CPU (TLBF_NOBROADCAST).
    async fn local(&self, cpu: Cpu<'_>, mm: Space, va: Va, pages: usize) {
        // Unnoticed: the worst is one more fault, whose handler waits for the lock that the
        // store is made under.
        cpu.dsb(Dsb::Nshst).await;
        let asid = self.asid(cpu, mm).await;
        let granule = cpu.config().granule;
        let op = if pages == 1 {
            Tlbi::addr_in(granule, Kind::Vale1, va, asid, Ttl::Unknown)
        } else {
            let num = pages as u8 / 2 - 1;
            Tlbi::range_in(granule, Kind::Rvale1, va, 0, num, asid, Ttl::Level(3))
        };
        // Unnoticed: no entry is without access flag, and a read-only one is good for one more
        // fault, whose handler flushes it.
        cpu.tlbi(op).await;
        // Unnoticed: as the TLBI.
        cpu.dsb(Dsb::Nsh).await;
    }
}

pub(crate) const BYTES: u64 = GROUP as u64 * PAGE;

/// Of a group's page: the address of the first, and where its descriptor lies.
pub(crate) fn first(va: Va, pte: u64) -> (Va, u64) {
    let back = va % BYTES;
    (va - back, pte - back / PAGE * 8)
}

/// A block becomes a table of contiguous pages; under the tables' lock.
pub(crate) async fn split_locked(
    tables: &PageTables<TlbFlush>,
    cpu: Cpu<'_>,
    mm: Space,
    va: Va,
) -> Done {
    let Some((pmd, 2, block)) = tables.lookup(cpu, mm, va).await else {
        return Done::No;
    };
    let table = cpu.alloc_table(mm).await;
    if table == 0 {
        return Done::Exhausted;
    }
    cpu.pte_xchg_relaxed(pmd, Desc::INVALID).await;
    tables.flush.leaf(cpu, mm, va, 2).await;
    let writable = block.writable(Stage::One);
    for i in 0..SLOTS as u64 {
        let page = Desc::leaf(Stage::One, 3, block.addr() + i * PAGE, writable);
        let page = page.with_contiguous(true);
        cpu.pte_write(table + i * 8, page).await;
    }
    tables.set_desc(cpu, pmd, Desc::table(table)).await;
    Done::Yes
}

impl Contpte {
    /// `contpte_convert`: each page's entry is taken out and put back, as a group or by itself.
    async fn convert(&self, cpu: Cpu<'_>, mm: Space, va: Va, pte: u64, mut target: Desc) {
        let (start, ptep) = first(va, pte);
        target.0 -= target.addr() % BYTES;
        for i in 0..GROUP as u64 {
            let old = cpu.pte_xchg_relaxed(ptep + i * 8, Desc::INVALID).await;
            if old.accessed() {
                target = target.with_accessed(true);
            }
        }
        if !self.bbml3 && !self.no_flush {
            let pages = if self.one_page { 1 } else { GROUP };
            self.flush.range(cpu, mm, start, pages, true).await;
        }
        for i in 0..GROUP as u64 {
            cpu.pte_write(ptep + i * 8, Desc(target.0 + i * PAGE)).await;
        }
        if self.bbml3 && cpu.config().cpus > 1 {
            cpu.goal(GOAL_IN_USE);
        }
    }

    /// `contpte_try_fold`: once the last page of a group is set, all may be alike.
    async fn try_fold(&self, cpu: Cpu<'_>, mm: Space, va: Va, pte: u64) {
        let (start, ptep) = first(va, pte);
        if va - start != BYTES - PAGE {
            return;
        }
        let zero = cpu.pte_read(ptep).await;
        if !zero.is_leaf(3) || zero.contiguous() || !zero.addr().is_multiple_of(BYTES) {
            return;
        }
        for i in 1..GROUP as u64 {
            let other = cpu.pte_read(ptep + i * 8).await.with_accessed(true);
            if other != Desc(zero.with_accessed(true).0 + i * PAGE) {
                return;
            }
        }
        cpu.goal(GOAL_FOLD);
        let group = zero.with_contiguous(true);
        self.convert(cpu, mm, va, pte, group).await;
    }

    /// `contpte_try_unfold`; gives the entry as it is then.
    async fn try_unfold(&self, cpu: Cpu<'_>, mm: Space, va: Va, pte: u64) -> Desc {
        let old = cpu.pte_read(pte).await;
        if !old.contiguous() {
            return old;
        }
        cpu.goal(GOAL_UNFOLD);
        self.convert(cpu, mm, va, pte, old.with_contiguous(false))
            .await;
        cpu.pte_read(pte).await
    }

    /// The entry for a page, taken out of its group and out of the table.
    async fn get_and_clear(&self, cpu: Cpu<'_>, mm: Space, va: Va, pte: u64) -> Desc {
        if !self.clear_no_unfold {
            self.try_unfold(cpu, mm, va, pte).await;
        }
        cpu.pte_xchg_relaxed(pte, Desc::INVALID).await
    }

    async fn protect_page(&self, cpu: Cpu<'_>, mm: Space, va: Va, pte: u64, writable: bool) {
        if writable {
            let old = cpu.pte_read(pte).await;
            let new = old.with_writable(Stage::One, true);
            return self.set_access_flags(cpu, mm, va, pte, new).await;
        }
        let old = self.get_and_clear(cpu, mm, va, pte).await;
        let new = old.with_writable(Stage::One, false);
        cpu.pte_write(pte, new).await;
        self.try_fold(cpu, mm, va, pte).await;
        self.tables.flush.restrict(cpu, mm, va, 3).await;
    }

    /// `contpte_ptep_set_access_flags`: the access flag is the group's; write permission is the
    /// page's own.
    async fn set_access_flags(&self, cpu: Cpu<'_>, mm: Space, va: Va, pte: u64, entry: Desc) {
        let old = cpu.pte_read(pte).await;
        let same = old.writable(Stage::One) == entry.writable(Stage::One);
        let (start, ptep) = first(va, pte);
        if old.contiguous() && !same && self.no_unfold {
            self.grant(cpu, pte, entry).await;
            return self.flush.local(cpu, mm, start, GROUP).await;
        }
        if old.contiguous() && same {
            cpu.goal(GOAL_YOUNG);
            for i in 0..GROUP as u64 {
                self.grant(cpu, ptep + i * 8, entry).await;
            }
            return self.flush.local(cpu, mm, start, GROUP).await;
        }
        self.try_unfold(cpu, mm, va, pte).await;
        self.grant(cpu, pte, entry).await;
        self.flush.local(cpu, mm, va, 1).await;
        self.try_fold(cpu, mm, va, pte).await;
    }

    /// `__ptep_set_access_flags_anysz`: what hardware has set meanwhile stays.
    async fn grant(&self, cpu: Cpu<'_>, pte: u64, entry: Desc) {
        let mut old = cpu.pte_read(pte).await;
        loop {
            let mut new = old.with_accessed(old.accessed() || entry.accessed());
            if entry.writable(Stage::One) {
                new = new.with_writable(Stage::One, true);
            }
            let was = cpu.pte_cmpxchg(pte, old, new).await;
            if was == old {
                return;
            }
            old = was;
        }
    }

    async fn remap_locked(&self, cpu: Cpu<'_>, mm: Space, va: Va, page: Page) -> Done {
        let Some((pte, 3, _)) = self.tables.lookup(cpu, mm, va).await else {
            return Done::No;
        };
        let new = cpu.alloc_page(mm, page).await;
        if new == 0 {
            return Done::Exhausted;
        }
        let old = self.get_and_clear(cpu, mm, va, pte).await;
        self.tables.flush.leaf(cpu, mm, va, 3).await;
        cpu.copy_page(old.addr(), new).await;
        let desc = Desc::leaf(Stage::One, 3, new, old.writable(Stage::One));
        self.tables.set_desc(cpu, pte, desc).await;
        cpu.free(old.addr()).await;
        Done::Yes
    }
}

impl Tables for Contpte {
    const NAME: &'static str = "arm64-contpte";
    const ABOUT: &'static str = "arm64 pages folded into contiguous groups, without a break under BBML3";
    const SOURCE: Source = Source {
        tree: "Linux 7.3",
        files: "arch/arm64/mm/contpte.c, arch/arm64/include/asm/pgtable.h",
    };
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
        OpKind::Age,
    ];
    const DEFECTS: &'static [Defect] =
        &[FOLD_NO_FLUSH, FOLD_ONE_PAGE, NO_UNFOLD, RESTRICT_NO_UNFOLD];
    const GOALS: &'static [&'static str] = &[GOAL_FOLD, GOAL_UNFOLD, GOAL_IN_USE, GOAL_YOUNG];

    fn boot(boot: &Boot<'_>, context_id: [Shared<u64>; 8]) -> Self {
        let features = Features {
            kpti: false,
            tlb_range: true,
        };
        let flush = |_| TlbFlush::new(boot, context_id, features, Built::of(boot, &[]));
        Contpte {
            tables: PageTables::boot(boot, Stage::One, "mmap_lock", flush),
            flush: Local { context_id },
            bbml3: boot.config().bbm == Bbm::NoAbort,
            no_flush: boot.has(FOLD_NO_FLUSH.name),
            one_page: boot.has(FOLD_ONE_PAGE.name),
            no_unfold: boot.has(NO_UNFOLD.name),
            clear_no_unfold: boot.has(RESTRICT_NO_UNFOLD.name),
        }
    }

    async fn pgd(&self, cpu: Cpu<'_>, mm: Space) -> u64 {
        self.tables.pgd(cpu, mm).await
    }

    async fn map(&self, cpu: Cpu<'_>, mm: Space, va: Va, page: Page) -> Done {
        let lock = self.tables.lock(mm);
        lock.lock(cpu).await;
        let done = self.tables.map_locked(cpu, mm, va, page).await;
        if done == Ok(Done::Yes)
            && let Some((pte, 3, _)) = self.tables.lookup(cpu, mm, va).await
        {
            self.try_fold(cpu, mm, va, pte).await;
        }
        lock.unlock(cpu).await;
        done.unwrap_or_else(|e| e)
    }

    async fn unmap(&self, cpu: Cpu<'_>, mm: Space, va: Va) -> Done {
        let lock = self.tables.lock(mm);
        lock.lock(cpu).await;
        let mut done = Done::No;
        if let Some((pte, 3, _)) = self.tables.lookup(cpu, mm, va).await {
            let old = self.get_and_clear(cpu, mm, va, pte).await;
            self.tables.flush.leaf(cpu, mm, va, 3).await;
            cpu.free(old.addr()).await;
            done = Done::Yes;
        }
        lock.unlock(cpu).await;
        done
    }

    async fn protect(&self, cpu: Cpu<'_>, mm: Space, va: Va, prot: Prot) -> Done {
        let lock = self.tables.lock(mm);
        lock.lock(cpu).await;
        let writable = prot == Prot::Rw;
        let mut done = Done::No;
        if let Some((at, level, desc)) = self.tables.lookup(cpu, mm, va).await
            && desc.writable(Stage::One) != writable
        {
            if level == 3 {
                self.protect_page(cpu, mm, va, at, writable).await;
            } else {
                cpu.pte_xchg_relaxed(at, desc.with_writable(Stage::One, writable))
                    .await;
                self.tables.flush.restrict(cpu, mm, va, level).await;
            }
            done = Done::Yes;
        }
        lock.unlock(cpu).await;
        done
    }

    async fn remap(&self, cpu: Cpu<'_>, mm: Space, va: Va, page: Page) -> Done {
        let lock = self.tables.lock(mm);
        lock.lock(cpu).await;
        let done = self.remap_locked(cpu, mm, va, page).await;
        lock.unlock(cpu).await;
        done
    }

    /// `__split_huge_pmd`: the pages are adjacent, and written as groups (`set_ptes`).
    async fn split(&self, cpu: Cpu<'_>, mm: Space, va: Va) -> Done {
        let lock = self.tables.lock(mm);
        lock.lock(cpu).await;
        let done = split_locked(&self.tables, cpu, mm, va).await;
        lock.unlock(cpu).await;
        done
    }

    async fn collapse(&self, cpu: Cpu<'_>, mm: Space, va: Va, page: Page) -> Done {
        self.tables.collapse(cpu, mm, va, page).await
    }

    /// `contpte_clear_flush_young`: the whole group is old; nobody waits for the flush.
    async fn age(&self, cpu: Cpu<'_>, mm: Space, va: Va) -> Done {
        let lock = self.tables.lock(mm);
        lock.lock(cpu).await;
        let mut done = Done::No;
        if let Some((at, level, desc)) = self.tables.lookup(cpu, mm, va).await
            && level == 3
        {
            let (start, ptep, pages) = match desc.contiguous() {
                true => (first(va, at).0, first(va, at).1, GROUP),
                false => (va, at, 1),
            };
            for i in 0..pages as u64 {
                let mut old = cpu.pte_read(ptep + i * 8).await;
                // What hardware has set meanwhile stays.
                while old.accessed() {
                    let new = old.with_accessed(false);
                    let was = cpu.pte_cmpxchg(ptep + i * 8, old, new).await;
                    if was == old {
                        break;
                    }
                    old = was;
                }
            }
            self.flush.range(cpu, mm, start, pages, false).await;
            done = Done::Yes;
        }
        lock.unlock(cpu).await;
        done
    }

    async fn exit(&self, cpu: Cpu<'_>, mm: Space) -> Done {
        self.tables.exit(cpu, mm).await
    }

    async fn fault(&self, cpu: Cpu<'_>, mm: Space, va: Va, access: Access, why: Outcome) -> bool {
        if why == Outcome::Translation {
            let lock = self.tables.lock(mm);
            lock.lock(cpu).await;
            if let Some((pte, 3, desc)) = self.tables.lookup(cpu, mm, va).await
                && !desc.accessed()
            {
                let entry = desc.with_accessed(true);
                self.set_access_flags(cpu, mm, va, pte, entry).await;
            }
            lock.unlock(cpu).await;
        }
        self.tables.fault(cpu, mm, va, access, why).await
    }
}

/// The variant.
pub type Port = Kernel<Contpte>;
