// SPDX-License-Identifier: MIT OR Apache-2.0
//! Explanations: windows, causes, and what keeps a rule.

use shootdown::check::{Found, Subject, check};
use shootdown::corpus::load;
use shootdown::exec::Bench;
use shootdown::explain::{causes, hand_overs, told, why_not};
use shootdown::scenario::{COLUMNS, Scenario, Slot, Stop, parse};
use std::path::Path;

const BROADCAST: &str = include_str!("scenarios/broadcast-flush.scenario");

fn find(bench: &mut Bench, text: &str) -> (Scenario, Found) {
    let scenario = parse(text.as_bytes()).expect("a scenario");
    let subjects = Subject::of(&scenario).expect("known variants");
    let found = check(bench, &scenario, &subjects).found.expect("a finding");
    (scenario, found)
}

fn plain(text: &str) {
    for line in text.lines() {
        assert!(line.len() <= COLUMNS, "too long: {line}");
        let mut bytes = line.bytes();
        assert!(bytes.all(|b| (b' '..=b'~').contains(&b)), "{line}");
    }
}

/// A window says what is true: within it, the finding stays; one place on, it does not.
#[test]
fn a_window_ends_where_the_verdict_changes() {
    let bench = &mut Bench::default();
    let (scenario, found) = find(bench, BROADCAST);
    let windows = hand_overs(bench, &scenario, &found);
    assert_eq!(windows.len(), 2, "{windows:#?}");
    let first = &windows[0];
    assert!(first.first.step <= first.at.step && first.at.step <= first.last.step);
    assert!(
        first.last.before.starts_with("TTBR0 := reserved"),
        "{first:#?}"
    );
    let mut with_turn = |steps: u16| {
        let mut moved = scenario.clone();
        let (cpu, stop) = (first.cpu, Stop::Steps(steps));
        moved.schedule[0] = Slot::Run { cpu, stop };
        let subjects = Subject::of(&moved).unwrap();
        let found = check(bench, &moved, &subjects).found;
        found.map(|f| f.expect()) == scenario.expect
    };
    // Nobody has gone before it, so that its steps are the run's.
    let range = first.first.step as u16..=first.last.step as u16;
    assert_eq!(range.clone().count(), first.places as usize);
    assert!(range.clone().all(&mut with_turn));
    assert!(!with_turn(range.start() - 1) && !with_turn(range.end() + 1));
}

#[test]
fn what_has_no_part_in_it_is_no_cause() {
    let bench = &mut Bench::default();
    // One more operation, and one more act of the hardware.
    let text = BROADCAST
        .replacen("cpu0: ", "cpu0: unmap D 0x3000; ", 1)
        .replacen("schedule: ", "schedule: evict cpu0, ", 1);
    let (scenario, found) = find(bench, &text);
    let (causes, tried) = causes(bench, &scenario, &found);
    assert!(tried > causes.len());
    let has = |what: &str| causes.iter().any(|c| c.what.starts_with(what));
    assert!(
        has("walk cpu1 0x1000") && has("\"switch D\"") && has("dsb ish"),
        "{causes:#?}"
    );
    assert!(
        !has("evict") && !has("\"unmap") && !has("unlock"),
        "{causes:#?}"
    );
    assert!(
        causes
            .iter()
            .all(|c| c.without.rule() != Some(found.finding.rule.name))
    );
    assert!(causes.windows(2).all(|pair| pair[0].step <= pair[1].step));
}

#[test]
fn what_keeps_a_rule_is_named_and_what_does_not_is_not() {
    let bench = &mut Bench::default();
    let scenario = parse(
        b"scenario 1\nvariants naive\ncpu0: switch A; touch 0x1000; unmap A 0x1000; switch A\n",
    )
    .unwrap();
    let by = Subject::of(&scenario).unwrap()[0];
    let rule = |name| shootdown_oracle::rule(name).expect("a rule");
    let stale = why_not(bench, &scenario, by, rule("TLBEmptyInvalPTE"));
    assert_eq!(stale.ends_with, None);
    assert!(
        stale.guards.iter().any(|g| g.what.starts_with("tlbi")),
        "{stale:#?}"
    );
    let twice = why_not(bench, &scenario, by, rule("UniqueASIDPerCPU"));
    assert_eq!((twice.guards.len(), twice.tried), (0, stale.tried));
    plain(&told::why_not(&stale, by, rule("TLBEmptyInvalPTE")));
    assert!(told::why_not(&twice, by, rule("UniqueASIDPerCPU")).contains("does not come near"));
    // A run that another rule has ended.
    let (scenario, found) = find(bench, BROADCAST);
    let other = why_not(bench, &scenario, found.by, rule("deadlock"));
    assert_eq!(
        other.ends_with,
        Some((found.finding.rule.name, found.finding.step))
    );
}

/// Every finding of the corpus can be explained, in 75 plain columns, and needs something.
#[test]
fn the_findings_of_the_corpus_have_causes_and_windows() {
    let bench = &mut Bench::default();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus");
    let (mut findings, mut windows) = (0, 0);
    for (path, scenario) in load(&root).expect("the corpus parses") {
        let subjects = Subject::of(&scenario).expect("known names");
        let Some(found) = check(bench, &scenario, &subjects).found else {
            continue;
        };
        let all = hand_overs(bench, &scenario, &found);
        for w in &all {
            assert!(w.first.step <= w.at.step, "{}: {w:?}", path.display());
            assert!(w.places > 0);
        }
        let (causes, tried) = causes(bench, &scenario, &found);
        assert!(!causes.is_empty(), "{}: {tried} tried", path.display());
        plain(&told::windows(&all));
        plain(&told::causes(&causes, tried, &found));
        findings += 1;
        windows += usize::from(!all.is_empty());
    }
    assert!(
        findings > 130 && windows > findings / 2,
        "{findings}, {windows}"
    );
}

/// Two spaces come to one ASID: before, at and after the step that does it.
#[test]
#[cfg(feature = "cli")]
fn the_machine_at_a_step_is_what_it_was_then() {
    use shootdown::story::at::{Watch, at, watch};
    let bench = &mut Bench::default();
    let (scenario, found) = find(bench, BROADCAST);
    let story = shootdown::story::story(bench, &scenario, found.by, Some(&found));
    let last = found.finding.step;
    let given = "context_id[B] = gen 2 asid 1";
    let shows = |step: u32| at(&story, step).contains(given);
    let first = (0..=last).find(|step| shows(*step)).expect("a step");
    assert!(first > 0 && (first..=last).all(shows), "{first}");
    let text = at(&story, last);
    assert!(text.contains("asid 1, 0x1000 size 0x1000"), "{text}");
    assert!(
        !at(&story, 0).contains("TLBs"),
        "no entry before the first step"
    );
    plain(&text);
    let tag = watch(&story, &Watch::Tag(1));
    plain(&tag);
    assert!(
        tag.contains("+ entry cpu1  asid 1, 0x1000") || tag.contains("+ entry cpu1 asid 1, 0x1000"),
        "{tag}"
    );
    assert!(watch(&story, &Watch::Tag(99)).contains("Nothing."));
}
