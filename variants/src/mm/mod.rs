// SPDX-License-Identifier: GPL-2.0-only
//! Generic mm code (A8; mm/*.c, Linux 7.3): what changes page tables, under which locks, and
//! when it flushes. [`Mmu`] is what an architecture brings along.
//!
//! Unlike [`pgtable`](crate::pgtable), which holds one lock for the whole of every change, this
//! has the kernel's locks: `mmap_lock` for reading or writing, page-table locks for each table,
//! and none for reclaim and lockless walkers. Flushes are put off.
//!
//! What is mapped where: the page at address 0 is a file's in spaces A, C, E and G, and a
//! driver's (VM_PFNMAP) in the others. The page at 0xc000 is that of a hugetlb file, and a child
//! shares the table that maps it; nothing else can be mapped there. All other pages are anonymous.

pub mod arm64;
pub mod defects;
mod fault;
mod fork;
mod gather;
mod gup;
mod huge;
mod hugetlb;
mod kernel;
mod mremap;
mod ops;
mod pte;
mod rmap;
mod tables;
pub mod x86;

pub use fault::Fault;
pub use gather::Gather;
pub use kernel::Kernel;

use crate::arm64::defects::Built;
use crate::{Defect, Source, Tagging};
use pte::Ptes;
use shootdown_machine::{Boot, Config, Cpu, Lock, Shared, Space, Va};

const GOAL_NESTED: &str = "two gathers at a time";
const GOAL_BATCHED: &str = "an operation meets a batched unmap";
const GOAL_WAITS: &str = "a NUMA fault meets a pending flush";
const GOAL_COPY: &str = "a write fault copies a page";
const GOAL_REUSE: &str = "a write fault makes a page writable";
const GOAL_NO_AREA: &str = "a driver finds no area of its page";
const GOAL_FREED_TABLE: &str = "a table is freed with its last page";
const GOAL_TABLE_MOVED: &str = "a table moves";
const GOAL_RETRACTED: &str = "an empty table is retracted";
const GOAL_SHARED: &str = "a table is shared with a child";
const GOAL_UNSHARED: &str = "one of several leaves a shared table";
const GOAL_LAST: &str = "the last but one leaves a shared table";
const GOAL_CHANGED: &str = "a lockless walker finds the entry changed";

/// Places worth reaching.
pub const GOALS: &[&str] = &[
    GOAL_NESTED,
    GOAL_BATCHED,
    GOAL_WAITS,
    GOAL_COPY,
    GOAL_REUSE,
    GOAL_NO_AREA,
    GOAL_FREED_TABLE,
    GOAL_TABLE_MOVED,
    GOAL_RETRACTED,
    GOAL_SHARED,
    GOAL_UNSHARED,
    GOAL_LAST,
    GOAL_CHANGED,
];

/// An IPI that says nothing: that it is handled is enough.
pub const SYNC: u64 = u64::MAX;

/// In the word that says which page is a file's or a driver's: its area is in the reverse map.
const MAPPED: u64 = 1;

/// Who a page comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Anon,
    File,
    Driver,
}

/// An architecture: its switch between mms, and the flushes that generic code asks it for.
pub trait Mmu: Sized + 'static {
    /// See [`Variant`](crate::Variant).
    const NAME: &'static str;
    /// See [`Variant`](crate::Variant).
    const ABOUT: &'static str;
    /// See [`Variant`](crate::Variant).
    const SOURCE: Source;
    /// See [`Variant`](crate::Variant).
    const DEFECTS: &'static [Defect] = defects::ALL;
    /// See [`Variant`](crate::Variant).
    const TAGGING: Tagging = Tagging::Global;
    /// CONFIG_MMU_GATHER_RCU_TABLE_FREE: a flush does not wait for lockless walkers, so that who
    /// frees a table must.
    const RCU_TABLE_FREE: bool = true;

    /// The machine it needs.
    fn machine(config: Config) -> Config {
        config
    }
    /// Its variables; the variables with the root tables are given.
    fn boot(boot: &Boot<'_>, pgd: [Shared<u64>; 8]) -> Self;

    /// `switch_mm` and what the scheduler does around it.
    async fn switch_mm(&self, cpu: Cpu<'_>, prev: Option<Space>, next: Space, pgd: u64);
    /// Switches to a kernel thread.
    async fn switch_to_init_mm(&self, cpu: Cpu<'_>, prev: Space);
    /// `mmdrop` of an mm whose tables are gone, and `init_new_context` of the next.
    async fn destroy_context(&self, cpu: Cpu<'_>, mm: Space);

    /// Whether the task of this CPU may walk an mm without a lock: any may, or only its own.
    async fn current_mm(&self, _cpu: Cpu<'_>, _mm: Space) -> bool {
        true
    }

    /// `flush_tlb_page`.
    async fn flush_tlb_page(&self, cpu: Cpu<'_>, mm: Space, va: Va);
    /// `flush_tlb_range`, of leaves of any level; of tables too if asked for.
    async fn flush_tlb_range(&self, cpu: Cpu<'_>, mm: Space, start: Va, end: Va, freed: bool);
    /// `flush_tlb_mm`.
    async fn flush_tlb_mm(&self, cpu: Cpu<'_>, mm: Space);
    /// `tlb_flush`.
    async fn tlb_flush(&self, cpu: Cpu<'_>, tlb: &Gather);
    /// `arch_tlbbatch_add_pending`.
    async fn arch_tlbbatch_add_pending(&self, cpu: Cpu<'_>, mm: Space, va: Va);
    /// `arch_tlbbatch_flush`.
    async fn arch_tlbbatch_flush(&self, cpu: Cpu<'_>);
    /// `arch_flush_tlb_batched_pending`: other CPUs' batches may not be complete.
    async fn arch_flush_tlb_batched_pending(&self, cpu: Cpu<'_>, mm: Space) {
        self.flush_tlb_mm(cpu, mm).await;
    }
    /// `flush_tlb_fix_spurious_fault`.
    async fn flush_tlb_fix_spurious_fault(&self, cpu: Cpu<'_>, mm: Space, va: Va);
    /// After an entry was made valid.
    async fn update_mmu_cache(&self, _cpu: Cpu<'_>) {}
    /// This CPU took a TLB conflict abort.
    async fn conflict(&self, _cpu: Cpu<'_>) {}
    /// An IPI of its own.
    async fn ipi(&self, _cpu: Cpu<'_>, _message: u64) {}
}

/// The mms of a kernel.
#[derive(Debug)]
pub struct Mm<A> {
    arch: A,
    ptes: Ptes,
    pgd: [Shared<u64>; 8],
    /// By space and CPU.
    mmap_lock: [Lock; 32],
    /// By space and table.
    ptl: [Lock; 32],
    /// `mm->page_table_lock`, for entries above the last level.
    pmd_lock: [Lock; 8],
    /// What keeps areas and pages in the reverse map: `i_mmap_rwsem`, the lock of the anon_vma,
    /// and the lock of the folio.
    rmap_lock: [Lock; 8],
    /// `i_mmap_rwsem` of hugetlb files.
    i_mmap: Lock,
    /// The page that the file or the driver of address 0 has, and whether its area is in the
    /// reverse map (for a file's page: whether it counts as mapped).
    page_of: [Shared<u64>; 8],
    /// By CPU: what its user of `gup_fast` holds.
    pinned: [Shared<u64>; 4],
    tlb_flush_pending: [Shared<u64>; 8],
    /// `mm->tlb_flush_batched`: batched unmaps below, those of them that were flushed above.
    tlb_flush_batched: [Shared<u64>; 8],
    built: Built,
}

impl<A: Mmu> Mm<A> {
    /// Sets up the initial spaces.
    fn boot(boot: &Boot<'_>) -> Mm<A> {
        let spaces = boot.config().spaces;
        let here = |i: usize| (i as u8) < spaces;
        let roots: [u64; 8] = core::array::from_fn(|i| {
            if here(i) {
                boot.root(Space(i as u8))
            } else {
                0
            }
        });
        let pgd = boot.vars_from("pgd", roots);
        let mut mm = Mm {
            arch: A::boot(boot, pgd),
            ptes: Ptes(boot.config().arch),
            pgd,
            mmap_lock: boot.locks("mmap_lock"),
            ptl: boot.locks("ptl"),
            pmd_lock: boot.locks("page_table_lock"),
            rmap_lock: boot.locks("rmap_lock"),
            i_mmap: boot.lock("i_mmap_rwsem"),
            page_of: [pgd[0]; 8],
            pinned: boot.vars("pinned", 0),
            tlb_flush_pending: boot.vars("tlb_flush_pending", 0),
            tlb_flush_batched: boot.vars("tlb_flush_batched", 0),
            built: Built::of(boot, A::DEFECTS),
        };
        let mut pages = [0; 8];
        for i in (0..8).filter(|i| here(*i)) {
            pages[i] = mm.boot_space(boot, Space(i as u8), roots[i]) | MAPPED;
        }
        mm.page_of = boot.vars_from("page_of", pages);
        mm
    }

    /// Whether the page at address 0 is a driver's.
    fn drives(&self, mm: Space) -> bool {
        mm.0 % 2 == 1
    }

    /// Who a page comes from that is mapped at an address; under its page-table lock.
    async fn kind(&self, cpu: Cpu<'_>, mm: Space, va: Va, pa: u64) -> Kind {
        if va != 0 || self.page_of[mm.0 as usize].read(cpu).await & !MAPPED != pa {
            Kind::Anon
        } else if self.drives(mm) {
            Kind::Driver
        } else {
            Kind::File
        }
    }
}
