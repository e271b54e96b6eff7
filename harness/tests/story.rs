// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stories as others read them: JSON, its documentation, the page.

use serde_json::Value;
use shootdown::check::{Subject, check};
use shootdown::corpus::load;
use shootdown::exec::Bench;
use shootdown::scenario::{Scenario, parse};
use shootdown::story::{Change, Kind, SCHEMA, Story, page, story};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The story of a scenario's finding; of its first variant's run if it has none.
fn tell(bench: &mut Bench, scenario: &Scenario) -> Story {
    let subjects = Subject::of(scenario).expect("known variants");
    let found = check(bench, scenario, &subjects).found;
    let by = found.as_ref().map_or(subjects[0], |f| f.by);
    story(bench, scenario, by, found.as_ref())
}

fn stories() -> Vec<(String, Story)> {
    let mut bench = Bench::default();
    let corpus = load(&root().join("corpus")).expect("the corpus parses");
    let named = corpus
        .iter()
        .map(|(path, s)| (path.display().to_string(), s));
    named.map(|(name, s)| (name, tell(&mut bench, s))).collect()
}

fn example() -> Story {
    let text = include_str!("scenarios/broadcast-flush.scenario");
    tell(
        &mut Bench::default(),
        &parse(text.as_bytes()).expect("a scenario"),
    )
}

#[test]
fn json_parses_and_its_steps_rise() {
    let (mut passed, mut empty) = (0, 0);
    for (name, story) in stories() {
        let json: Value = serde_json::from_str(&story.json()).expect("JSON");
        assert_eq!(json["schema"], SCHEMA, "{name}");
        let steps = json["steps"].as_array().expect("steps");
        let numbers: Vec<u64> = steps
            .iter()
            .map(|s| s["number"].as_u64().unwrap())
            .collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{name}: {numbers:?}");
        // A variant may have none of the operations.
        empty += usize::from(numbers.is_empty());
        let back: Story = serde_json::from_str(&story.json()).expect("a story");
        assert_eq!(back, story, "{name}");
        passed += usize::from(json["finding"].is_null());
        // What is quoted of this machine is names, not where they are.
        assert!(!story.json().contains(env!("CARGO_MANIFEST_DIR")), "{name}");
    }
    assert!(passed > 10 && empty < passed);
}

#[test]
fn the_same_scenario_gives_the_same_bytes() {
    let mut used = Bench::default();
    for name in ["broadcast-flush", "B-2", "three-cpus", "canary"] {
        let path = root().join(format!("harness/tests/scenarios/{name}.scenario"));
        let text = std::fs::read(path).expect("a file");
        let scenario = parse(&text).expect("a scenario");
        let first = tell(&mut used, &scenario);
        let again = tell(&mut used, &scenario);
        let new = tell(&mut Bench::default(), &scenario);
        assert_eq!(first.json(), again.json(), "{name}");
        assert_eq!(first.json(), new.json(), "{name}");
        assert_eq!(page(&first).unwrap(), page(&new).unwrap(), "{name}");
    }
}

/// Every key of an object, and the words that say which kind something is.
fn words(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(values) => values.iter().for_each(|v| words(v, found)),
        Value::Object(fields) => {
            for (key, value) in fields {
                found.insert(key.clone());
                if let ("change" | "kind", Value::String(word)) = (key.as_str(), value) {
                    found.insert(word.clone());
                }
                words(value, found);
            }
        }
        _ => {}
    }
}

#[test]
fn the_documentation_has_every_field_and_no_other() {
    let doc = std::fs::read_to_string(root().join("docs/story.md")).expect("docs/story.md");
    let (_, schema) = doc.split_once("## The schema").expect("the schema");
    let mut used = BTreeSet::new();
    for (_, story) in stories() {
        words(&serde_json::to_value(&story).expect("JSON"), &mut used);
    }
    for word in &used {
        assert!(
            schema.contains(&format!("`{word}`")),
            "{word} is not documented"
        );
    }
    // The first column of each table has names of fields or of kinds.
    let rows = schema.lines().filter(|l| l.starts_with("| `"));
    let cells = rows.filter_map(|l| l.split('|').nth(1));
    let documented = cells
        .flat_map(|c| c.split(','))
        .map(|c| c.trim().replace('`', ""));
    let documented: BTreeSet<String> = documented.collect();
    let none: Vec<_> = documented.difference(&used).collect();
    assert!(none.is_empty(), "documented, but in no story: {none:?}");
    assert!(documented.len() > 40);
}

#[test]
fn lines_say_who_did_what_where() {
    let story = example();
    let lines: Vec<_> = story.steps.iter().flat_map(|s| &s.lines).collect();
    let load = lines
        .iter()
        .find(|l| l.head.starts_with("TTBR0 :="))
        .expect("a write of TTBR0");
    let site = load.site.as_ref().expect("a site");
    assert!(
        site.file.starts_with("variants/src/") && site.line > 0,
        "{site:?}"
    );
    assert!(load.operation.as_deref().unwrap().starts_with("switch"));
    assert_eq!(load.kind, Kind::Cpu);
    let walk = lines
        .iter()
        .find(|l| l.kind == Kind::Hardware)
        .expect("hardware");
    assert_eq!(walk.site, None);
    let changes = || story.steps.iter().flat_map(|s| &s.changes);
    let unsynced = changes().any(|c| {
        matches!(
            c,
            Change::Register {
                synchronized: false,
                ..
            }
        )
    });
    let synced = changes().any(|c| {
        matches!(
            c,
            Change::Register {
                synchronized: true,
                ..
            }
        )
    });
    assert!(unsynced && synced);
}

/// The text of a page without its script and style: what is read.
fn visible(html: &str) -> String {
    let body = html.split_once("<body>").expect("a body").1;
    let body = body.split_once("<script").expect("a script").0;
    let (mut text, mut tag) = (String::new(), false);
    for c in body.chars() {
        match c {
            '<' => tag = true,
            '>' => {
                tag = false;
                text.push(' ');
            }
            c if !tag => text.push(c),
            _ => {}
        }
    }
    let entities = [
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&#38;", "&"),
    ];
    for (entity, c) in entities {
        text = text.replace(entity, c);
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_page_says_what_the_report_says() {
    for (name, story) in stories() {
        let text = visible(&page(&story).expect("a page"));
        let Some(report) = &story.report else {
            continue;
        };
        let known: BTreeSet<&str> = text.split(' ').collect();
        // Step for step, a link and a text; the rest word for word.
        for part in [&report.history, &report.tlbs] {
            for word in part.split_whitespace() {
                assert!(known.contains(word), "{name}: no {word} on the page");
            }
        }
        for paragraph in report
            .history
            .split("\n\n")
            .filter(|p| !p.contains("  step"))
        {
            let paragraph = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(text.contains(&paragraph), "{name}: {paragraph}");
        }
        let finding = story.finding.as_ref().expect("a finding");
        for said in [
            &finding.rule,
            &finding.why,
            &finding.breach,
            &story.variant.files,
        ] {
            let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(text.contains(&said), "{name}: {said}");
        }
        let scenario = story
            .scenario
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        assert!(text.contains(&scenario), "{name}");
        for line in story
            .steps
            .iter()
            .flat_map(|s| &s.lines)
            .filter(|l| l.matters)
        {
            let head = line.head.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(text.contains(&head), "{name}: {head}");
        }
    }
}

#[test]
fn a_page_needs_nothing_else() {
    let html = page(&example()).expect("a page");
    for outside in [
        "http:", "https:", "//", "src=", "url(", "@import", "<link", "<img",
    ] {
        let found = html
            .lines()
            .find(|l| l.contains(outside) && !l.trim().starts_with("//"));
        assert_eq!(found, None, "{outside}");
    }
    assert!(html.contains("default-src 'none'"));
}

#[test]
fn what_a_story_quotes_cannot_break_out_of_the_page() {
    const HOSTILE: &str =
        "</script><script>alert(1)</script><!-- <img src=x onerror=alert(2)> \u{2028}&amp;\"'";
    let mut story = example();
    let harmless = page(&story).expect("a page");
    story.scenario += HOSTILE;
    story.variant.name = HOSTILE.into();
    story.variant.about = HOSTILE.into();
    story.defect.as_mut().expect("a defect").name = HOSTILE.into();
    story.programs[0][0] = HOSTILE.into();
    let finding = story.finding.as_mut().expect("a finding");
    finding.rule = HOSTILE.into();
    finding.breach = HOSTILE.into();
    story.report.as_mut().expect("a report").history += HOSTILE;
    for line in story.steps.iter_mut().flat_map(|s| &mut s.lines) {
        line.head = HOSTILE.into();
        line.site.iter_mut().for_each(|s| s.file = HOSTILE.into());
    }
    let html = page(&story).expect("a page");
    for tag in ["<script", "</script", "<img", "<!--"] {
        let count = |html: &str| html.matches(tag).count();
        assert_eq!(count(&html), count(&harmless), "{tag}");
    }
    // Nothing is lost on the way: a reader of the data has it as it was.
    let data = html.split_once("id=\"story\">").expect("the data").1;
    let data = data.split_once("</script>").expect("its end").0;
    let back: Story = serde_json::from_str(data).expect("a story");
    assert_eq!(back, story);
    assert!(visible(&html).contains("<img src=x onerror=alert(2)>"));
}

fn shootdown(args: &[&str]) -> Output {
    let bin = env!("CARGO_BIN_EXE_shootdown");
    Command::new(bin).args(args).output().expect("it runs")
}

#[test]
fn the_command_writes_either_and_refuses_what_it_cannot() {
    let file = root().join("harness/tests/scenarios/canary.scenario");
    let file = file.to_str().expect("a path");
    let out = shootdown(&["report", "--format", "json", file]);
    assert_eq!(out.status.code(), Some(0));
    let json: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert_eq!(json["variant"]["name"], "canary");
    let target = std::env::temp_dir().join(format!("story-{}.html", std::process::id()));
    let target = target.to_str().expect("a path");
    let out = shootdown(&["report", "--html", target, file]);
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    let html = std::fs::read_to_string(target).expect("the page");
    std::fs::remove_file(target).expect("it is there");
    assert!(html.starts_with("<!doctype html>"));
    // A run that breaks nothing has a story too, if it is clear which.
    let passes = shootdown(&["report", "--format", "json", "--variant", "naive", file]);
    let json: Value = serde_json::from_slice(&passes.stdout).expect("JSON");
    assert!(json["finding"].is_null() && passes.status.success());
    let refused: &[(&[&str], &str)] = &[
        (
            &["--html", "/nowhere/x.html", file],
            "cannot write /nowhere/x.html",
        ),
        (
            &["--html", "x.html", "--format", "json", file],
            "cannot be used with",
        ),
        (&["--format", "xml", file], "invalid value"),
        (&["--format", "json", "/nowhere/x.scenario"], "cannot read"),
        (
            &["--format", "json", "--variant", "nobody", file],
            "no variant \"nobody\"",
        ),
        (
            &["--format", "text", "--variant", "naive", file],
            "breaks no rule",
        ),
    ];
    for (args, message) in refused {
        let out = shootdown(&[&["report"], *args].concat());
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{args:?}: {said}");
        let words = said.split_whitespace().filter(|w| *w != "\u{2502}");
        let said = words.collect::<Vec<_>>().join(" ");
        assert!(said.contains(message), "{args:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}
