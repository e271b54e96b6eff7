// SPDX-License-Identifier: MIT OR Apache-2.0
//! Scenario, run, judge, report: a differential fuzzer for TLB maintenance.

pub mod breach;
pub mod check;
#[cfg(feature = "cli")]
pub mod cli;
pub mod corpus;
pub mod cost;
pub mod coverage;
pub mod exec;
pub mod explain;
pub mod explore;
pub mod export;
pub mod findings;
pub mod fixed;
pub mod litmus;
pub mod minimize;
mod names;
mod program;
pub mod report;
pub mod sabotage;
pub mod scenario;
#[cfg(feature = "cli")]
pub mod story;
mod turns;
