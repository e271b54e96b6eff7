// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests in Rust, one of which is committed and run.

use super::{corpus, file, of, report, root, written};
use shootdown::check::{Subject, check};
use shootdown::exec::Bench;
use shootdown::export::{Form, export};
use shootdown::scenario::{Expect, parse};

/// The scenario that a generated test holds.
fn inside(test: &str) -> &str {
    let (_, rest) = test.split_once("\"\\\n").expect("a string");
    rest.split_once("\";\n").expect("its end").0
}

#[test]
fn the_committed_test_is_what_is_exported() {
    let (code, text, _) = report(&["--format", "rust-test", "corpus/arm64-asid-B-1.scenario"]);
    assert_eq!(code, Some(0));
    let path = root().join("variants/tests/exported.rs");
    let committed = std::fs::read_to_string(path).expect("the committed test");
    assert_eq!(
        text, committed,
        "write it again: shootdown report --format rust-test corpus/arm64-asid-B-1.scenario \
         -o variants/tests/exported.rs"
    );
}

#[test]
fn every_finding_of_the_corpus_becomes_a_test() {
    let (mut tests, mut passing) = (0, 0);
    for (path, scenario) in corpus() {
        let text = match of(&scenario, Form::RustTest) {
            Ok(text) => text,
            Err(why) => {
                assert_eq!(scenario.expect, Some(Expect::Pass), "{why}");
                assert!(why.contains("variants breaks a rule"), "{why}");
                continue;
            }
        };
        let again = parse(inside(&text).as_bytes()).expect("the scenario in it");
        assert_eq!(again, scenario, "{}", path.display());
        let module = text
            .split("ports::")
            .nth(1)
            .and_then(|t| t.split("::").next());
        let port = format!("variants/src/ports/{}.rs", module.expect("a module"));
        assert!(root().join(&port).is_file(), "{port}");
        assert!(text.lines().all(|line| line.len() <= 100));
        match &scenario.expect {
            Some(Expect::Breach { rule, by }) => {
                assert!(text.contains(&format!("const RULE: &str = \"{rule}\";")));
                let defect = by
                    .defect
                    .as_ref()
                    .map(|d| format!("const DEFECT: &str = \"{d}\";"));
                assert_eq!(text.contains("DEFECT"), defect.is_some());
                assert!(
                    defect.is_none_or(|d| text.contains(&d)),
                    "{}",
                    path.display()
                );
                let both = text.matches("#[test]").count();
                assert_eq!(both, 1 + usize::from(by.defect.is_some()));
            }
            _ => {
                assert!(text.contains("assert_eq!(broken(None), None);"));
                passing += 1;
            }
        }
        tests += 1;
    }
    assert!(tests > 150, "{tests}");
    println!("{passing} of them pass");
}

#[test]
fn a_run_that_passes_becomes_a_test_of_its_variant() {
    let text = file("arm64-asid-B-1");
    let text = text.replace("/B-1", "").replace("expect: breach", "# ");
    let test = written(&text, Form::RustTest).expect("a test");
    assert!(test.contains("fn no_rule_is_broken() {\n    assert_eq!(broken(None), None);"));
    assert!(!test.contains("RULE") && !test.contains("DEFECT"));
    assert!(inside(&test).ends_with("expect: pass\n"));
}

#[test]
fn what_is_nobodys_run_is_refused() {
    let text = "scenario 1\nvariants arm64-asid naive\ncpu0: switch A\n";
    let why = "none of 2 variants breaks a rule; --variant NAME says whose run is meant";
    assert_eq!(written(text, Form::RustTest), Err(why.into()));
    let none = "corpus/kvm-vmid-collapse-copied-while-running.scenario";
    let (code, out, err) = report(&["--format", "rust-test", none]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.contains("variants breaks a rule; --variant"), "{err}");
}

#[test]
fn a_difference_between_variants_is_refused() {
    let mut bench = Bench::default();
    let scenario = parse(file("arm64-asid-B-1").as_bytes()).expect("a scenario");
    let subjects = Subject::of(&scenario).expect("known variants");
    let found = check(&mut bench, &scenario, &subjects).found;
    let mut found = found.expect("a finding");
    found.finding.rule = shootdown_oracle::rule("one-result").expect("a rule");
    let why = export(&mut bench, &scenario, Some(&found), Form::RustTest).unwrap_err();
    assert!(why.to_string().contains("between two variants"), "{why}");
}
