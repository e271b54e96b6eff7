// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs and machine steps per second, uninstrumented, trace off: each variant alone, all of
//! them compared, and the parts around them.
//!
//! `cargo bench`: an item of the variants' rows is a machine step, so "Mitem/s" is millions
//! of steps a second; the reciprocal of the time is runs (or comparisons) a second.

use divan::Bencher;
use divan::counter::ItemsCount;
use shootdown::check::{Subject, check, input, run_one};
use shootdown::exec::Bench;
use shootdown::scenario::{Scenario, generate, mutate, parse_lenient, print_into};
use shootdown_machine::Memory;
use std::cell::Cell;
use std::time::Instant;

fn main() {
    divan::main();
    if std::env::args().any(|a| a == "--bench") {
        ratios();
    }
}

/// The scenarios of this bench on one memory model.
fn under(memory: Memory) -> Vec<Scenario> {
    let mut list = scenarios();
    for scenario in &mut list {
        scenario.machine.memory = memory;
    }
    list
}

/// What the weak memory models cost: rounds over the same scenarios, by turns, so that a busy
/// machine is as busy for each; the best round of each counts.
fn ratios() {
    let (mut bench, subjects) = (Bench::default(), Subject::sound());
    let mut round = |list: &[Scenario]| {
        let start = Instant::now();
        let steps = mean_steps(&mut bench, &subjects, list);
        start.elapsed().as_secs_f64() / steps as f64
    };
    let mut best = [f64::INFINITY; Memory::ALL.len()];
    for _ in 0..20 {
        for (best, memory) in best.iter_mut().zip(Memory::ALL) {
            *best = best.min(round(&under(*memory)));
        }
    }
    println!("time of a step, memory=sc being 1");
    for (time, memory) in best.iter().zip(Memory::ALL) {
        println!("    {:4} {:.2}", memory.word(), time / best[0]);
    }
}

/// Scenarios of the size that the fuzzer begins with.
fn scenarios() -> Vec<Scenario> {
    let mut rng = fastrand::Rng::with_seed(7);
    (0..256)
        .map(|_| generate(&mut rng, shootdown_machine::OpSet::ALL))
        .collect()
}

/// The next of a list, round and round.
fn next<'a, T>(list: &'a [T], at: &Cell<usize>) -> &'a T {
    at.set((at.get() + 1) % list.len());
    &list[at.get()]
}

fn subjects() -> Vec<String> {
    Subject::sound().iter().map(Subject::name).collect()
}

/// Steps of one round over the scenarios, divided evenly: what one run of the bench counts.
fn mean_steps(bench: &mut Bench, by: &[Subject], list: &[Scenario]) -> u64 {
    let steps = |s| {
        check(bench, s, by)
            .results
            .iter()
            .map(|r| r.cost.steps)
            .sum::<u64>()
    };
    list.iter().map(steps).sum::<u64>() / list.len() as u64
}

#[divan::bench(args = subjects(), sample_count = 40, sample_size = 256)]
fn variant(bencher: Bencher<'_, '_>, name: &str) {
    let by = Subject::parse(name).expect("a name from the list");
    let (list, at, mut bench) = (scenarios(), Cell::new(0), Bench::default());
    let steps = mean_steps(&mut bench, &[by], &list);
    bencher
        .counter(ItemsCount::new(steps))
        .bench_local(move || {
            let scenario = next(&list, &at);
            run_one(&mut bench, by, scenario, input(scenario))
                .finding
                .is_some()
        });
}

#[divan::bench(sample_count = 40, sample_size = 256)]
fn differential(bencher: Bencher<'_, '_>) {
    let subjects = Subject::sound();
    let (list, at, mut bench) = (scenarios(), Cell::new(0), Bench::default());
    let steps = mean_steps(&mut bench, &subjects, &list);
    bencher
        .counter(ItemsCount::new(steps))
        .bench_local(move || {
            check(&mut bench, next(&list, &at), &subjects)
                .found
                .is_some()
        });
}

#[divan::bench(args = Memory::ALL, sample_count = 40, sample_size = 256)]
fn memory(bencher: Bencher<'_, '_>, model: &Memory) {
    let subjects = Subject::sound();
    let (list, at, mut bench) = (under(*model), Cell::new(0), Bench::default());
    let steps = mean_steps(&mut bench, &subjects, &list);
    bencher
        .counter(ItemsCount::new(steps))
        .bench_local(move || {
            check(&mut bench, next(&list, &at), &subjects)
                .found
                .is_some()
        });
}

#[divan::bench(sample_count = 40, sample_size = 256)]
fn text_in(bencher: Bencher<'_, '_>) {
    let list: Vec<String> = scenarios().iter().map(Scenario::to_string).collect();
    let at = Cell::new(0);
    bencher.bench_local(move || parse_lenient(next(&list, &at).as_bytes()));
}

#[divan::bench(sample_count = 40, sample_size = 256)]
fn text_out(bencher: Bencher<'_, '_>) {
    let (list, at, mut out) = (scenarios(), Cell::new(0), Vec::new());
    bencher.bench_local(move || {
        out.clear();
        print_into(next(&list, &at), &mut out);
        out.len()
    });
}

#[divan::bench(sample_count = 40, sample_size = 256)]
fn mutation(bencher: Bencher<'_, '_>) {
    let (list, at) = (scenarios(), Cell::new(0));
    let mut rng = fastrand::Rng::with_seed(7);
    bencher.bench_local(move || {
        let mut scenario = next(&list, &at).clone();
        mutate(&mut scenario, &mut rng, shootdown_machine::OpSet::ALL);
        scenario
    });
}
