// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shootdown fuzz`.

use super::Failure;
use std::process::ExitCode;

/// Arguments of `fuzz`.
#[derive(clap::Args)]
pub struct Args {}

/// Fuzzes.
pub fn fuzz(_args: &Args) -> Result<ExitCode, Failure> {
    Ok(ExitCode::SUCCESS)
}
