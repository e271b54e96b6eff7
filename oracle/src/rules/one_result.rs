// SPDX-License-Identifier: MIT OR Apache-2.0
//! `one-result`: variants that did the same operations in the same order must come to the same results

use crate::{Breach, Class, Facts, Rule};
use shootdown_machine::{Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "one-result",
    class: Class::Differential,
    why: "variants that did the same operations in the same order must come to the same results",
    on: &[],
    check,
};

/// Two runs are compared by the harness; no single event shows it.
fn check(_: &Facts, _: &State, _: &Event) -> Option<Breach> {
    None
}
