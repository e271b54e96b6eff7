// SPDX-License-Identifier: MIT OR Apache-2.0
//! Scenario, run, judge, report: a differential fuzzer for TLB maintenance.

pub mod check;
#[cfg(feature = "cli")]
pub mod cli;
pub mod coverage;
pub mod exec;
mod names;
mod program;
pub mod scenario;
