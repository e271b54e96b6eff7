// SPDX-License-Identifier: MIT OR Apache-2.0
//! Does nothing: what libFuzzer itself costs, for scripts/fuzz-speed.
#![no_main]

libfuzzer_sys::fuzz_target!(|_bytes: &[u8]| {});
