// SPDX-License-Identifier: MIT OR Apache-2.0
//! Allocations of a run: some for each CPU, none for each step. The scenario has the same
//! operations in a short and in a long schedule of single steps.

use divan::{AllocProfiler, Bencher};
use shootdown::check::{Subject, input, run_one};
use shootdown::exec::Bench;
use shootdown::scenario::{Scenario, parse};

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

fn scenario(rounds: usize) -> Scenario {
    let program = "switch A; touch 0x0; ".repeat(rounds);
    let other = "switch B; switch C; ".repeat(rounds);
    let text = format!(
        "scenario 1\nmachine cpus=2 spaces=3\ncpu0: {}sched_out\ncpu1: {}sched_out\n",
        program, other
    );
    parse(text.as_bytes()).expect("a scenario")
}

/// `rounds`: operations of each CPU; steps grow with them.
#[divan::bench(args = [1, 4, 15], sample_count = 20, sample_size = 64)]
fn run_of_rounds(bencher: Bencher<'_, '_>, rounds: usize) {
    let by = Subject::parse("arm64-asid").expect("a variant");
    let (scenario, mut bench) = (scenario(rounds), Bench::default());
    bencher.bench_local(move || {
        run_one(&mut bench, by, &scenario, input(&scenario))
            .cost
            .steps
    });
}
