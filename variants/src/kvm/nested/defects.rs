// SPDX-License-Identifier: GPL-2.0-only
//! What might be wrong with shadow stage 2s.

use crate::consequences::ALIASED;

/// What comes of shadow entries that a guest's TLBI has not taken away.
const LEFT_BEHIND: &[&str] = &[
    "TLBEmptyInvalPTE",
    "no-use-after-unmap",
    "no-use-of-freed-frame",
    "no-write-after-protect",
    "no-lost-write",
];

/// What comes of a shadow stage 2 that still has what another VM has mapped.
const FULL: &[&str] = &[
    "no-walk-of-freed-table",
    "no-store-to-freed-table",
    "no-leaked-table",
    "frame-freed-twice",
    "break-before-make",
    "recurring-fault",
    "no-lost-mapping",
];

defects! { Deviations:
    /// The range that is found need not have the address in it.
    no_bound_test NO_BOUND_TEST "no-bound-test"
        "the level of the leaf found first is taken for that of the address, though the leaf is elsewhere"
        "derived; the last test of get_guest_mapping_ttl"
        &[LEFT_BEHIND];
    /// What the guest calls a level is not what the host does.
    host_level HOST_LEVEL "host-level"
        "a shadow leaf notes its own level, not that of the guest's leaf"
        "derived; KVM_NV_GUEST_MAP_SZ"
        &[LEFT_BEHIND];
    /// Nor are its levels of the host's sizes.
    host_granule HOST_GRANULE "host-granule"
        "the size of a guest's level is that of the host's granule, not that of the granule in its VTCR_EL2"
        "derived; vtcr_to_walk_info, and the granules in compute_tlb_inval_range"
        &[LEFT_BEHIND];
    /// The address that a guest gives need not be the first of its leaf.
    no_align NO_ALIGN "no-align"
        "the range begins at the address that the guest has given, not at the first one of its leaf"
        "derived; s2_mmu_unmap_ipa"
        &[LEFT_BEHIND];
    /// A VMID may have several.
    one_mmu ONE_MMU "one-mmu"
        "a guest's TLBI empties the first shadow stage 2 of its VMID, and no other"
        "derived; kvm_s2_mmu_iterate_by_vmid and the comment above it"
        &[LEFT_BEHIND, &["no-leaked-table"]];
    /// The guest's level says nothing of shadow leaves.
    range_ttl RANGE_TTL "range-ttl"
        "the level that a guest's range operation gives is passed on to the host's own TLBI"
        "derived; handle_ripas2e1is ignores it on purpose"
        &[LEFT_BEHIND, &["ttl-mismatch"]];
    /// Nobody empties what is taken over.
    not_emptied NOT_EMPTIED "not-emptied"
        "a shadow stage 2 is taken over from another VM with what is in it"
        "derived; pending_unmap"
        &[ALIASED, LEFT_BEHIND, FULL];
    /// Who is in need of it is not asked.
    in_use IN_USE "in-use"
        "a shadow stage 2 is taken over that another vCPU has loaded"
        "derived; the reference count in get_s2_mmu_nested"
        &[ALIASED, LEFT_BEHIND, FULL];
    /// A guest that may change sizes in place.
    bbm_exposed BBM_EXPOSED "bbm-exposed"
        "the guest is shown FEAT_BBM level 2, and changes the size of a mapping without a break"
        "derived; KVM hides the feature (ID_AA64MMFR2_EL1.BBM)"
        &[LEFT_BEHIND];
    /// B-21.
    vncr_unlocked VNCR_UNLOCKED "B-21"
        "the software TLB for VNCR_EL2 is made void without mmu_lock before it is filled anew"
        "d43548f422f2 \"KVM: arm64: nv: Hold mmu_lock when invalidating VNCR SW-TLB before translating\""
        &[&["allocator-exhaustion"]];
    /// A fault that has walked the guest's tables before.
    overtaken OVERTAKEN "overtaken"
        "a fault maps what it has read in the guest's tables before a TLBI that is done by now"
        "derived: neither kvm_walk_nested_s2 nor kvm_s2_mmu_iterate_by_vmid moves or looks at mmu_invalidate_seq"
        &[LEFT_BEHIND];
}
