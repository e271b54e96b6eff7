// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making a story: the run once more, every event looked at.

use super::lines::lines;
use super::state::Machine as Follow;
use super::{Change, Defect, Finding, Machine, Report, SCHEMA, Setting, Step, Story, Variant};
use super::{Line, Verdict};
use crate::check::{Found, Subject};
use crate::exec::Bench;
use crate::report::entry::Points;
use crate::report::run::Run;
use crate::report::topic::Topic;
use crate::report::{self, Report as Text, rows, text, tlbs};
use crate::scenario::{Expect, Scenario, print};
use shootdown_machine::{Act, Arch, Config, Event};
use shootdown_oracle::Finding as Broken;

/// The story of a variant's run. `found`: what [`check`](crate::check::check) found, in that variant.
pub fn story(bench: &mut Bench, scenario: &Scenario, by: Subject, found: Option<&Found>) -> Story {
    let Some(found) = found else {
        return passed(bench, scenario, by);
    };
    let needed = report::needed(bench, scenario, found);
    let finding = &found.finding;
    let (mut story, mut text) = report::with_run(bench, scenario, by, finding, |run| {
        let topic = Topic::of(run);
        let (text, points) = Text::of_run(run, &topic, found, &needed);
        let mut story = told(run, &topic, scenario, by);
        story.finding = Some(broken(run, &topic, points));
        (story, text)
    });
    text.finish(bench, scenario, found);
    story.machine.needs = needed;
    story.scenario = report::kept(scenario, found);
    story.report = Some(Report {
        what: text.what,
        history: text.history,
        interleaving: text.interleaving,
        tlbs: text.tlbs,
        elsewhere: text.elsewhere,
        reproducer: text.reproducer,
    });
    story
}

/// The story of a run that breaks no rule: everything that concerns a space matters.
fn passed(bench: &mut Bench, scenario: &Scenario, by: Subject) -> Story {
    let finding = report::unbroken(bench, scenario, by);
    let mut story = report::with_run(bench, scenario, by, &finding, |run| {
        told(run, &Topic::everything(run), scenario, by)
    });
    story.scenario = print(&by.alone(scenario, Some(Expect::Pass)));
    story
}

/// All but what a finding adds.
fn told(run: &Run<'_>, topic: &Topic, scenario: &Scenario, by: Subject) -> Story {
    let (boot, steps) = steps(run, topic);
    let source = by.info.source;
    Story {
        schema: SCHEMA,
        scenario: String::new(),
        variant: Variant {
            name: by.info.name.into(),
            about: by.info.about.into(),
            tree: source.tree.into(),
            files: source.files.into(),
        },
        defect: by.defect.map(|d| Defect {
            name: d.name.into(),
            about: d.about.into(),
            source: d.source.into(),
        }),
        machine: machine(&run.state.config),
        programs: programs(run, scenario),
        finding: None,
        boot,
        steps,
        verdicts: verdicts(run),
        report: None,
    }
}

fn machine(config: &Config) -> Machine {
    let arch = match config.arch {
        Arch::Arm64 => "arm64",
        Arch::X86 => "x86",
        Arch::Riscv => "riscv",
    };
    // The scenario's text has a word for each key and each value.
    let text = print(&Scenario {
        machine: *config,
        ..Scenario::default()
    });
    let lines = text.lines().filter_map(|l| l.strip_prefix("machine "));
    let pairs = lines.flat_map(str::split_whitespace);
    let setting = |pair: &str| {
        let (key, value) = pair.split_once('=')?;
        Some(Setting {
            key: key.into(),
            value: value.into(),
        })
    };
    Machine {
        arch: arch.into(),
        cpus: config.cpus,
        tlbs: (0..config.cpus).map(|c| config.tlb_of(c)).collect(),
        settings: pairs.filter_map(setting).collect(),
        needs: Vec::new(),
    }
}

fn programs(run: &Run<'_>, scenario: &Scenario) -> Vec<Vec<String>> {
    let cpus = scenario
        .programs
        .iter()
        .take(run.state.config.cpus as usize);
    cpus.map(|ops| ops.iter().map(ToString::to_string).collect())
        .collect()
}

/// The run, one number after the other.
fn steps(run: &Run<'_>, topic: &Topic) -> (Vec<Change>, Vec<Step>) {
    let mut shown = rows::shown(run, topic);
    if run.finding.rule.name == report::NONE.name {
        // Nobody's access is of more interest than another's.
        for (shown, (_, event)) in shown.iter_mut().zip(run.trace) {
            *shown |= matches!(
                event,
                Event::Did {
                    act: Act::Access(..),
                    ..
                }
            );
        }
    }
    let (mut follow, boot) = Follow::boot(run);
    let mut steps: Vec<Step> = Vec::new();
    let mut at = 0;
    while at < run.trace.len() {
        let number = run.step(at);
        let (mut told, mut changes): (Vec<Line>, Vec<Change>) = Default::default();
        while at < run.trace.len() && run.step(at) == number {
            told.extend(lines(run, at, shown[at]));
            changes.extend(follow.event(at));
            at += 1;
        }
        changes.extend(follow.trees.changes(run, at - 1));
        if told.is_empty() && changes.is_empty() {
            continue;
        }
        steps.push(Step {
            number,
            matters: told.iter().any(|l| l.matters),
            lines: told,
            changes,
        });
    }
    (boot, steps)
}

/// The entries that are left, against the reference.
fn verdicts(run: &Run<'_>) -> Vec<Verdict> {
    let entries = run.state.tlbs().iter().flat_map(|tlb| &tlb.entries);
    let of = |e| {
        let parts = tlbs::verdicts(run, e).into_iter();
        parts.map(|v| Verdict {
            id: e.id,
            va: format!("{:#x}", v.va),
            size: format!("{:#x}", v.size),
            stale: v.held != v.allowed,
            held: v.held,
            allowed: v.allowed,
        })
    };
    entries.flat_map(of).collect()
}

fn broken(run: &Run<'_>, topic: &Topic, points: Option<Points>) -> Finding {
    let Broken { rule, step, breach } = run.finding;
    let made = points.as_ref().map(|p| run.step(p.fill));
    let wrong = points.and_then(|p| Some(run.step(p.wrong?.0)));
    Finding {
        rule: rule.name.into(),
        class: rule.class.name().into(),
        why: rule.why.into(),
        breach: text::sites(&breach.what),
        step: *step,
        cpu: breach.cpu,
        va: breach.va.map(|va| format!("{va:#x}")),
        entry: topic.entry.map(|e| e.id),
        derived: topic.derived.iter().map(|e| e.id).collect(),
        made,
        wrong,
        // From here on there is an entry that is wrong.
        window: made.max(wrong),
    }
}
