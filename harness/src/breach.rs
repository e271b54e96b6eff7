// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lines by which a fuzz target says what it found, and how far it is, to whoever
//! reads its output.

use crate::check::Found;
use core::fmt;

/// What the line begins with. Anything else that ends a fuzz target is an error of ours.
pub const MARK: &str = "SHOOTDOWN-FINDING";

/// What a line begins with that says how many runs there have been. libFuzzer itself says
/// so only when it finds something new, or at powers of two.
pub const HEARTBEAT: &str = "SHOOTDOWN-EXECUTIONS";

/// The environment variable that asks a fuzz target for such lines.
pub const ASK_HEARTBEAT: &str = "SHOOTDOWN_HEARTBEAT";

/// The environment variable that names findings a fuzz target is to pass over, since they
/// are known: `rule=by`, separated by blanks.
pub const KNOWN: &str = "SHOOTDOWN_KNOWN";

/// A finding as [`KNOWN`] names it.
pub fn known(found: &Found) -> String {
    format!("{}={}", found.finding.rule.name, found.by.name())
}

/// The runs that a line tells of.
pub fn heartbeat(line: &str) -> Option<u64> {
    line.strip_prefix(HEARTBEAT)?.trim().parse().ok()
}

/// A finding on one line: `SHOOTDOWN-FINDING rule=... by=...: sentence`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// Name of the rule.
    pub rule: String,
    /// Who broke it, as `Subject::parse` takes it.
    pub by: String,
    /// What is wrong, in one sentence.
    pub what: String,
}

impl Line {
    /// The line of a finding.
    pub fn of(found: &Found) -> Line {
        Line {
            rule: found.finding.rule.name.to_owned(),
            by: found.by.name(),
            what: found.finding.breach.what.replace('\n', " "),
        }
    }

    /// The finding that a line of output tells of.
    pub fn parse(line: &str) -> Option<Line> {
        let (head, what) = line.trim().strip_prefix(MARK)?.split_once(": ")?;
        let (rule, by) = head.strip_prefix(" rule=")?.split_once(" by=")?;
        Some(Line {
            rule: rule.to_owned(),
            by: by.to_owned(),
            what: what.to_owned(),
        })
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MARK} rule={} by={}: {}", self.rule, self.by, self.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printing_and_parsing_are_inverse() {
        let line = Line {
            rule: "no-use-after-unmap".into(),
            by: "arm64-asid/B-1".into(),
            what: "cpu0: read 0x1000 by: a stale entry".into(),
        };
        assert_eq!(Line::parse(&line.to_string()), Some(line));
        assert_eq!(Line::parse("SHOOTDOWN-FINDING"), None);
        assert_eq!(Line::parse("thread panicked"), None);
    }
}
