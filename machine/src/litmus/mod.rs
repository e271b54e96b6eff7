// SPDX-License-Identifier: MIT OR Apache-2.0
//! Litmus tests: what the machine may show, against published verdicts.

mod test;

pub use test::*;
