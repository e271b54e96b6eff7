// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine is held to the published verdicts.

use shootdown::litmus::{Judged, MAX_STATES, Row, run};
use shootdown_machine::litmus::{ALL, EXCEPTIONS, Options, parse};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Every test under one model.
fn rows(ets: bool) -> Vec<Row> {
    let options = Options {
        ets,
        max_states: MAX_STATES,
    };
    let next = AtomicUsize::new(0);
    let work = || {
        let mut rows = Vec::new();
        while let Some((_, text)) = ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
            let test = parse(text).expect("checked by the machine's tests");
            let row = run(&test, &options, EXCEPTIONS);
            rows.push(row.expect("the machine has room"));
        }
        rows
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let rows = threads.into_iter().map(|t| t.join().expect("no panic"));
        rows.flatten().collect()
    })
}

fn holds(ets: bool, verdicts: usize) {
    let rows = rows(ets);
    let failed: Vec<String> = rows
        .iter()
        .filter(|row| row.judged.fails())
        .map(|row| format!("{} {}", row.judged.word(), row.test))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
    let compared = rows.iter().filter(|r| r.judged != Judged::NotCompared);
    assert_eq!((rows.len(), compared.count()), (153, verdicts));
}

#[test]
fn verdicts_without_ets2_are_met() {
    holds(false, 113);
}

#[test]
fn verdicts_with_ets2_are_met() {
    holds(true, 132);
}

#[test]
fn exceptions_are_few_and_explained() {
    let mut seen = BTreeSet::new();
    for e in EXCEPTIONS {
        let (_, text) = ALL.iter().find(|(name, _)| *name == e.test).expect(e.test);
        let test = parse(text).expect("checked by the machine's tests");
        let verdict = shootdown::litmus::verdict(&test, e.ets);
        assert!(verdict.is_some(), "{}: nothing to differ from", e.test);
        assert!(seen.insert((e.test, e.ets)), "{}: twice", e.test);
        assert!(e.reason.len() > 20 && e.findings.len() > 20, "{}", e.test);
    }
}

fn command(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_shootdown"))
        .arg("litmus")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut stdin = child.stdin.take().expect("piped");
    // A command that reads no input may be gone already.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("the command ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const STORE_BUFFER: &str = "\
litmus mine
expect base=forbidden

virtual x y
physical pa1 pa2

table main stage=1
  x -> page pa1
  y -> page pa2

thread 0 el=0
  [x] = 1
  r0 = [y]

thread 1 el=0
  [y] = 1
  r0 = [x]

ask 0:r0 = 0 & 1:r0 = 0
";

/// Plain store buffering is allowed, so the verdict in this file is wrong.
#[test]
fn a_file_with_a_wrong_verdict_fails_and_the_witness_says_how() {
    let out = command(&["-", "--witness"], STORE_BUFFER);
    let (stdout, stderr) = (text(&out.stdout), text(&out.stderr));
    assert_eq!(out.status.code(), Some(1), "{stdout}{stderr}");
    assert!(stdout.contains("DIFFERS mine (base)"), "{stdout}");
    assert!(stdout.contains("\n    "), "no witness: {stdout}");

    let right = STORE_BUFFER.replace("forbidden", "allowed");
    assert_eq!(command(&["-"], &right).status.code(), Some(0));
    let ordered = STORE_BUFFER.replace("  r0", "  dsb sy\n  r0");
    assert_eq!(command(&["-"], &ordered).status.code(), Some(0));
    let silent = STORE_BUFFER.replace("expect base=forbidden\n", "");
    let out = command(&["-"], &silent);
    assert_eq!(out.status.code(), Some(0));
    assert!(text(&out.stdout).contains("0 verdicts"));
}

#[test]
fn bad_input_is_refused_with_its_place() {
    let out = command(&["-"], &STORE_BUFFER.replace("[y] = 1", "[z] = 1"));
    assert_eq!(out.status.code(), Some(2));
    let stderr = text(&out.stderr);
    assert!(stderr.contains("line 16, column 4"), "{stderr}");
    assert!(stderr.contains("a declared virtual page"), "{stderr}");
    let out = command(&["no-such-test"], "");
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("neither a published test nor a file"));
}
