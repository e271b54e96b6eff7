// SPDX-License-Identifier: GPL-2.0-only
//! What has been wrong with KVM's stage-2 tables, or might be.

/// What comes of entries that stay in TLBs beside what has replaced them.
const LEFT_BEHIND: &[&str] = &[
    "no-conflicting-entries",
    "break-before-make",
    "TLBEmptyInvalPTE",
    "no-use-after-unmap",
    "no-use-of-freed-frame",
    "no-write-after-protect",
    "no-lost-write",
    "no-walk-of-freed-table",
    "recurring-fault",
    "ttl-mismatch",
];

/// What comes of a fault that maps what has been taken away meanwhile.
const MAPPED_LATE: &[&str] = &[
    "TLBEmptyInvalPTE",
    "no-use-after-unmap",
    "no-use-of-freed-frame",
    "no-write-after-protect",
    "no-lost-write",
    "break-before-make",
];

defects! { Deviations:
    /// B-17.
    merge_one_ipa MERGE_ONE_IPA "B-17"
        "a block that replaces a table is preceded by a TLBI of the one address that faulted"
        "3a0b870e3448 \"KVM: arm64: Fix handling of merging tables into a block entry\""
        &[LEFT_BEHIND];
    /// B-17, its sibling.
    cancel CANCEL "B-17-cancel"
        "a block is installed over a table, which is neither unmapped nor freed"
        "3c3736cd32bf \"Fix handling of stage2 huge mappings\""
        &[LEFT_BEHIND, &["no-leaked-table"]];
    /// B-17, on the same path.
    leak LEAK "B-17-leak"
        "the table that a block has replaced is not freed"
        "5c646b7e1d8b, a leak of page tables on the same path"
        &[&["no-leaked-table"]];
    /// B-18.
    valid_to_valid VALID_TO_VALID "B-18"
        "a valid entry is replaced by another without a break, and invalidated afterwards"
        "d4b9e0790aa7 \"arm/arm64: KVM: Enforce Break-Before-Make on Stage-2 page tables\""
        &[LEFT_BEHIND, &["no-leaked-table"]];
    /// B-18, live.
    ping_pong PING_PONG "B-18-ping-pong"
        "a fault breaks an entry, and makes it again, that another vCPU has made the same already"
        "86658b819cd0, 976d34e2dab1 \"KVM: arm/arm64: Skip updating PMD/PTE entry if no change\""
        &[&["no-mutual-undoing"]];
    /// B-18, the walk.
    no_reload NO_RELOAD "B-18-reload"
        "a walk goes by what an entry was before its callback changed it"
        "a9f0e3d5a089 \"KVM: arm64: Reload PTE after invoking walker callback on preorder traversal\""
        &[&["no-store-to-freed-table", "frame-freed-twice", "no-walk-of-freed-table", "no-mutual-undoing"]];
    /// Shared walks store as exclusive ones do.
    plain_store PLAIN_STORE "plain-store"
        "a fault stores to an entry without looking whether another vCPU has changed it"
        "derived; what CMPXCHG and LOCKED are for"
        &[LEFT_BEHIND, &["no-leaked-table", "frame-freed-twice", "no-store-to-freed-table", "no-mutual-undoing"]];
    /// No look at mmu_invalidate_seq.
    no_retry NO_RETRY "no-retry"
        "a fault maps what the host has told it before an invalidation that has come between"
        "derived; what mmu_invalidate_seq is for"
        &[MAPPED_LATE];
    /// No RCU.
    no_rcu NO_RCU "no-rcu"
        "a table that a fault has replaced is freed while others may be walking it"
        "derived; what RCU is for"
        &[&["no-store-to-freed-table", "frame-freed-twice", "no-walk-of-freed-table"]];
    /// No TLBI when a permission is given.
    relax_no_flush RELAX_NO_FLUSH "relax-no-flush"
        "a permission that is given is not followed by a TLBI on the CPU that faulted"
        "derived; a12ab1378a88 made it a local one"
        &[&["recurring-fault"]];

    /// B-20 (nsh).
    nsh NSH "B-20-nsh"
        "a permission taken away without a break is invalidated on this CPU only"
        "Colton Lewis, 2 Jun 2023, \"Skip break phase when we have FEAT_BBM level 2\"; Marc Zyngier's reply"
        &[&["no-write-after-protect", "TLBEmptyInvalPTE", "restriction-scope", "no-lost-write"]];
    /// B-20 (i).
    perms_enum PERMS_ENUM "B-20-perms-enum"
        "permissions are compared in the bits of another enumeration, and never differ"
        "Colton Lewis, 2 Jun 2023, perms_equal"
        &[&["no-write-after-protect", "TLBEmptyInvalPTE", "no-lost-write"]];
    /// B-20 (ii).
    oa OA "B-20-oa"
        "the break is skipped for a change of the output address, too"
        "Colton Lewis, 2 Jun 2023, try_break"
        &[LEFT_BEHIND];
    /// B-20 (iii).
    keep_block KEEP_BLOCK "B-20-block-to-table"
        "a block is replaced by a table without any invalidation of the block"
        "Colton Lewis, 2 Jun 2023, try_make"
        &[LEFT_BEHIND];
    /// B-20 (iv).
    no_release NO_RELEASE "B-20-release"
        "a table may be seen before what is in it: the entry is stored without release"
        "Colton Lewis, 2 Jun 2023, try_set in the place of make"
        &[&["break-before-make"]];
    /// B-20 (v).
    refcount REFCOUNT "B-20-refcount"
        "an entry that replaces another without a break is counted twice"
        "Colton Lewis, 2 Jun 2023, get_page without put_page"
        &[&["no-leaked-table"]];
    /// B-20 (vi).
    no_locked NO_LOCKED "B-20-no-locked"
        "nobody looks whether the entry could be made, as LOCKED had made sure of it"
        "Colton Lewis, 2 Jun 2023, try_make in the place of make"
        &[&["frame-freed-twice", "no-store-to-freed-table", "no-walk-of-freed-table", "no-leaked-table"]];
    /// B-20 (conflict).
    conflict CONFLICT "B-20-conflict"
        "a conflict abort is answered by a TLBI of its IPA"
        "Oliver Upton's reply to the same: by-address operations need not resolve it"
        &[&["recurring-fault"]];
    /// B-20 (conflict).
    no_handler NO_HANDLER "B-20-no-handler"
        "a conflict abort is an error like any other unknown fault"
        "Oliver Upton's reply to the same: level 2 permits conflict aborts"
        &[&["no-lost-mapping"]];
}
