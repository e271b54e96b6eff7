// SPDX-License-Identifier: MIT OR Apache-2.0
//! The target `text`: no bytes whatever may make the parsers, the printer or a run fail.

use core::cell::RefCell;
use shootdown::check::{Subject, check};
use shootdown::exec::Bench;
use shootdown::scenario::{self, Scenario};

/// Slots of a run: enough to see that what was repaired can be run.
const SLOTS: usize = 24;

thread_local! {
    static BENCH: RefCell<Bench> = RefCell::default();
}

/// One run. Panics where parsing and printing are not inverse.
///
/// # Panics
/// On a defect of the scenario text.
pub fn run(data: &[u8]) {
    match scenario::parse(data) {
        Ok(scenario) => inverse(&scenario),
        Err(error) => {
            assert!(
                error.line >= 1 && error.column >= 1,
                "no such place: {error:?}"
            );
            assert!(
                error.offset + error.length <= data.len(),
                "beyond the text: {error:?}"
            );
            assert!(
                !error.message.is_empty() && !error.expected.is_empty(),
                "{error:?}"
            );
        }
    }
    if let Some(mut scenario) = scenario::parse_lenient(data) {
        inverse(&scenario);
        scenario.schedule.truncate(SLOTS);
        if let Ok(naive) = Subject::parse("naive") {
            // What comes of it is for the other target to judge.
            BENCH.with_borrow_mut(|bench| check(bench, &scenario, &[naive]));
        }
    }
}

fn inverse(scenario: &Scenario) {
    let text = scenario::print(scenario);
    match scenario::parse(text.as_bytes()) {
        Ok(again) => assert_eq!(&again, scenario, "another scenario from\n{text}"),
        Err(error) => panic!("{error}, in\n{text}"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn some_texts() {
        super::run(b"");
        super::run(b"scenario 1\n");
        super::run(b"> scenario 1\n> machine cpus=9\n> schedule: cpu7 x7");
        super::run(b"scenario 2\nschedule: \xff\n");
    }
}
