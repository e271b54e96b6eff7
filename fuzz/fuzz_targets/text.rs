// SPDX-License-Identifier: MIT OR Apache-2.0
//! Any bytes through the scenario parsers and the printer.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| shootdown_fuzz::text::run(data));
