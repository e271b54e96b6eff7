// SPDX-License-Identifier: MIT OR Apache-2.0
//! Behaviours in TLA+: their states are read again.

use super::{corpus, file, of, report, written};
use shootdown::check::{Subject, input, run_one};
use shootdown::exec::{Bench, Input};
use shootdown::export::Form;
use shootdown::scenario::{Choice, parse};
use shootdown_machine::{Act, Event};
use std::collections::BTreeSet;

const ASID: [&str; 12] = [
    "tlb",
    "pte",
    "active_mm",
    "cpu_asid_lock",
    "asid_generation",
    "asid_map",
    "active_asids",
    "reserved_asids",
    "tlb_flush_pending",
    "cur_idx",
    "mm_context_id",
    "pc",
];

const VMID: [&str; 10] = [
    "tlb",
    "active_kvm",
    "cpu_vmid_lock",
    "vmid_generation",
    "vmid_map",
    "active_vmids",
    "reserved_vmids",
    "cur_idx",
    "kvm_context_id",
    "pc",
];

/// A state: how it came about, and the values in the order in which they are written.
struct State {
    how: String,
    vars: Vec<(String, String)>,
}

impl State {
    fn get(&self, name: &str) -> &str {
        let mut vars = self.vars.iter();
        let found = vars.find(|(n, _)| n == name);
        &found.unwrap_or_else(|| panic!("no {name}")).1
    }
}

/// The states of a module, each with a comment that has its number.
fn states(module: &str) -> Vec<State> {
    let (_, rest) = module.split_once("\nTrace == <<\n").expect("a trace");
    let (trace, _) = rest.split_once("\n>>\n").expect("its end");
    let mut states = Vec::new();
    for (i, text) in trace.split("\n\n").enumerate() {
        let (comment, record) = text.split_once('\n').expect("a comment");
        let how = comment.strip_prefix(&format!("  \\* {}: ", i + 1));
        let record = record.trim_end_matches(',');
        let inner = record.strip_prefix("  [").and_then(|r| r.strip_suffix(']'));
        let vars = inner.expect("a record").split(",\n   ").map(|field| {
            let (name, value) = field.split_once(" |-> ").expect("a field");
            assert!(balanced(value), "{value}");
            (name.to_owned(), value.to_owned())
        });
        states.push(State {
            how: how.expect("its number").to_owned(),
            vars: vars.collect(),
        });
    }
    states
}

/// Whether each bracket has its fellow.
fn balanced(text: &str) -> bool {
    let mut open = Vec::new();
    for c in text.chars() {
        match c {
            '(' => open.push(')'),
            '[' => open.push(']'),
            '{' => open.push('}'),
            ')' | ']' | '}' if open.pop() != Some(c) => return false,
            _ => {}
        }
    }
    open.is_empty()
}

/// Reads a module: each state has every variable, and differs from the one before.
fn read(module: &str, names: &[&str]) -> Vec<State> {
    let states = states(module);
    assert_eq!(states[0].how, "boot");
    for pair in states.windows(2) {
        assert_ne!(pair[0].vars, pair[1].vars, "{}", pair[1].how);
        assert!(pair[1].how.starts_with("step "), "{}", pair[1].how);
    }
    for state in &states {
        let got: Vec<&str> = state.vars.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(got, names, "{}", state.how);
    }
    let distinct = states.windows(2).filter(|p| p[0].vars != p[1].vars).count();
    assert_eq!(states.len(), distinct + 1);
    assert!(module.starts_with("-------------------------- MODULE Shootdown ---"));
    for name in names {
        assert!(
            module.contains(&format!("{name} <- Trace[at].{name}")),
            "{name}"
        );
    }
    states
}

#[test]
fn runs_of_the_allocators_are_exported() {
    let (mut asid, mut vmid) = (0, 0);
    for (path, scenario) in corpus() {
        let Ok(module) = of(&scenario, Form::Tla) else {
            continue;
        };
        if module.contains("INSTANCE asidalloc") {
            read(&module, &ASID);
            asid += 1;
        } else {
            read(&module, &VMID);
            vmid += 1;
        }
        assert!(module.lines().all(|l| l.len() < 400), "{}", path.display());
    }
    assert!(asid > 20 && vmid > 8, "{asid} {vmid}");
}

/// How often a variable changes in a trace.
fn changes(text: &str, name: &str) -> usize {
    let scenario = parse(text.as_bytes()).expect("a scenario");
    let by = Subject::of(&scenario).expect("a variant")[0];
    let mut bench = Bench::default();
    let traced = Input {
        trace: true,
        ..input(&scenario)
    };
    run_one(&mut bench, by, &scenario, traced);
    let state = bench.machine.state();
    let mut last = BTreeSet::new();
    let mut count = 0;
    for (_, event) in &bench.trace {
        let (word, value) = match event {
            Event::Did {
                act: Act::Rmw(word, ..),
                value,
                ..
            } => (*word, *value),
            Event::Did {
                act: Act::Store(word, value, _),
                ..
            } => (*word, *value),
            _ => continue,
        };
        let named = state.mem.name(word).is_some_and(|n| n.name == name);
        count += usize::from(named && last.insert((word, value)));
    }
    count
}

#[test]
fn as_many_states_as_there_are_changes() {
    let text = file("arm64-asid-B-1");
    let states = read(&written(&text, Form::Tla).expect("a module"), &ASID);
    let moves = |name: &str| {
        let differ = |p: &&[State]| p[0].get(name) != p[1].get(name);
        states.windows(2).filter(differ).count()
    };
    // Both only ever grow, so that no value comes twice.
    assert_eq!(moves("asid_generation"), changes(&text, "asid_generation"));
    assert_eq!(moves("mm_context_id"), changes(&text, "context_id"));
    assert!(moves("asid_generation") > 0 && moves("tlb") > 0 && moves("active_mm") > 0);
    // A lock is taken and given back, each time in a state of its own.
    let locks = states
        .iter()
        .filter(|s| s.how.contains(" lock cpu_asid_lock"))
        .count();
    assert!(locks > 0 && moves("cpu_asid_lock") >= 2 * locks - 1);
}

#[test]
fn the_last_state_shows_what_is_wrong() {
    let module = written(&file("arm64-asid-broadcast-flush"), Form::Tla).expect("a module");
    assert!(module.contains(", which breaks flush-before-reuse at step "));
    // Tables of C and B under one tag, on one CPU: UniqueASIDPerCPU.
    let states = read(&module, &ASID);
    let last = states.last().expect("a state");
    let entry = last.get("tlb").split("Entry(").nth(1).expect("an entry");
    let (task, rest) = entry.split_once(", ").expect("a task");
    let runs = last.get("active_mm");
    let (asid, _) = rest.split_once(", ").expect("an ASID");
    assert!(runs.contains(&format!(", {asid})")), "{runs} {entry}");
    assert!(!runs.contains(&format!("Runs({task}, {asid})")), "{runs}");
}

#[test]
fn a_page_that_is_gone_is_inval_when_its_operation_is_done() {
    let text = file("arm64-asid-B-10");
    let states = read(&written(&text, Form::Tla).expect("a module"), &ASID);
    let seen: BTreeSet<&str> = states.iter().map(|s| s.get("pte")).collect();
    assert!(seen.iter().any(|p| p.contains("\"unmapped\"")), "{seen:?}");
    assert!(seen.iter().any(|p| p.contains("\"mapped\"")), "{seen:?}");
    // Nor does another CPU, which accesses it, keep the page from being gone.
    let text = file("arm64-asid-kpti-no-user-twin");
    let states = read(&written(&text, Form::Tla).expect("a module"), &ASID);
    let seen: Vec<&str> = states.iter().map(|s| s.get("pte")).collect();
    assert!(
        seen.last().is_some_and(|p| p.contains("\"inval\"")),
        "{seen:?}"
    );
    // Without a page that it is about, nothing is known to be gone.
    let passes = "scenario 1\nvariants arm64-asid\ncpu0: switch A; touch 0x0; unmap A 0x0\n";
    let states = read(&written(passes, Form::Tla).expect("a module"), &ASID);
    let all = states[0].get("pte");
    assert!(states.iter().all(|s| s.get("pte") == all) && !all.contains("inval"));
}

#[test]
fn a_behaviour_is_written_as_the_run_went() {
    let text = "scenario 1\nvariants arm64-asid\n\
        machine cpus=2 spaces=2 domain=private\ncpu0: switch A; touch 0x1000\n";
    let module = written(text, Form::Tla).expect("a module");
    insta::assert_snapshot!("tla", redact(&module));
    let vmid = text.replace("arm64-asid", "kvm-vmid");
    let module = written(&vmid, Form::Tla).expect("a module");
    read(&module, &VMID);
    assert!(module.contains("INSTANCE vmidalloc"));
}

/// The module without the line numbers of ports, which are edited.
fn redact(module: &str) -> String {
    let line = |line: &str| match (line.starts_with("  \\* "), line.split_once(".rs:")) {
        (true, Some((start, _))) => format!("{start}.rs:##)\n"),
        _ => format!("{line}\n"),
    };
    module.lines().map(line).collect()
}

#[test]
fn what_has_neither_allocator_is_refused() {
    let text = |variant: &str| format!("scenario 1\nvariants {variant}\ncpu0: switch A; exit B\n");
    let neither = "neither the ASID allocator of asidalloc.tla nor the VMID";
    for variant in ["naive", "canary", "kvm-vmid-gen", "kvm-nested"] {
        let why = written(&text(variant), Form::Tla).expect_err(variant);
        assert!(why.contains(neither), "{variant}: {why}");
    }
    for variant in ["x86-tlbgen", "riscv-asid"] {
        let why = written(&text(variant), Form::Tla).expect_err(variant);
        assert!(why.contains("models are of arm64"), "{variant}: {why}");
    }
    let why = written(&text("arm64-asid"), Form::Tla).expect_err("it ends");
    assert!(why.starts_with("step ") && why.ends_with("B ends, and tasks of kernel-tla do not"));
    let path = "corpus/canary.scenario";
    let (code, out, err) = report(&["--format", "tla", path]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.contains("neither the ASID allocator"), "{err}");
}

#[test]
fn every_version_of_the_allocators_is_one() {
    let of_all = |names: &[&str], module: &str| {
        for name in names {
            let variant = Choice {
                variant: (*name).into(),
                defect: None,
            };
            let text = "scenario 1\ncpu0: switch A; touch 0x0\ncpu1: switch B; touch 0x0\n";
            let mut scenario = parse(text.as_bytes()).expect("a scenario");
            scenario.variants = vec![variant];
            let text = of(&scenario, Form::Tla).expect(name);
            assert!(
                text.contains(&format!("Model == INSTANCE {module} WITH")),
                "{name}"
            );
        }
    };
    of_all(
        &[
            "arm64-asid",
            "arm64-asid-cnp",
            "arm64-asid-kpti",
            "arm64-asid-swpan",
            "arm64-bbm2",
        ],
        "asidalloc",
    );
    of_all(
        &[
            "kvm-vmid",
            "kvm-vmid-load",
            "kvm-vmid-nvhe",
            "kvm-vmid-v1",
            "kvm-vmid-v2",
            "kvm-vmid-v3",
        ],
        "vmidalloc",
    );
}
