// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every report is a snapshot, of a finding that a small scenario file brings about.

use shootdown::check::{Found, Subject, check};
use shootdown::exec::Bench;
use shootdown::report::report;
use shootdown::scenario::{COLUMNS, Scenario, parse};

/// Runs a scenario, which must break what it is kept for.
fn find(bench: &mut Bench, text: &str) -> (Scenario, Found) {
    let scenario = parse(text.as_bytes()).expect("a scenario");
    let subjects = Subject::of(&scenario).expect("known variants");
    let found = check(bench, &scenario, &subjects).found.expect("a finding");
    assert_eq!(Some(found.expect()), scenario.expect);
    (scenario, found)
}

/// The text without the line numbers of ports, which are edited.
fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut site = false;
    let mut last = ' ';
    for c in text.chars() {
        site = if c == ':' {
            last.is_ascii_lowercase()
        } else {
            site && c.is_ascii_digit()
        };
        out.push(if site && c != ':' { '#' } else { c });
        last = c;
    }
    out
}

fn examine(name: &str, text: &str) {
    let mut bench = Bench::default();
    let (scenario, found) = find(&mut bench, text);
    let first = report(&mut bench, &scenario, &found);
    assert_eq!(
        first,
        report(&mut bench, &scenario, &found),
        "on a bench that has been used"
    );
    assert_eq!(
        first,
        report(&mut Bench::default(), &scenario, &found),
        "on a new bench"
    );
    for line in first.lines() {
        assert!(line.len() <= COLUMNS, "too long: {line}");
        assert!(
            line.bytes().all(|b| (b' '..=b'~').contains(&b)),
            "not plain: {line}"
        );
        assert_eq!(line, line.trim_end());
    }
    // What the report ends with is the scenario, and breaks the same rule again.
    let at = first.find("scenario 1\n").expect("the reproducer");
    let (again, found_again) = find(&mut bench, &first[at..]);
    assert_eq!(
        (&again.expect, found_again.finding.step),
        (&scenario.expect, found.finding.step)
    );
    insta::assert_snapshot!(name, redact(&first));
}

macro_rules! reports {
    ($($test:ident $name:literal)*) => {
        $(#[test]
        fn $test() {
            examine($name, include_str!(concat!("scenarios/", $name, ".scenario")));
        })*
    };
}

reports! {
    canary "canary"
    the_old_asid_is_refilled_after_the_broadcast "broadcast-flush"
    b1_an_old_id_is_reserved "B-1"
    b2_siblings_share_an_entry "B-2"
    b2_siblings_share_an_asid "B-2-contexts"
    b4_one_space_has_two_asids "B-4"
    b14_a_vmid_is_handed_out_while_it_is_taken "B-14"
    b20_local_flush "B-20-nsh"
    b20_block_to_table "B-20-block-to-table"
    one_column_for_three_cpus "three-cpus"
}

#[test]
fn only_line_numbers_are_redacted() {
    assert_eq!(
        redact("step 12 (context.rs:231) cpu0: 5 mm:9"),
        "step 12 (context.rs:###) cpu0: 5 mm:#"
    );
}
