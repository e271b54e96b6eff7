// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `shootdown` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    shootdown::cli::main()
}
