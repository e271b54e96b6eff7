// SPDX-License-Identifier: MIT OR Apache-2.0
//! `frame-freed-twice`: a frame freed twice will be given to two owners

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "frame-freed-twice",
    class: Class::Observed,
    why: "a frame freed twice will be given to two owners",
    on: &[On::DoubleFree],
    check,
};

fn check(_: &Facts, _: &State, event: &Event) -> Option<Breach> {
    let Event::DoubleFree { cpu, pa, .. } = *event else {
        return None;
    };
    Some(Breach {
        cpu: Some(cpu),
        ..Breach::new(format!("frame {pa:#x} was freed twice"))
    })
}
