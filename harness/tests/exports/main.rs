// SPDX-License-Identifier: MIT OR Apache-2.0
//! Findings in the forms of docs/exports.md.

mod casemate;
mod rust_test;
mod tla;

use shootdown::check::{Found, Subject, check};
use shootdown::corpus::load;
use shootdown::exec::Bench;
use shootdown::export::{Form, export};
use shootdown::scenario::{Scenario, parse};
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn corpus() -> Vec<(PathBuf, Scenario)> {
    load(&root().join("corpus")).expect("the corpus parses")
}

/// A scenario of the corpus, as text.
fn file(name: &str) -> String {
    let path = root().join(format!("corpus/{name}.scenario"));
    std::fs::read_to_string(path).expect("a scenario of the corpus")
}

/// Exports a scenario; the error as text.
fn written(text: &str, form: Form) -> Result<String, String> {
    let scenario = parse(text.as_bytes()).expect("a scenario");
    of(&scenario, form)
}

fn of(scenario: &Scenario, form: Form) -> Result<String, String> {
    let mut bench = Bench::default();
    let subjects = Subject::of(scenario).expect("known variants");
    let found: Option<Found> = check(&mut bench, scenario, &subjects).found;
    let first = export(&mut bench, scenario, found.as_ref(), form);
    let again = export(&mut Bench::default(), scenario, found.as_ref(), form);
    assert_eq!(
        first, again,
        "on a bench that has been used, and on a new one"
    );
    if let Ok(text) = &first {
        assert!(
            text.bytes()
                .all(|b| b == b'\n' || (b' '..=b'~').contains(&b))
        );
        assert!(text.ends_with('\n') && !text.contains(" \n"));
    }
    first.map_err(|e| e.to_string())
}

/// The exit status of `shootdown report`, and what it says.
fn report(args: &[&str]) -> (Option<i32>, String, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_shootdown"))
        .arg("report")
        .args(args)
        .current_dir(root())
        .output()
        .expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("plain text");
    (out.status.code(), text(out.stdout), text(out.stderr))
}
