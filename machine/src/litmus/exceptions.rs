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

/// Every accepted difference. One that no longer differs fails `shootdown litmus`.
pub const EXCEPTIONS: &[Exception] = &[];
