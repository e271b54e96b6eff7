// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every word that a text may have is in docs/.

use crate::scenario::words;
use shootdown_machine::arm64::Granule;
use shootdown_machine::{Bbm, Domain, Memory, OpKind, Pick, Prot, Switch};

const SCENARIO: &str = include_str!("../../../../docs/scenario.md");
const MACHINE: &str = include_str!("../../../../docs/machine.md");

/// The first words of what a page has between backquotes.
fn quoted(page: &'static str) -> Vec<&'static str> {
    let quotes = page.split('`').skip(1).step_by(2);
    quotes
        .filter_map(|q| q.split([' ', '=', '.']).next())
        .collect()
}

#[test]
fn every_word_is_documented() {
    let documented = quoted(SCENARIO);
    let mut words = [words::lines(), words::slots(), words::verdicts()].concat();
    words.extend(words::KEYS);
    words.extend(words::list::<OpKind>());
    words.extend(words::list::<Memory>());
    words.extend(words::list::<Domain>());
    words.extend(words::list::<Bbm>());
    words.extend(words::list::<Granule>());
    words.extend(words::list::<Pick>());
    words.extend(words::list::<Prot>());
    words.extend(words::list::<bool>());
    let missing: Vec<_> = words.iter().filter(|w| !documented.contains(w)).collect();
    assert!(missing.is_empty(), "docs/scenario.md lacks {missing:?}");
}

#[test]
fn every_switch_is_discussed() {
    let discussed = quoted(MACHINE);
    let words = Switch::ALL.iter().map(|s| s.word());
    let missing: Vec<_> = words.filter(|w| !discussed.contains(w)).collect();
    assert!(missing.is_empty(), "docs/machine.md lacks {missing:?}");
}

#[test]
fn the_examples_of_the_table_parse() {
    let examples = SCENARIO
        .lines()
        .filter_map(|l| l.strip_prefix("| `")?.split_once('|'));
    let (mut ops, mut slots) = (0, 0);
    for (cell, _) in examples {
        for example in cell.split('`').step_by(2) {
            let word = example.split(' ').next().unwrap_or("");
            let example = example.replace("NAME", "active_asids");
            let text = if words::list::<OpKind>().contains(&word) {
                ops += 1;
                format!("scenario 1\ncpu0: {example}\n")
            } else if words::slots().contains(&word) && cell.contains("cpu0") && example != "cpu0" {
                slots += 1;
                format!("scenario 1\nschedule: {example}\n")
            } else {
                continue;
            };
            let parsed = crate::scenario::parse(text.as_bytes());
            assert!(parsed.is_ok(), "{parsed:?}: {example}");
        }
    }
    assert!(ops >= words::list::<OpKind>().len() && slots >= words::slots().len());
}
