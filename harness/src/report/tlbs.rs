// SPDX-License-Identifier: MIT OR Apache-2.0
//! The TLBs against the reference, as a unified diff.

use super::run::Run;
use super::text;
use super::topic::Topic;
use super::words::{self, range, space};
use crate::scenario::COLUMNS;
use shootdown_machine::arm64::Stage;
use shootdown_machine::{Context, Entry, Life, PAGE, Va};
use similar::TextDiff;

/// Prints the diff.
pub fn tell(run: &Run<'_>, topic: &Topic, out: &mut String) {
    let (mut allowed, mut held) = (String::new(), String::new());
    let config = &run.state.config;
    for cpu in 0..config.cpus {
        let first = (0..cpu).all(|c| config.tlb_of(c) != config.tlb_of(cpu));
        let own: Vec<&Entry> = run
            .state
            .tlb(cpu)
            .entries
            .iter()
            .filter(|e| e.cpu == cpu)
            .collect();
        let shared = run
            .state
            .tlb(cpu)
            .entries
            .iter()
            .filter(|e| e.cnp && first && e.cpu != cpu);
        for e in own.into_iter().chain(shared) {
            if concerns(topic, e) {
                let (left, right) = lines(run, e);
                allowed += &left;
                held += &right;
            }
        }
    }
    text::heading(out, "TLBs against the reference");
    if held.is_empty() {
        text::paragraph(
            out,
            2,
            "No TLB holds an entry of the spaces and tags concerned.",
        );
        if topic.tagging {
            contexts(run, out);
        }
        return;
    }
    if held == allowed {
        text::paragraph(
            out,
            2,
            "Alike: what the TLBs hold of the spaces and tags concerned is allowed.",
        );
        out.push('\n');
        held.lines().for_each(|l| *out += &format!("  {l}\n"));
        return;
    }
    let diff = TextDiff::from_lines(allowed.as_str(), held.as_str());
    let mut unified = diff.unified_diff();
    let right = format!("held at step {}", run.finding.step);
    let text = unified
        .context_radius(64)
        .header("allowed by the reference", &right)
        .to_string();
    for l in text.lines() {
        let mut l = l.to_owned();
        l.truncate(COLUMNS);
        out.push_str(l.trim_end());
        out.push('\n');
    }
}

/// What the CPUs have loaded, where that is what disagrees.
fn contexts(run: &Run<'_>, out: &mut String) {
    text::paragraph(out, 2, "What the CPUs have loaded:");
    out.push('\n');
    for (cpu, life, tag) in super::topic::contexts(run) {
        let kind = if run.virtualized() { "vmid" } else { "asid" };
        *out += &format!("  cpu{cpu}  {kind} {tag:<3} pgd of {}\n", space(Some(life)));
    }
}

fn concerns(topic: &Topic, e: &Entry) -> bool {
    let tag = if e.vmid != 0 { e.vmid } else { e.asid };
    topic.tags.contains(&tag) || e.owner.is_some_and(|l| topic.spaces.contains(&l.space))
}

/// An entry, or a page of one: what the reference allows there, and what it is.
pub struct Verdict {
    /// First address.
    pub va: Va,
    /// Bytes.
    pub size: u64,
    /// What it may be.
    pub allowed: String,
    /// What it is.
    pub held: String,
}

/// What the reference says of an entry at the end of the run. Page by page where it has
/// nothing in one piece for it.
pub fn verdicts(run: &Run<'_>, e: &Entry) -> Vec<Verdict> {
    let end = run.trace.len();
    let held = run.target(e, end);
    let whole = |allowed: String| {
        vec![Verdict {
            va: e.va,
            size: e.size,
            allowed,
            held: held.clone(),
        }]
    };
    let life = users(run, e).map(|u| u.0).next();
    let Some(life) = life.or_else(|| e.owner.filter(|l| *l == run.state.life(l.space))) else {
        return whole(held.clone());
    };
    if !e.leaf {
        return whole(format!("table of {}", space(Some(life))));
    }
    if Some(life) == e.owner && (life_ok(run, e, life) || e.stage == Stage::Two) {
        return whole(held.clone());
    }
    if e.size == PAGE {
        return whole(reference(run, life, e.va));
    }
    let page = |i: u64| {
        let one = Entry {
            va: e.va + i * PAGE,
            size: PAGE,
            pa: e.pa + i * PAGE,
            ..*e
        };
        Verdict {
            va: one.va,
            size: PAGE,
            allowed: reference(run, life, one.va),
            held: run.target(&one, end),
        }
    };
    (0..e.size / PAGE).map(page).collect()
}

/// An entry's lines: what it may be, and what it is.
fn lines(run: &Run<'_>, e: &Entry) -> (String, String) {
    let (mut left, mut right) = (String::new(), String::new());
    for v in verdicts(run, e) {
        left += &line(run, e, v.va, v.size, &v.allowed);
        right += &line(run, e, v.va, v.size, &v.held);
    }
    (left, right)
}

fn line(run: &Run<'_>, e: &Entry, va: Va, size: u64, target: &str) -> String {
    let stage = if e.stage == Stage::Two { " s2" } else { "" };
    let cnp = if e.cnp { " cnp" } else { "" };
    let tag = format!("{}{stage}", words::tag(run, e));
    format!(
        "cpu{}{cnp}  {tag:<9} {:<15} {target}\n",
        e.cpu,
        range(va, size)
    )
}

/// What the reference says of a page.
fn reference(run: &Run<'_>, life: Life, va: Va) -> String {
    let Some(cell) = run.facts.reference.cell(life.space, va) else {
        return "nothing".into();
    };
    let mut values: Vec<String> = Vec::new();
    for v in cell.values() {
        let permission = if v.writable { "rw" } else { "ro" };
        let one = match v.page {
            None => "nothing".to_owned(),
            Some(page) => format!("page {} of {} {permission}", page.0, space(Some(life))),
        };
        if !values.contains(&one) {
            values.push(one);
        }
    }
    values.join(" or ")
}

fn life_ok(run: &Run<'_>, e: &Entry, life: Life) -> bool {
    run.facts.stale(run.state, life, e).is_none()
}

/// The spaces that run where the entry can be used, with their contexts.
fn users<'r>(run: &'r Run<'_>, e: &'r Entry) -> impl Iterator<Item = (Life, Context)> + 'r {
    let settled = run.facts.settled(run.state);
    settled
        .filter(|(cpu, _, ctx)| {
            run.state.config.tlb_of(*cpu) == run.state.config.tlb_of(e.cpu)
                && e.usable(*cpu, ctx.tags)
        })
        .map(|(_, life, ctx)| (life, ctx))
}
