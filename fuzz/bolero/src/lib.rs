// SPDX-License-Identifier: MIT OR Apache-2.0
//! The fuzz target's check as a test: the committed corpus, and random inputs. The same bytes
//! mean the same to cargo-fuzz; `cargo bolero test differential -p shootdown-bolero` runs it
//! with libFuzzer.
#![cfg(test)]

use shootdown::check::{Subject, check};
use shootdown::exec::Bench;
use shootdown::scenario::decode;
use std::cell::RefCell;

thread_local! {
    static BENCH: RefCell<Bench> = RefCell::new(Bench::default());
}

#[test]
fn differential() {
    let subjects = Subject::sound();
    bolero::check!()
        .with_iterations(3000)
        .with_max_len(4096)
        .for_each(|bytes: &[u8]| {
            let scenario = decode(bytes);
            let found = BENCH.with_borrow_mut(|bench| check(bench, &scenario, &subjects).found);
            if let Some(found) = found {
                let (rule, by) = (found.finding.rule.name, found.by.name());
                panic!(
                    "{rule} broken by {by}: {}\n{scenario}",
                    found.finding.breach.what
                );
            }
        });
}
