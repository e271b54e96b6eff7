// SPDX-License-Identifier: MIT OR Apache-2.0
//! The target `differential`: one scenario through several variants.

use crate::{counters, panics, subjects};
use core::cell::RefCell;
use shootdown::breach;
use shootdown::check::{Subject, check};
use shootdown::exec::Bench;
use shootdown::scenario::Scenario;
use std::time::{Duration, Instant};

/// What is kept between runs.
struct Session {
    bench: Bench,
    subjects: Vec<Subject>,
    known: Vec<String>,
    heart: Option<Heart>,
}

/// Says now and then how many runs there have been.
struct Heart {
    runs: u64,
    last: Instant,
}

impl Heart {
    fn asked() -> Option<Heart> {
        std::env::var_os(breach::ASK_HEARTBEAT)?;
        Some(Heart {
            runs: 0,
            last: Instant::now(),
        })
    }

    fn run(&mut self) {
        self.runs += 1;
        if self.runs.is_multiple_of(256) && self.last.elapsed() > Duration::from_millis(500) {
            self.last = Instant::now();
            eprintln!("{} {}", breach::HEARTBEAT, self.runs);
        }
    }
}

thread_local! {
    static SESSION: RefCell<Session> = RefCell::new(Session::new());
}

impl Session {
    /// Ends the process with status 2 where there is no such variant: this is bad input
    /// to the fuzzer and no finding.
    fn new() -> Session {
        match subjects::subjects() {
            Ok(subjects) => {
                let known = std::env::var(breach::KNOWN).unwrap_or_default();
                let known = known.split_whitespace().map(str::to_owned).collect();
                Session {
                    bench: Bench::default(),
                    subjects,
                    known,
                    heart: Heart::asked(),
                }
            }
            Err(message) => {
                eprintln!("{}: {message}", subjects::ENVIRONMENT);
                std::process::exit(2);
            }
        }
    }
}

/// Does before the first run what need not be done again.
pub fn init() {
    SESSION.with_borrow(|session| {
        let names: Vec<_> = session.subjects.iter().map(Subject::name).collect();
        eprintln!("INFO: variants: {}", names.join(" "));
    });
    let fixed = crate::fixed().words();
    if !fixed.is_empty() {
        eprintln!("INFO: machine: {}", fixed.join(" "));
    }
}

/// One run. Panics with a finding. The variants that the scenario names, and what it
/// expects, do not matter here.
pub fn run(scenario: &Scenario) {
    SESSION.with_borrow_mut(|session| {
        let Session {
            bench,
            subjects,
            known,
            heart,
        } = session;
        if let Some(heart) = heart {
            heart.run();
        }
        bench.coverage.clear();
        let outcome = check(bench, scenario, subjects);
        counters::show(&bench.coverage.counters);
        if let Some(found) = outcome.found
            && (known.is_empty() || !known.contains(&breach::known(&found)))
        {
            panics::finding(&found);
        }
    });
}
