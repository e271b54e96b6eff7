// SPDX-License-Identifier: MIT OR Apache-2.0
//! Over the corpus: what is rebuilt from the events is what the machine has.

use super::state::Machine as Follow;
use super::*;
use crate::check::{Subject, check};
use crate::corpus;
use crate::exec::Bench;
use crate::report;
use crate::report::run::Run;
use crate::scenario::Scenario;
use shootdown_machine::arm64::Regs;
use shootdown_machine::{Event, Life, Space, x86};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn scenarios() -> Vec<(PathBuf, Scenario)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus");
    corpus::load(&root).expect("the corpus parses")
}

/// The variant that a scenario is kept for, and one that is sound: with and without a finding.
fn subjects(scenario: &Scenario) -> Vec<Subject> {
    let mut subjects = Subject::of(scenario).expect("known variants");
    subjects.truncate(4);
    let sound: Vec<Subject> = subjects
        .iter()
        .filter(|s| s.defect.is_some())
        .copied()
        .collect();
    subjects.extend(sound.iter().map(|s| Subject { defect: None, ..*s }));
    subjects
}

/// Traces a variant's run, and looks at it.
fn examine<T>(
    bench: &mut Bench,
    scenario: &Scenario,
    by: Subject,
    look: impl FnOnce(&Run<'_>) -> T,
) -> T {
    let finding = report::unbroken(bench, scenario, by);
    report::with_run(bench, scenario, by, &finding, look)
}

fn follow<'r>(run: &'r Run<'r>) -> Follow<'r> {
    let (mut follow, _) = Follow::boot(run);
    for at in 0..run.trace.len() {
        follow.event(at);
    }
    follow
}

/// What a register reads as: bit 63 of an operand of CR3 is not kept.
fn plain(regs: Regs) -> Regs {
    Regs {
        cr3: regs.cr3 & !x86::NOFLUSH,
        ..regs
    }
}

#[test]
fn the_state_at_the_end_is_the_machines_own() {
    let mut bench = Bench::default();
    let (mut entries, mut descriptors, mut waiting) = (0, 0, 0);
    for (path, scenario) in scenarios() {
        for by in subjects(&scenario) {
            let name = format!("{} in {}", path.display(), by.name());
            examine(&mut bench, &scenario, by, |run| {
                let follow = follow(run);
                let own = run.state.tlbs().iter().flat_map(|tlb| &tlb.entries);
                let own: BTreeSet<u32> = own.map(|e| e.id).collect();
                let ours: BTreeSet<u32> = follow.tlb.keys().copied().collect();
                assert_eq!(ours, own, "TLBs of {name}");
                entries += own.len();
                let words = &follow.trees.words;
                for (pa, value) in words {
                    let own = run.state.mem.desc(*pa).0;
                    assert_eq!(*value, own, "{pa:#x} of {name}");
                }
                descriptors += words.values().filter(|w| **w != 0).count();
                same_roots(run, &follow.trees.roots, &name);
                for (cpu, regs) in (0..).zip(&follow.regs) {
                    let own = plain(run.state.regs(cpu, false));
                    assert_eq!(plain(*regs), own, "cpu{cpu} of {name}");
                    let unsynced = &run.state.cpus[cpu as usize].unsynced;
                    let own: BTreeSet<&str> = unsynced.iter().map(|(r, _)| r.name()).collect();
                    assert_eq!(follow.unsynced[cpu as usize], own, "cpu{cpu} of {name}");
                    waiting += own.len();
                }
            });
        }
    }
    // Silence would be no proof.
    assert!(entries > 100 && descriptors > 1000 && waiting > 0);
}

fn same_roots(run: &Run<'_>, roots: &std::collections::BTreeMap<u8, (Life, u64)>, name: &str) {
    for space in (0..run.state.config.spaces).map(Space) {
        let own = run.state.roots[space.0 as usize];
        let ours = roots.get(&space.0).map_or(0, |(_, root)| *root);
        // No event says that a shadow table is nobody's any more.
        assert!(
            own == ours || own == 0,
            "{space} of {name}: {own:#x} {ours:#x}"
        );
    }
}

#[test]
fn what_arrives_was_on_its_way() {
    let mut bench = Bench::default();
    let mut arrived = 0;
    for (path, scenario) in scenarios() {
        for by in subjects(&scenario) {
            examine(&mut bench, &scenario, by, |run| {
                let (mut follow, _) = Follow::boot(run);
                for at in 0..run.trace.len() {
                    if let Event::Delivered {
                        cpu, op, number, ..
                    } = *run.event(at)
                        && op.kind.row().share != shootdown_machine::arm64::Share::Now
                    {
                        let known = follow.pending.contains(&(number, cpu));
                        assert!(known, "{op} in {}", path.display());
                        arrived += 1;
                    }
                    follow.event(at);
                }
            });
        }
    }
    assert!(arrived > 100);
}

/// The state that a reader of a story has at its end, by id.
fn replayed(story: &Story) -> BTreeSet<u32> {
    let mut tlb = BTreeSet::new();
    let steps = story.steps.iter().flat_map(|s| &s.changes);
    for change in story.boot.iter().chain(steps) {
        match change {
            Change::Made { entry } => assert!(tlb.insert(entry.id), "made twice"),
            Change::Gone { id, .. } => assert!(tlb.remove(id), "not there"),
            _ => {}
        }
    }
    tlb
}

#[test]
fn a_story_has_what_its_finding_is_about() {
    let mut bench = Bench::default();
    let (mut windows, mut stale) = (0, 0);
    for (path, scenario) in scenarios() {
        let subjects = Subject::of(&scenario).expect("known variants");
        let Some(found) = check(&mut bench, &scenario, &subjects).found else {
            continue;
        };
        let story = story(&mut bench, &scenario, found.by, Some(&found));
        let name = path.display();
        let finding = story.finding.as_ref().expect("a finding");
        let left = replayed(&story);
        let judged: BTreeSet<u32> = story.verdicts.iter().map(|v| v.id).collect();
        assert_eq!(left, judged, "{name}");
        stale += story.verdicts.iter().filter(|v| v.stale).count();
        if let Some(from) = finding.window {
            assert!(from <= finding.step, "{name}");
            assert!(story.steps.iter().any(|s| s.number == from), "{name}");
            windows += 1;
        }
        assert!(story.steps.iter().any(|s| s.matters), "{name}");
        let report = report::report(&mut bench, &scenario, &found);
        let told = story.report.as_ref().expect("a report");
        for part in [
            &told.what,
            &told.history,
            &told.tlbs,
            &told.elsewhere,
            &told.reproducer,
        ] {
            assert!(report.contains(part.as_str()), "{name}");
        }
    }
    assert!(windows > 20 && stale > 20);
}

/// What the text report shows matters, and what it folds does not.
#[test]
fn what_matters_is_what_the_report_shows() {
    let mut bench = Bench::default();
    let text = include_str!("../../tests/scenarios/broadcast-flush.scenario");
    let scenario = crate::scenario::parse(text.as_bytes()).expect("a scenario");
    let subjects = Subject::of(&scenario).expect("known variants");
    let found = check(&mut bench, &scenario, &subjects)
        .found
        .expect("a finding");
    let story = story(&mut bench, &scenario, found.by, Some(&found));
    let lines = || story.steps.iter().flat_map(|s| &s.lines);
    let shown = &story.report.as_ref().expect("a report").interleaving;
    for line in lines().filter(|l| l.matters && l.kind == Kind::Cpu) {
        assert!(
            shown.contains(line.head.split(' ').next().unwrap()),
            "{line:?}"
        );
    }
    let folded = lines().filter(|l| !l.matters).count();
    assert!(folded > lines().filter(|l| l.matters).count());
}

#[test]
fn in_a_run_without_a_finding_what_concerns_a_space_matters() {
    let mut bench = Bench::default();
    let text = "scenario 1\nvariants arm64-asid\ncpu0: switch A; touch 0x1000; unmap A 0x1000\n";
    let scenario = crate::scenario::parse(text.as_bytes()).expect("a scenario");
    let by = Subject::of(&scenario).expect("known variants")[0];
    let story = story(&mut bench, &scenario, by, None);
    assert_eq!((&story.finding, &story.report), (&None, &None));
    let matters = |head: &str| {
        let lines = story.steps.iter().flat_map(|s| &s.lines);
        let mut named = lines.filter(|l| l.kind == Kind::Cpu && l.head.contains(head));
        assert!(named.clone().next().is_some(), "{head}");
        named.any(|l| l.matters)
    };
    assert!(matters("pte A 0x1000") && matters("tlbi") && matters("TTBR0"));
    assert!(matters("load from 0x1000"));
    assert!(!matters("isb") && !matters("cpu_asid_lock"));
    assert!(story.scenario.ends_with("expect: pass\n"));
}
