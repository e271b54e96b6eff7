// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine against the verdicts on litmus tests.

use shootdown_machine::litmus::{self, Exception, Explored, Options, Test, Verdict};
use std::time::{Duration, Instant};

/// States after which an exploration gives up, unless told otherwise.
pub const MAX_STATES: u64 = 20_000_000;

/// One test under one model, and how it compares.
#[derive(Clone, Debug)]
pub struct Row {
    /// The test's name.
    pub test: String,
    /// With FEAT_ETS2.
    pub ets: bool,
    /// What is published for that model; `None`: nothing, or the sources differ.
    pub verdict: Option<Verdict>,
    /// What the machine does; `None`: not seen, but not all was explored.
    pub ours: Option<Verdict>,
    /// Numbers, and the way to the asked outcome.
    pub explored: Explored,
    /// How long it took.
    pub time: Duration,
    /// Whether all is well.
    pub judged: Judged,
}

/// How the machine compares with a verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Judged {
    /// There is no verdict.
    NotCompared,
    /// The verdict is met.
    Agrees,
    /// It is not.
    Differs,
    /// The exploration ended too early to tell.
    Undecided,
    /// It is not met, and that is accepted.
    Excepted(&'static Exception),
    /// It is met, although a difference is listed as accepted.
    Stale(&'static Exception),
}

impl Judged {
    /// Whether this makes the comparison fail.
    pub fn fails(self) -> bool {
        matches!(self, Judged::Differs | Judged::Undecided | Judged::Stale(_))
    }

    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            Judged::NotCompared => "-",
            Judged::Agrees => "agrees",
            Judged::Differs => "DIFFERS",
            Judged::Undecided => "UNDECIDED",
            Judged::Excepted(_) => "exception",
            Judged::Stale(_) => "STALE",
        }
    }
}

/// The published verdict for a model.
pub fn verdict(test: &Test, ets: bool) -> Option<Verdict> {
    match ets {
        true => test.verdicts.ets(),
        false => test.verdicts.base(),
    }
}

/// Explores a test under one model and compares.
///
/// # Errors
/// A sentence, if the machine has no room for the test.
pub fn run(
    test: &Test,
    options: &Options,
    exceptions: &'static [Exception],
) -> Result<Row, String> {
    let start = Instant::now();
    let explored = litmus::explore(test, options)?;
    let time = start.elapsed();
    let ours = match (explored.asked, explored.complete) {
        (true, _) => Some(Verdict::Allowed),
        (false, true) => Some(Verdict::Forbidden),
        (false, false) => None,
    };
    let mut excepted = exceptions.iter();
    let excepted = excepted.find(|e| e.test == test.name && e.ets == options.ets);
    let verdict = verdict(test, options.ets);
    Ok(Row {
        test: test.name.clone(),
        ets: options.ets,
        verdict,
        ours,
        explored,
        time,
        judged: judge(verdict, ours, excepted),
    })
}

fn judge(
    verdict: Option<Verdict>,
    ours: Option<Verdict>,
    excepted: Option<&'static Exception>,
) -> Judged {
    match (verdict, ours, excepted) {
        (None, _, None) => Judged::NotCompared,
        (None, _, Some(exception)) => Judged::Stale(exception),
        (_, _, Some(exception)) if verdict == ours => Judged::Stale(exception),
        (_, _, Some(exception)) => Judged::Excepted(exception),
        (_, None, None) => Judged::Undecided,
        (_, Some(_), None) if verdict == ours => Judged::Agrees,
        (_, Some(_), None) => Judged::Differs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static KNOWN: Exception = Exception {
        test: "x",
        ets: false,
        reason: "",
        findings: "",
    };

    #[test]
    fn only_an_unexplained_or_explained_away_difference_fails() {
        let (yes, no) = (Some(Verdict::Allowed), Some(Verdict::Forbidden));
        let known = Some(&KNOWN);
        for (verdict, ours, excepted, judged, fails) in [
            (yes, yes, None, Judged::Agrees, false),
            (no, no, None, Judged::Agrees, false),
            (yes, no, None, Judged::Differs, true),
            (no, yes, None, Judged::Differs, true),
            (no, None, None, Judged::Undecided, true),
            (yes, None, None, Judged::Undecided, true),
            (None, yes, None, Judged::NotCompared, false),
            (None, None, None, Judged::NotCompared, false),
            (no, yes, known, Judged::Excepted(&KNOWN), false),
            (no, None, known, Judged::Excepted(&KNOWN), false),
            (no, no, known, Judged::Stale(&KNOWN), true),
            (None, yes, known, Judged::Stale(&KNOWN), true),
        ] {
            let is = judge(verdict, ours, excepted);
            assert_eq!((is, is.fails()), (judged, fails), "{verdict:?} {ours:?}");
        }
    }
}
