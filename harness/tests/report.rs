// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every report is a snapshot, of a finding that a small scenario file brings about.

use shootdown::check::{Found, Subject, check};
use shootdown::corpus::load;
use shootdown::exec::Bench;
use shootdown::minimize::minimize;
use shootdown::report::{mail, report};
use shootdown::scenario::{COLUMNS, Expect, Scenario, Slot, parse};
use shootdown_machine::Memory;
use std::path::Path;

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
    b3_the_asid_is_read_before_the_barrier "B-3"
    b4_one_space_has_two_asids "B-4"
    b14_a_vmid_is_handed_out_while_it_is_taken "B-14"
    b20_local_flush "B-20-nsh"
    b20_block_to_table "B-20-block-to-table"
    one_column_for_three_cpus "three-cpus"
    el2_walks_for_a_guest_that_does_not_run "out-of-context"
}

/// The reports of the corpus: one for every known defect.
#[test]
fn the_corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus");
    let mut reports = 0;
    for (path, scenario) in load(&folder).expect("the corpus parses") {
        if !matches!(scenario.expect, Some(Expect::Breach { .. })) {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a file");
        let name = path.file_stem().expect("a name").to_string_lossy();
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path("snapshots/corpus");
        settings.bind(|| examine(&name, &text));
        reports += 1;
    }
    let defects = shootdown_variants::all().iter().map(|v| v.defects.len());
    assert!(reports >= defects.sum::<usize>(), "{reports}");
}

#[test]
fn a_mail_is_a_subject_and_a_report() {
    let mut bench = Bench::default();
    let (scenario, found) = find(&mut bench, include_str!("scenarios/B-1.scenario"));
    let mail = mail(&mut bench, &scenario, &found);
    assert!(
        mail.starts_with("Subject: [BUG] arm64-asid/B-1: "),
        "{mail}"
    );
    assert!(
        mail.lines()
            .all(|line| line.len() <= COLUMNS && line.is_ascii())
    );
    assert!(mail.ends_with(&report(&mut bench, &scenario, &found)));
}

#[test]
fn only_line_numbers_are_redacted() {
    assert_eq!(
        redact("step 12 (context.rs:231) cpu0: 5 mm:9"),
        "step 12 (context.rs:###) cpu0: 5 mm:#"
    );
}

/// What a report says that the finding of a scenario needs of the machine.
fn needs(text: &str) -> Option<String> {
    let mut bench = Bench::default();
    let (scenario, found) = find(&mut bench, text);
    let report = report(&mut bench, &scenario, &found);
    let mut lines = report.lines();
    let line = lines.find_map(|l| l.strip_prefix("  Machine  needs "))?;
    Some(line.replace(" (docs/machine.md).", ""))
}

#[test]
fn a_report_names_what_the_finding_needs_and_nothing_else() {
    let old_value = include_str!("scenarios/B-3.scenario");
    let out_of_context = include_str!("scenarios/out-of-context.scenario");
    let on = |text: &str, switch: &str| {
        text.replacen("\ncpu0:", &format!("\nmachine {switch}=on\ncpu0:"), 1)
    };
    let arm = |text: &str| text.replace("memory=sc", "memory=arm");
    assert_eq!(needs(old_value).unwrap(), "memory=arm");
    assert_eq!(needs(&on(old_value, "ooc")).unwrap(), "memory=arm");
    assert_eq!(needs(out_of_context).unwrap(), "ooc=on");
    assert_eq!(needs(&arm(out_of_context)).unwrap(), "ooc=on");
    // What is wrong under every model needs none.
    let broadcast = include_str!("scenarios/canary.scenario");
    assert_eq!(needs(broadcast), None);
    assert_eq!(needs(&on(&arm(broadcast), "inflight")), None);
}

#[test]
fn a_minimal_scenario_has_the_strongest_memory_that_will_do() {
    let mut bench = Bench::default();
    let mut least = |text: &str| {
        let scenario = parse(text.as_bytes()).expect("a scenario");
        let minimized = minimize(&mut bench, &scenario).expect("known variants");
        minimized.expect("a finding").scenario
    };
    let canary = include_str!("scenarios/canary.scenario")
        .replace("memory=sc", "memory=arm")
        .replacen(
            "schedule: ",
            "schedule: drain cpu0 last, stale cpu1 x3, ",
            1,
        );
    let scenario = least(&canary);
    assert_eq!(scenario.machine.memory, Memory::Sc);
    let weak = |slot: &Slot| matches!(slot, Slot::Drain { .. } | Slot::Stale { .. });
    assert!(!scenario.schedule.iter().any(weak), "{scenario}");
    // This one reads an old value, and need not read an older one.
    let old_value = include_str!("scenarios/B-3.scenario").replace("stale cpu0", "stale cpu0 x7");
    let scenario = least(&old_value);
    assert_eq!(scenario.machine.memory, Memory::Arm);
    let by: Vec<u8> = scenario
        .schedule
        .iter()
        .filter_map(|slot| match slot {
            Slot::Stale { by, .. } => Some(*by),
            _ => None,
        })
        .collect();
    assert_eq!(by, [1], "{scenario}");
}
