// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every event in words: also what a report folds.

use super::{Kind, Line, Site};
use crate::report::rows::{delivered, makes, reads};
use crate::report::run::{Run, Span};
use crate::report::words::{Said, function};
use shootdown_machine::{Act, Done, Drop, Event, Order, Site as Place};

/// A site by the file's path in its crate's checkout, which is the same everywhere.
fn site(place: Place) -> Site {
    let file = place.file().replace('\\', "/");
    let known = file.rfind("variants/src/").map(|at| &file[at..]);
    let name = file.rsplit('/').next().unwrap_or(&file);
    Site {
        function: function(place).map(str::to_owned),
        file: known.unwrap_or(name).to_owned(),
        line: place.line(),
    }
}

/// The lines of an event.
pub fn lines(run: &Run<'_>, at: usize, shown: bool) -> Vec<Line> {
    let (kind, cpu, said, place) = said(run, at);
    let mut lines = Vec::new();
    if let Some(said) = said {
        lines.push(Line {
            kind,
            cpu,
            head: said.head,
            detail: said.detail,
            matters: shown,
            operation: cpu.and_then(|c| Some(run.span(c, at)?.op.to_string())),
            site: place.map(site),
        });
    }
    // The last step of an operation is told after its end, and belongs to it.
    let ends = run.spans.iter().filter(|s| s.end == Some(at));
    lines.extend(ends.map(|span| bound(span, Kind::End)));
    lines
}

/// The beginning or the end of an operation.
fn bound(span: &Span, kind: Kind) -> Line {
    let done = match span.done {
        _ if kind == Kind::Begin => "",
        Some(Done::Yes) => "done",
        Some(Done::No) => "nothing to do",
        Some(Done::Exhausted) => "out of memory or tags",
        Some(Done::Fault) => "fault",
        None => "",
    };
    Line {
        kind,
        cpu: Some(span.cpu),
        head: span.op.to_string(),
        detail: done.into(),
        matters: false,
        operation: Some(span.op.to_string()),
        site: None,
    }
}

type Told = (Kind, Option<u8>, Option<Said>, Option<Place>);

/// Whose doing an event is, on which CPU, in words, and where in the source.
fn said(run: &Run<'_>, at: usize) -> Told {
    let event = *run.event(at);
    let (cpu, said) = match event {
        Event::Did {
            cpu,
            act,
            value,
            site,
            ignored,
        } => {
            let mut said = run.said(act, value, at);
            if ignored {
                said.detail += " (ignored)";
            }
            // An access is the user's, not the port's.
            let place = (!matches!(act, Act::Access(..))).then_some(site);
            return (Kind::Cpu, Some(cpu), Some(said), place);
        }
        Event::Begin { cpu, .. } => {
            let span = run.spans.iter().find(|s| s.begin == at && s.cpu == cpu);
            let head = span.map(|s| Said::new(s.op.to_string(), ""));
            return (Kind::Begin, Some(cpu), head, None);
        }
        Event::Faulting { cpu, va, .. } => {
            let said = Said::new(format!("fault handler for {va:#x}"), "");
            return (Kind::Begin, Some(cpu), Some(said), None);
        }
        Event::Faulted { cpu, va, .. } => {
            let said = Said::new(format!("fault handler for {va:#x}"), "returns");
            return (Kind::End, Some(cpu), Some(said), None);
        }
        Event::DoubleFree { cpu, pa, site } => {
            let said = Said::new(format!("{} is freed twice", run.page(pa, at)), "");
            return (Kind::Cpu, Some(cpu), Some(said), Some(site));
        }
        Event::Illegal { cpu, what, site } => {
            let said = Said::new(format!("#GP: {what}"), "");
            return (Kind::Hardware, Some(cpu), Some(said), Some(site));
        }
        Event::Livelock => {
            let said = Said::new("the run does not end", "");
            return (Kind::Hardware, None, Some(said), None);
        }
        Event::Drained { cpu, site, .. } => {
            let (_, said) = hardware(run, at, event);
            return (Kind::Hardware, Some(cpu), said, Some(site));
        }
        other => hardware(run, at, other),
    };
    (Kind::Hardware, cpu, said, None)
}

/// What hardware does of its own.
fn hardware(run: &Run<'_>, at: usize, event: Event) -> (Option<u8>, Option<Said>) {
    let (cpu, said) = match event {
        Event::WalkRead {
            cpu,
            va,
            level,
            desc_pa,
            desc,
            ..
        } => {
            let detail = reads(run, desc_pa, desc, level, at);
            (cpu, Said::new(format!("walk {va:#x}"), detail))
        }
        Event::Fill { cpu, entry, .. } => {
            let head = format!("walk {:#x}", entry.va);
            (cpu, Said::new(head, makes(run, &entry, at)))
        }
        Event::Delivered {
            cpu,
            op,
            from,
            removed,
            ..
        } => (cpu, delivered(op, from, cpu, removed)),
        Event::Marked { cpu, pa, old, .. } => {
            let what = if old.accessed() { "dirty" } else { "accessed" };
            let head = run.descriptor(pa, at);
            (cpu, Said::new(head, format!("is marked {what}")))
        }
        Event::Drained {
            cpu, word, value, ..
        } => {
            let stored = run.said(Act::Store(word, value, Order::Relaxed), 0, at);
            let head = format!("{} is in memory", stored.head);
            (cpu, Said::new(head, stored.detail))
        }
        Event::Dropped {
            cpu,
            entry,
            why: Drop::Evicted,
        } => {
            let what = evicted(run, entry);
            (cpu, Said::new("evicted", what))
        }
        Event::Absent { cpu, entry, .. } => {
            let head = format!("nothing at {:#x}", entry.va);
            (cpu, Said::new(head, "is cached"))
        }
        Event::Preempted { cpu, off } => {
            let what = if off { "preempted" } else { "resumed" };
            (cpu, Said::new(format!("{what} by the host"), ""))
        }
        Event::Warn { cpu, what } => (cpu, Said::new(format!("WARN: {what}"), "")),
        Event::FaultLoop { cpu, va } => {
            let head = format!("fault handler for {va:#x}");
            (cpu, Said::new(head, "says \"try again\" too often"))
        }
        Event::Deadlock { cpu, act } => (cpu, Said::new("waits for ever", run.brief(act, at))),
        _ => return (None, None),
    };
    (Some(cpu), Some(said))
}

fn evicted(run: &Run<'_>, id: u32) -> String {
    let made = run.trace.iter().find_map(|(_, event)| match event {
        Event::Fill { entry, .. } if entry.id == id => Some(*entry),
        _ => None,
    });
    made.map_or(String::new(), |e| run.entry(&e))
}
