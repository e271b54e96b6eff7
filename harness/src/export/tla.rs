// SPDX-License-Identifier: MIT OR Apache-2.0
//! A run as a TLA+ behaviour over the variables of kernel-tla's models of the allocators, for
//! TLC to check their invariants on it.

mod model;
mod snap;
mod track;

use super::Refusal;
use super::before::traced;
use crate::check::{Found, Subject};
use crate::exec::Bench;
use crate::scenario::{Scenario, print};
use core::fmt::Write as _;
use model::{Model, definition};
use shootdown_machine::{Config, PAGE, Space, Va};
use snap::Snap;
use track::Track;

/// Name of the module, and so of its file.
const MODULE: &str = "Shootdown";

/// A state, and what led to it.
struct Reached {
    how: String,
    snap: Snap,
}

pub fn write(
    bench: &mut Bench,
    scenario: &Scenario,
    by: Subject,
    found: Option<&Found>,
) -> Result<String, Refusal> {
    let before = traced(bench, scenario, by);
    let state = bench.machine.state();
    let model = Model::of(&state, &before)?;
    let page = found
        .and_then(|f| f.finding.breach.va)
        .map(|va| va / PAGE * PAGE);
    let page = page.filter(|_| model.has_pte);
    let mut track = Track::new(&state, &before, &model, by.info.tagging.mask(), page);
    let mut reached = vec![Reached {
        how: "boot".into(),
        snap: track.snap(),
    }];
    let mut together = None;
    for (step, event) in &bench.trace {
        let group = track.event(*step, event)?;
        let snap = track.snap();
        let last = reached.last_mut().expect("the boot's");
        if snap == last.snap {
            continue;
        }
        let same = group.is_some() && group == together;
        together = group;
        // What one TLBI removes is gone at once.
        if same {
            last.snap = snap;
        } else {
            let how = track.how(*step, event);
            reached.push(Reached { how, snap });
        }
    }
    let out = Out {
        model: &model,
        config: &state.config,
        cnp: track.cnp,
    };
    Ok(out.module(&head(scenario, by, found, page), &reached))
}

/// What the module is, as comments.
fn head(scenario: &Scenario, by: Subject, found: Option<&Found>, page: Option<Va>) -> String {
    let mut out = String::from("\\* Written by `shootdown report --format tla`.\n");
    let end = found.map_or("no rule".into(), |found| {
        format!("{} at step {}", found.finding.rule.name, found.finding.step)
    });
    let _ = writeln!(out, "\\* A run of {}, which breaks {end}.", by.name());
    if let Some(page) = page {
        let _ = writeln!(out, "\\* pte and tlb are about {page:#x}.");
    }
    let alone = by.alone(scenario, found.map(Found::expect));
    out.push_str("\\*\n");
    for line in print(&alone).lines() {
        let _ = writeln!(out, "\\* {line}");
    }
    out
}

/// What the module is written from.
struct Out<'a> {
    model: &'a Model,
    config: &'a Config,
    cnp: bool,
}

impl Out<'_> {
    fn cpus(&self) -> Vec<String> {
        (0..self.config.cpus).map(|c| format!("cpu{c}")).collect()
    }

    fn tasks(&self) -> Vec<String> {
        (0..self.config.spaces)
            .map(|s| Space(s).to_string())
            .collect()
    }

    fn module(&self, head: &str, reached: &[Reached]) -> String {
        let rule = "-".repeat(26);
        let mut out = format!("{rule} MODULE {MODULE} {rule}\n{head}");
        self.constants(&mut out, reached);
        out.push_str("\nTrace == <<\n");
        for (i, state) in reached.iter().enumerate() {
            let _ = writeln!(out, "  \\* {}: {}", i + 1, state.how);
            out.push_str("  [");
            let vars = state.snap.vars(self.model);
            for (j, (name, value)) in vars.iter().enumerate() {
                let indent = if j == 0 { "" } else { "   " };
                let end = if j + 1 == vars.len() { "]" } else { ",\n" };
                let _ = write!(out, "{indent}{name} |-> {value}{end}");
            }
            out.push_str(if i + 1 == reached.len() {
                "\n"
            } else {
                ",\n\n"
            });
        }
        out.push_str(">>\n");
        self.behaviour(&mut out, &reached[0].snap);
        let _ = writeln!(out, "{}", "=".repeat(72));
        self.cfg(&mut out);
        out
    }

    fn constants(&self, out: &mut String, reached: &[Reached]) {
        let (cpus, tasks) = (self.cpus().join(", "), self.tasks().join(", "));
        let last = reached.last().map_or(1, |r| r.snap.generation);
        let Model { tag, tags, .. } = self.model;
        let _ = writeln!(out, "EXTENDS Naturals, Sequences, TLC\n");
        let _ = writeln!(out, "CONSTANTS {cpus}, {tasks}\n");
        let _ = writeln!(out, "CPUS == {{{cpus}}}\nTASKS == {{{tasks}}}");
        let _ = writeln!(out, "{tags} == {}\nGENERATIONS == {last}", self.config.tags);
        if self.model.has_pte {
            let cnp = if self.cnp { "TRUE" } else { "FALSE" };
            let _ = writeln!(out, "CnP == {cnp}");
        }
        let _ = writeln!(
            out,
            "\nId(a, g) == [{tag} |-> a, generation |-> g]\n\
             Runs(t, a) == [task |-> t, {tag} |-> a]\n\
             Entry(t, a, c) == [task |-> t, {tag} |-> a, cpu |-> c]"
        );
    }

    /// The trace as a behaviour, and the model that its states are states of.
    fn behaviour(&self, out: &mut String, first: &Snap) {
        let Model { module, .. } = self.model;
        let _ = writeln!(
            out,
            "\nVARIABLE at\n\nInit == at = 1\n\
             \\* The last state stays, or TLC would call it a deadlock.\n\
             Next == at' = IF at < Len(Trace) THEN at + 1 ELSE at\n\
             Spec == Init /\\ [][Next]_at\n\n\
             \\* What the allocator has in the course of its procedures is not in the trace, and not\n\
             \\* in the invariants.\n\
             Model == INSTANCE {module} WITH"
        );
        let mut with: Vec<String> = first
            .vars(self.model)
            .iter()
            .map(|(name, _)| format!("{name} <- Trace[at].{name}"))
            .collect();
        with.extend(self.model.unused.iter().map(|name| format!("{name} <- 0")));
        for (i, chunk) in with.chunks(2).enumerate() {
            let end = if (i + 1) * 2 >= with.len() {
                "\n"
            } else {
                ",\n"
            };
            let _ = write!(out, "  {}{end}", chunk.join(", "));
        }
        out.push('\n');
        for name in self.model.invariants {
            out.push_str(&definition(name));
        }
    }

    /// What TLC has to be told, after the module's end.
    fn cfg(&self, out: &mut String) {
        let _ = writeln!(out, "{MODULE}.cfg:\n\nSPECIFICATION Spec\nCONSTANTS");
        for name in self.cpus().iter().chain(&self.tasks()) {
            let _ = writeln!(out, "  {name} = {name}");
        }
        let _ = writeln!(out, "INVARIANTS");
        for name in self.model.invariants {
            let _ = writeln!(out, "  {name}");
        }
    }
}
