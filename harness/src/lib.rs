// SPDX-License-Identifier: MIT OR Apache-2.0
//! Scenario, run, judge, report.
pub mod scenario;
