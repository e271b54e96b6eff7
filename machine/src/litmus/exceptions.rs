// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the machine differs from a published verdict, and why that is accepted.

/// One test for which the machine differs from the verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exception {
    /// The test.
    pub test: &'static str,
    /// The verdict with FEAT_ETS rather than the one without.
    pub ets: bool,
    /// Why the machine differs.
    pub reason: &'static str,
    /// What that means for findings: which bugs may be missed, or that none is made up.
    pub findings: &'static str,
}

/// A descriptor is cached only by a walk that came to it.
const REACHED: &str = "the table is linked, for the walker that would have to know its old \
    descriptor, only after that has changed, and the links in between are ordered by DSB or \
    DMB and by address: no walk from a base register reads the old one";
const UNREACHED: &str = "none is made up; a stale descriptor of a table is seen where the table \
    was linked before, which is how kernels free one";

/// No store before an earlier load.
const LOAD_STORE: &str = "a store of the machine is never visible before an earlier load of its \
    CPU has its value, which the architecture allows where nothing orders them";
const NO_LOAD_STORE: &str = "none is made up; a bug that needs a plain load to be later than a \
    store behind it is missed";

/// Every accepted difference. One that no longer differs fails `shootdown litmus`.
pub const EXCEPTIONS: &[Exception] = &[
    Exception {
        test: "InvalidateWideBlock",
        ets: true,
        reason: "the paper lets a TLB keep parts of a block that one TLBI by address leaves; here \
            an entry of a block goes as a whole, as kernels count on when they flush a block by \
            one address",
        findings: "none is made up; one TLBI for a block is never reported",
    },
    Exception {
        test: "MP.RT.EL2+dsb-tlbiipa-dsb-tlbiis-dsb+dsb-isb",
        ets: true,
        reason: "the TLBI by IPA is not broadcast, so the other CPU may keep the stage-2 entry; \
            only the paper forbids it; the test with the broadcast TLBI is met",
        findings: "a stage-2 flush without `is` is reported, as it should be",
    },
    Exception {
        test: "MP.RTpT.ro+dmb-dmb+dsb-isb-dsb-isb",
        ets: true,
        reason: "two translations of one page with different permissions: what a walk finds \
            replaces the older entry of the same level, so that no access goes back to it",
        findings: "none is made up; a permission may be stale, but does not alternate",
    },
    Exception {
        test: "RDW.alias",
        ets: false,
        reason: "its events are a cycle of read-from, from-read and address dependencies, which \
            Armv8 forbids for one location under whatever names; the paper forbids it with \
            FEAT_ETS, which only concerns faults, and nothing in it faults: one of its two \
            verdicts must be wrong",
        findings: "none is missed: translations are the same in all outcomes",
    },
    Exception {
        test: "ROT.inv2+dmb",
        ets: true,
        reason: REACHED,
        findings: UNREACHED,
    },
    Exception {
        test: "ROT.inv2+dsb",
        ets: true,
        reason: REACHED,
        findings: UNREACHED,
    },
    Exception {
        test: "S+tlbiall+po",
        ets: false,
        reason: LOAD_STORE,
        findings: NO_LOAD_STORE,
    },
    Exception {
        test: "S+tlbiall+po",
        ets: true,
        reason: LOAD_STORE,
        findings: NO_LOAD_STORE,
    },
    Exception {
        test: "Stacked1BBM",
        ets: false,
        reason: "the later load is done early, with the old translation, before the TLBI; herd \
            forbids that, the paper allows it even with FEAT_ETS",
        findings: "none comes of it: the accesses of a scenario translate and act in one step, so the order of two loads of one CPU is that of its program",
    },
    Exception {
        test: "SwitchTable.different-asid+eret",
        ets: true,
        reason: "entries of the first table are under ASID 0, and ERET makes the new table and \
            ASID 1 count; the second table never maps the page",
        findings: "none is made up; under the same ASID the machine shows it",
    },
    Exception {
        test: "UpdateWhileUnmappedFull",
        ets: true,
        reason: REACHED,
        findings: UNREACHED,
    },
];
