// SPDX-License-Identifier: GPL-2.0-only
//! The defects that an x86 kernel can be built with.

use crate::Defect;

/// A CPU keeps entries that it should have lost.
const STALE: &[&str] = &[
    "TLBEmptyInvalPTE",
    "no-use-after-unmap",
    "no-use-of-freed-frame",
    "no-write-after-protect",
    "no-lost-write",
    "no-walk-of-freed-table",
];

/// A CPU walks tables that are gone, and may cache what it finds there.
const FREED: &[&str] = &[
    "no-walk-of-freed-table",
    "TLBEmptyInvalPTE",
    "no-use-of-freed-frame",
];

/// Two mms have one PCID.
const SHARED: &[&str] = &[
    "flush-before-reuse",
    "UniqueASIDPerCPU",
    "own-translations-only",
    "no-walk-of-freed-table",
];

/// B-35: a table is freed before its entries are gone.
pub const B35: Defect = Defect {
    name: "B-35",
    about: "where no memory is left for a batch, a table is freed before the flush",
    source: "d86564a2f085 \"mm/tlb, x86/mm: Support invalidating TLB caches for RCU_TABLE_FREE\"",
    breaks: &[FREED],
    needs: &[],
};

defects! { Bugs:
    /// B-33: nothing orders the change of the tables before the look at the cpumask.
    no_flush_mb B33 "B-33"
        "a flush reads the cpumask while its change of the tables is still in the store buffer"
        "71b3c126e611 \"x86/mm: Add barriers and document switch_mm()-vs-flush synchronization\" (CVE-2016-2069)"
        &[STALE];
    /// B-34: lazy CPUs hear of no flush.
    skip_lazy_freed B34 "B-34"
        "lazy CPUs get no IPI even if tables are freed"
        "b956575bed91 \"x86/mm: Flush more aggressively in lazy TLB mode\""
        &[FREED];
    /// B-34, its sibling: they hear of it and stay lazy.
    stay_lazy B34_SIBLING "B-34-stay-lazy"
        "a lazy CPU keeps its tables when it is told that some are freed"
        "2ff6ddf19c0e \"x86/mm/tlb: Leave lazy TLB mode at page table free time\""
        &[FREED];
    /// B-36: a CPU in a switch gets no IPI.
    skip_switching B36 "B-36"
        "a CPU whose loaded_mm is LOADED_MM_SWITCHING gets no IPI"
        "fea4e317f9e7 \"x86/mm: Eliminate window where TLB flushes may be inadvertently skipped\" (CVE-2025-37964)"
        &[STALE];
    /// B-37: tlb_gen may be read before loaded_mm says SWITCHING.
    no_switch_mb B37 "B-37"
        "no barrier between loaded_mm := SWITCHING and the read of tlb_gen where the cpumask has the CPU already"
        "83b0177a6c48 \"x86/mm: Fix SMP ordering in switch_mm_irqs_off()\" (CVE-2025-40174)"
        &[STALE];
    /// B-37 as in the stable branches: it is read before, in program order.
    gen_first B37_STABLE "B-37-stable"
        "tlb_gen is read before loaded_mm := SWITCHING"
        "backports of 209954cbc7d0 to 6.1, 6.6 and 6.12, fixed by Stephen Dolan"
        &[STALE];
    /// B-38: tables are replaced, and lazy CPUs left alone.
    range_keeps_tables B38 "B-38"
        "flush_tlb_range says that no tables are freed, though it serves the collapse of one"
        "3ef938c35035 \"x86/mm: Fix flush_tlb_range() when used for zapping normal PMDs\" (CVE-2025-22045)"
        &[FREED];
    /// B-39: INVLPGB of a PCID without PCIDs.
    no_pcid_check B39 "B-39"
        "INVLPGB is used on a kernel booted with nopcid"
        "44126343d58c \"x86/mm: Disable INVLPGB when PTI is enabled\", and nopcid likewise"
        &[&["no-illegal-instruction"]];
    /// B-40: the allocator of Linux 7.3.4.
    b40 B40 "B-40"
        "a search that finds no number gives MAX_ASID_AVAILABLE, which is handed out, as often as it happens"
        "d504d1247e36 \"x86/mm: Add global ASID allocation helper functions\"; Hou Wenlong, 29 Mar 2025; so in 7.3.4"
        &[SHARED];
    /// TLBSYNC is left out.
    no_tlbsync NO_TLBSYNC "no-tlbsync"
        "a broadcast flush returns without TLBSYNC"
        "derived; 5e10f9887ed8's counterpart for INVLPGB"
        &[STALE];
    /// B-41: the host loses a wish.
    racy_host B41 "B-41"
        "the host clears the word that the guest asks for flushes in after having looked at it"
        "b043138246a4 \"x86/KVM: Make sure KVM_VCPU_FLUSH_TLB flag is not missed\" (CVE-2019-3016)"
        &[STALE];
    /// The guest's side of it.
    plain_wish PLAIN_WISH "plain-wish"
        "the guest asks for the flush by a plain store, not knowing whether the vCPU is back"
        "derived; the guest's twin of b043138246a4"
        &[STALE];
    /// Step 2c is skipped.
    skip_lazy_check SKIP_LAZY_CHECK "skip-lazy-check"
        "a CPU that leaves lazy mode for the same mm does not look at tlb_gen"
        "derived"
        &[STALE];
    /// Step 5 the wrong way round.
    inverted INVERTED "inverted"
        "a flush is left out unless it was done already"
        "derived"
        &[STALE];
    /// Step 7 without its condition.
    partial_always PARTIAL_ALWAYS "partial-always"
        "a range is flushed by address though generations before it were missed"
        "derived"
        &[STALE];
    /// The user's PCID is left out of partial flushes.
    one_of_pair ONE_OF_PAIR "no-user-invpcid"
        "with PTI, a flush by address leaves the user's PCID of the mm alone"
        "derived; flush_tlb_one_user"
        &[STALE];
    /// The user's PCID is left out of whole flushes.
    no_user_mask NO_USER_MASK "no-user-flush"
        "with PTI, a flush of a PCID does not note that the user's twin is to be flushed"
        "derived; invalidate_user_asid"
        &[STALE, SHARED];
    /// No look whether the slot is still the mm's.
    no_ctx_check NO_CTX_CHECK "no-ctx-check"
        "tlb_gen of a slot is advanced without a look at its ctx_id"
        "derived from Andy Lutomirski, 25 Jun 2019, \"check that the ctx_id still matches\""
        &[STALE];
    /// A partial flush counts as a whole one.
    partial_advances PARTIAL_ADVANCES "partial-advances"
        "a partial remote flush advances tlb_gen over generations that the slot has missed"
        "derived from Andy Lutomirski, 25 Jun 2019, \"more complicated if the flush is a partial flush\""
        &[STALE];
    /// No lock.
    no_lock NO_LOCK "no-lock"
        "nothing keeps the owner of a slot from recycling it while another CPU advances its tlb_gen"
        "derived from Andy Lutomirski, 25 Jun 2019, \"spin_lock(something appropriate?)\""
        &[STALE];
}
