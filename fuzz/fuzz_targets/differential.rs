// SPDX-License-Identifier: MIT OR Apache-2.0
//! Scenarios through the variants that the environment, or this binary's name, selects.
#![no_main]

use libfuzzer_sys::{fuzz_crossover, fuzz_mutator, fuzz_target};
use shootdown_fuzz::{Input, differential};

fuzz_target!(init: differential::init(), |input: Input| {
    differential::run(&input.0);
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    shootdown_fuzz::mutate(data, size, max_size, seed)
});

fuzz_crossover!(|data1: &[u8], data2: &[u8], out: &mut [u8], seed: u32| {
    shootdown_fuzz::crossover(data1, data2, out, seed)
});
