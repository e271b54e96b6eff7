// SPDX-License-Identifier: GPL-2.0-only
//! What arm64's address spaces can be built with: bugs that they had, and plausible ones.

use crate::Defect;
use crate::consequences::{ALIASED, DIVERGED};
use shootdown_machine::Boot;

/// Which of its defects a kernel is built with, if any.
#[derive(Clone, Copy, Debug)]
pub struct Built(Option<&'static str>);

impl Built {
    /// One of these, or none.
    pub fn of(boot: &Boot<'_>, defects: &[Defect]) -> Built {
        Built(defects.iter().map(|d| d.name).find(|name| boot.has(name)))
    }

    /// Whether it is this one.
    pub fn with(self, defect: &Defect) -> bool {
        self.0 == Some(defect.name)
    }
}

/// B-1: the fast path replaces a 0 in active_asids.
pub const XCHG: Defect = Defect {
    name: "B-1",
    about: "fast path exchanges active_asids unconditionally, even when it is already 0",
    source: "a8ffaaa060b8 \"arm64: asid: Do not replace active_asids if already 0\"",
    breaks: &[ALIASED, DIVERGED],
    needs: &[],
};

/// B-2: no reserved TTBR0 before active_asids changes.
pub const TTBR_LATE: Defect = Defect {
    name: "B-2",
    about: "TTBR0 keeps the old table while active_asids already says the new ASID",
    source: "5ffdfaedfa0a \"arm64: mm: Support Common Not Private translations\"",
    breaks: &[ALIASED],
    needs: &[],
};

/// B-3: the flush may name an ASID that a rollover has replaced.
pub const ASID_FIRST: Defect = Defect {
    name: "B-3",
    about: "flushes read the mm's ASID before the DSB that makes the descriptor visible",
    source: "5e10f9887ed8 \"arm64: mm: Fix TLBI vs ASID rollover\"",
    breaks: &[DIVERGED],
    needs: &[],
};

/// B-4: reserved ASIDs fall behind their mm after two rollovers.
pub const NOUPD: Defect = Defect {
    name: "B-4",
    about: "a hit among the reserved ASIDs does not update them to the new generation",
    source: "0ebea8088095 \"arm64: mm: keep reserved ASIDs in sync with mm after multiple rollovers\"",
    breaks: &[DIVERGED, ALIASED],
    needs: &[],
};

/// B-8: a kernel thread keeps the user's table.
pub const INIT_MM: Defect = Defect {
    name: "B-8",
    about: "a switch to init_mm leaves the last user's table in TTBR0",
    source: "e53f21bce4d3 \"arm64: Use the reserved TTBR0 if context switching to the init_mm\"",
    breaks: &[&["no-walk-of-freed-table"]],
    needs: &[],
};

/// B-9: with software PAN, a thread returns to user with the ASID that its mm once had.
pub const STALE_TTBR0: Defect = Defect {
    name: "B-9",
    about: "a switch between threads of one mm does not save the mm's present ASID for the next",
    source: "d96cc49bff5a \"arm64: mm: Ensure valid ASID on task switch when SW PAN is enabled\"",
    breaks: &[ALIASED, DIVERGED, &["recurring-fault"]],
    needs: &[],
};

/// B-10: whoever meets a batched unmap waits for nothing.
pub const BATCH_DSB: Defect = Defect {
    name: "B-10",
    about: "an operation that meets TLBIs of a batch completes its own only, by a DSB",
    source: "4b634918384c \"arm64/mm: Close theoretical race where stale TLB entry remains valid\"",
    breaks: &[&[
        "no-use-after-unmap",
        "no-write-after-protect",
        "no-use-of-freed-frame",
        "TLBEmptyInvalPTE",
        "no-conflicting-entries",
        "break-before-make",
        "no-lost-write",
    ]],
    needs: &[],
};

/// B-12a: the level hint of a leaf where a table was freed.
pub const TABLE_LEVEL: Defect = Defect {
    name: "B-12a",
    about: "freeing a table of pages counts as clearing a block: the TLBI has level hint 2",
    source: "52218fcd61cb \"arm64: tlb: fix the TTL value of tlb_get_level\"",
    // The last where the freed table is the space's again, for other addresses.
    breaks: &[&[
        "no-walk-of-freed-table",
        "ttl-mismatch",
        "no-conflicting-entries",
        "TLBEmptyInvalPTE",
    ]],
    needs: &[],
};

/// B-12b: the largest range is none.
pub const RANGE_NUM: Defect = Defect {
    name: "B-12b",
    about: "NUM of the largest range that one TLBI can cover comes out as -1, and nothing is flushed",
    source: "e3ba51ab24fd \"arm64: tlb: Fix TLBI RANGE operand\"",
    breaks: &[&[
        "no-write-after-protect",
        "TLBEmptyInvalPTE",
        "break-before-make",
        "no-conflicting-entries",
    ]],
    needs: &[],
};

/// Broadcast instead of local flush on rollover.
pub const BROADCAST: Defect = Defect {
    name: "broadcast-flush",
    about: "rollover broadcasts one TLBI instead of making every CPU flush for itself",
    source: "Will Deacon, 22 Jul 2021, \"Align the VMID allocation with the arm64 ASID one\"",
    breaks: &[ALIASED],
    needs: &[],
};

/// No test of active_asids before the exchange.
pub const NO_ZERO_TEST: Defect = Defect {
    name: "no-zero-test",
    about: "fast path does not look whether active_asids is 0 before it exchanges it",
    source: "derived; the other half of a8ffaaa060b8",
    breaks: &[ALIASED, DIVERGED],
    needs: &[],
};

/// A rollover forgets what an earlier one has reserved.
pub const NO_RESERVED: Defect = Defect {
    name: "no-reserved",
    about: "a rollover does not keep what a CPU has reserved since the one before",
    source: "derived; 5aec715d7d31 \"arm64: mm: rewrite ASID allocator\" keeps it",
    breaks: &[ALIASED, DIVERGED],
    needs: &[],
};

/// Nobody flushes on rollover.
pub const NO_PENDING: Defect = Defect {
    name: "no-pending",
    about: "a rollover leaves no flush pending",
    source: "derived; the third mutant of the measurements with the kernel's TLA+ model",
    breaks: &[ALIASED],
    needs: &[],
};

/// The new ASID is active only once the lock is free.
pub const ACTIVE_LATE: Defect = Defect {
    name: "active-after-unlock",
    about: "slow path writes active_asids after it has given the lock back",
    source: "derived",
    breaks: &[ALIASED, DIVERGED],
    needs: &[],
};

/// The old table under the new ASID.
pub const OLD_TABLE: Defect = Defect {
    name: "no-reserved-table",
    about: "a switch changes the ASID while TTBR0 still has the old table",
    source: "derived; what cpu_do_switch_mm writes the reserved table for",
    breaks: &[ALIASED],
    needs: &[],
};

/// Pinned ASIDs are given away.
pub const UNPINNED: Defect = Defect {
    name: "pinned-forgotten",
    about: "a rollover begins with an empty map, pinned ASIDs left out",
    source: "derived; 48118151d8cc \"arm64: mm: Pin down ASIDs for sharing mm with devices\"",
    breaks: &[ALIASED],
    needs: &[],
};

/// With KPTI, half of a pair is flushed.
pub const ONE_OF_PAIR: Defect = Defect {
    name: "no-user-twin",
    about: "TLBIs by address and by ASID leave out the user's ASID of the pair",
    source: "derived; 9b0de864b5bc \"arm64: mm: Invalidate both kernel and user ASIDs when performing TLBI\"",
    breaks: &[DIVERGED],
    needs: &[],
};
