// SPDX-License-Identifier: GPL-2.0-only
//! What has been wrong with generic mm code.

use crate::Defect;

/// Somebody goes on to use a page that is his no more.
const STALE: &[&str] = &[
    "no-use-of-freed-frame",
    "no-use-after-unmap",
    "no-write-after-protect",
    "no-lost-write",
    "TLBEmptyInvalPTE",
    "no-conflicting-entries",
    "break-before-make",
];

/// The same, after a table was freed.
const FREED: &[&str] = &["no-walk-of-freed-table"];

/// B-22: the flush of a move comes after its locks are gone.
pub const MOVE: Defect = Defect {
    name: "B-22",
    about: "mremap flushes the old addresses after the page-table locks are dropped",
    source: "eb66ae030829 \"mremap: properly flush TLB before releasing the page\", CVE-2018-18281",
    breaks: &[STALE],
    needs: &[],
};

/// B-22b: the table that is to be moved is gone, and what is moved is the frame at address 0. It
/// is walked, and stored to, and freed with the next table that is taken from there.
pub const RETRACTED: Defect = Defect {
    name: "B-22b",
    about: "mremap moves what was a table before it took the rmap locks",
    source: "6fa1066fc5d0 \"mm/mremap: fix move_normal_pmd/retract_page_tables race\", CVE-2024-50066",
    breaks: &[FREED, &["no-store-to-freed-table", "frame-freed-twice"]],
    needs: &[],
};

/// B-23: a driver finds no area left, and takes its page back.
pub const PFNMAP: Defect = Defect {
    name: "B-23",
    about: "munmap of a driver's page unlinks the area before the flush",
    source: "b67fbebd4cf9 \"mmu_gather: Force tlb-flush VM_PFNMAP vmas\", CVE-2022-39188",
    breaks: &[STALE],
    needs: &[],
};

/// B-23, as first backported.
pub const PFNMAP_FIRST: Defect = Defect {
    name: "B-23-first",
    about: "munmap of several areas flushes before unlinking only if the first is a driver's",
    source: "the first stable backports of b67fbebd4cf9",
    breaks: &[STALE],
    needs: &[],
};

/// B-24: what reclaim has put off is nobody else's business.
pub const BATCHED: Defect = Defect {
    name: "B-24",
    about: "mprotect, munmap and madvise do not flush what reclaim has put off",
    source: "3ea277194daa \"mm, mprotect: flush TLB if potentially racing with a parallel reclaim leaving stale TLB entries\"",
    breaks: &[STALE],
    needs: &[],
};

/// B-26: a page is migrated while its old entries are in use.
pub const NUMA: Defect = Defect {
    name: "B-26",
    about: "a NUMA fault migrates the page though the flush of the hint is pending",
    source: "20841405940e \"mm: fix TLB flush race between migration, and change_protection_range\"",
    breaks: &[STALE],
    needs: &[],
};

/// B-26b: the first to finish says that nothing is pending.
pub const FLAG: Defect = Defect {
    name: "B-26b",
    about: "tlb_flush_pending is a flag, which the first of two to finish clears",
    source: "16af97dc5a89 \"mm: migrate: prevent racy access to tlb_flush_pending\"",
    breaks: &[STALE],
    needs: &[],
};

/// B-27: what is written through stale entries after the write-back is lost.
pub const DIRTY: Defect = Defect {
    name: "B-27",
    about: "zap drops the page-table lock before it has flushed a dirty shared page",
    source: "1cf35d47712d \"mm: split 'tlb_flush_mmu()' into tlb flushing and memory freeing parts\"",
    breaks: &[&["no-lost-write"]],
    needs: &[],
};

/// B-27, the second part: the page looks unmapped before the flush.
pub const EARLY_RMAP: Defect = Defect {
    name: "B-27-rmap",
    about: "zap takes the page out of the reverse map before it has flushed",
    source: "5df397dec7c4 \"mm: delay page_remove_rmap() until after the TLB has been flushed\"",
    breaks: &[&["no-lost-write"]],
    needs: &[],
};

/// B-30: nobody notices that another has cleared the entry and not flushed.
pub const NESTED: Defect = Defect {
    name: "B-30",
    about: "madvise and munmap flush nothing where another madvise has cleared the entries",
    source: "99baac21e458 \"mm: fix MADV_[FREE|DONTNEED] TLB flush miss problem\"",
    breaks: &[STALE],
    needs: &[],
};

/// B-30, the second part: the forced flush is told that there is nothing to flush.
pub const NESTED_HINT: Defect = Defect {
    name: "B-30-hint",
    about: "the forced flush of a nested gather forgets what was cleared and freed",
    source: "7a30df49f63a \"mm: mmu_gather: remove __tlb_reset_range() for force flush\"",
    breaks: &[STALE, FREED, &["ttl-mismatch"]],
    needs: &[],
};

/// B-31: nobody waits for a lockless walker.
pub const NO_IPI: Defect = Defect {
    name: "B-31",
    about: "khugepaged reuses the table without waiting for lockless walkers",
    source: "2ba99c5e0881 \"mm/khugepaged: fix GUP-fast interaction by sending IPI\"",
    breaks: &[FREED],
    needs: &[],
};

/// B-32: the page is copied while its old entries are in use.
pub const WP_COPY: Defect = Defect {
    name: "B-32",
    about: "a write fault copies the page though the flush of the write protection is pending",
    source: "6ce64428d620 \"mm/userfaultfd: fix memory corruption due to writeprotect\"",
    breaks: &[STALE],
    needs: &[],
};

/// A mutant.
pub const FORK: Defect = Defect {
    name: "fork-no-flush",
    about: "fork write-protects the parent's pages and does not flush",
    source: "derived; flush_tlb_mm in dup_mmap",
    breaks: &[STALE],
    needs: &[],
};

/// A mutant.
pub const BATCH_LATE: Defect = Defect {
    name: "free-before-flush",
    about: "reclaim frees its page before the end of the batch",
    source: "derived; try_to_unmap_flush in shrink_folio_list",
    breaks: &[STALE],
    needs: &[],
};

/// B-29: what a table mapped that others still have.
pub const UNSHARE: Defect = Defect {
    name: "B-29",
    about: "leaving a table that mms share records nothing to be flushed",
    source: "a4a118f2eead \"hugetlbfs: flush TLBs correctly after huge_pmd_unshare\", CVE-2021-4002",
    breaks: &[STALE, FREED],
    needs: &[],
};

/// B-29, the second part: lockless walkers of a table that is another mm's now.
pub const UNSHARE_GUP: Defect = Defect {
    name: "B-29-gup",
    about: "the last but one to leave a shared table does not wait for lockless walkers",
    source: "1013af4f585f \"mm/hugetlb: fix huge_pmd_unshare() vs GUP-fast race\", CVE-2025-38085",
    breaks: &[FREED],
    needs: &[],
};

/// B-29, the third part, of arm64: the same for walk caches.
pub const UNSHARE_LEAF: Defect = Defect {
    name: "B-29-leaf",
    about: "leaving a shared table flushes leaves only, and walk caches still point to it",
    source: "c2ff4764e03e \"arm64: tlb: Flush walk cache when unsharing PMD tables\"",
    breaks: &[STALE, FREED],
    needs: &[],
};

/// All of them but one that is arm64's own.
pub const ALL: &[Defect] = ARM64.split_at(ARM64.len() - 1).0;

/// Those of x86. Where a flush is an IPI, B-31 and B-29-gup are no defects.
pub const X86: &[Defect] = &[
    MOVE, RETRACTED, PFNMAP, BATCHED, NUMA, DIRTY, NESTED, WP_COPY, FORK, BATCH_LATE, UNSHARE,
];

/// All of them.
pub const ARM64: &[Defect] = &[
    MOVE,
    RETRACTED,
    PFNMAP,
    PFNMAP_FIRST,
    BATCHED,
    NUMA,
    FLAG,
    DIRTY,
    EARLY_RMAP,
    NESTED,
    NESTED_HINT,
    NO_IPI,
    WP_COPY,
    FORK,
    BATCH_LATE,
    UNSHARE,
    UNSHARE_GUP,
    UNSHARE_LEAF,
];
