// SPDX-License-Identifier: MIT OR Apache-2.0
//! The interleaving, line by line: what each CPU did, and what the hardware did to it. What
//! has nothing to do with the finding is folded.

use super::matters::matters;
use super::run::Run;
use super::tables::Place;
use super::topic::Topic;
use super::words::{Said, tag};
use shootdown_machine::arm64::{Desc, Share, Tlbi};
use shootdown_machine::{Act, Drop, Entry, Event, Op, Order, PAGE, Site};

/// One line of one CPU's column.
#[derive(Clone, Debug)]
pub struct Row {
    pub step: Option<u32>,
    pub cpu: u8,
    pub said: Said,
    pub site: Option<Site>,
    /// Hardware's doing.
    pub hardware: bool,
    /// The beginning of an operation.
    pub header: bool,
}

/// What becomes of an event.
enum Shown {
    Row(Row),
    /// A step that is folded.
    Fold(u8),
    /// Nothing to show.
    Nothing,
}

/// All lines.
pub fn rows(run: &Run<'_>, topic: &Topic) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    // Per CPU: steps folded since its last line, and the operation that they belong to.
    let mut folded = [0u32; 4];
    let mut begun: [Option<Op>; 4] = [None; 4];
    let mut at = 0;
    while at < run.trace.len() {
        let (shown, next) = show(run, topic, at);
        if let Event::Begin { cpu, op, .. } = *run.event(at) {
            flush(&mut rows, &mut folded, &mut begun, cpu);
            begun[cpu as usize] = Some(op);
        }
        match shown {
            Shown::Row(row) => {
                let c = row.cpu as usize;
                if !row.hardware
                    && let Some(op) = begun[c].take()
                {
                    rows.push(header(row.cpu, op));
                }
                // In an operation that is shown, the numbers of the steps tell what is not.
                if !row.hardware {
                    folded[c] = 0;
                }
                rows.push(row);
            }
            Shown::Fold(cpu) => folded[cpu as usize] += 1,
            Shown::Nothing => {}
        }
        at = next;
    }
    for cpu in 0..4 {
        flush(&mut rows, &mut folded, &mut begun, cpu);
    }
    rows
}

/// Which events have a line, or a part in one.
#[cfg(feature = "cli")]
pub fn shown(run: &Run<'_>, topic: &Topic) -> Vec<bool> {
    let mut shown = vec![false; run.trace.len()];
    let mut at = 0;
    while at < run.trace.len() {
        let (what, next) = show(run, topic, at);
        if let Shown::Row(_) = what {
            shown[at..next].fill(true);
        }
        at = next;
    }
    shown
}

fn steps(n: u32) -> String {
    if n == 1 {
        "1 step".into()
    } else {
        format!("{n} steps")
    }
}

fn header(cpu: u8, op: Op) -> Row {
    Row {
        header: true,
        ..fold(cpu, format!("-- {op} --"))
    }
}

fn fold(cpu: u8, head: String) -> Row {
    let said = Said {
        head,
        detail: String::new(),
    };
    Row {
        step: None,
        cpu,
        said,
        site: None,
        hardware: false,
        header: false,
    }
}

/// Shows the steps that have been folded.
fn flush(rows: &mut Vec<Row>, folded: &mut [u32; 4], begun: &mut [Option<Op>; 4], cpu: u8) {
    let c = cpu as usize;
    let n = core::mem::take(&mut folded[c]);
    if let Some(op) = begun[c].take()
        && n > 0
    {
        rows.push(fold(cpu, format!("... {} of \"{op}\"", steps(n))));
    }
}

/// What becomes of the event at `at`, and where to go on.
fn show(run: &Run<'_>, topic: &Topic, at: usize) -> (Shown, usize) {
    let hardware = |cpu, head: String, detail: String| {
        let said = Said {
            head: format!("~ {head}"),
            detail,
        };
        let row = Row {
            step: Some(run.step(at)),
            cpu,
            said,
            site: None,
            hardware: true,
            header: false,
        };
        Shown::Row(row)
    };
    match *run.event(at) {
        Event::Did {
            cpu,
            act,
            value,
            site,
            ignored,
        } => {
            if !matters(run, topic, at, cpu, act) {
                return (Shown::Fold(cpu), at + 1);
            }
            let mut said = run.said(act, value, at);
            if ignored {
                said.detail += " (ignored)";
            }
            let row = Row {
                step: Some(run.step(at)),
                cpu,
                said,
                // An access is the user's, not the port's.
                site: (!matches!(act, Act::Access(..))).then_some(site),
                hardware: false,
                header: false,
            };
            (Shown::Row(row), at + 1)
        }
        Event::WalkRead { .. } | Event::Fill { .. } => walk(run, topic, at),
        Event::Delivered {
            cpu,
            op,
            from,
            removed,
            ..
        } => {
            if !topic.told(at) && removed == 0 {
                return (Shown::Nothing, at + 1);
            }
            let said = delivered(op, from, cpu, removed);
            (hardware(cpu, said.head, said.detail), at + 1)
        }
        Event::Marked { cpu, pa, old, .. } => {
            let near = |p: Place| {
                topic.spaces.contains(&p.life.space)
                    && topic.va.is_none_or(|v| v / PAGE == p.va / PAGE)
            };
            if !run.tables.place(pa, at).is_some_and(near) {
                return (Shown::Nothing, at + 1);
            }
            let what = if old.accessed() { "dirty" } else { "accessed" };
            let detail = format!("is marked {what}");
            (hardware(cpu, run.descriptor(pa, at), detail), at + 1)
        }
        Event::Drained {
            cpu, word, value, ..
        } => {
            let store = Act::Store(word, value, Order::Relaxed);
            if run
                .waited(at)
                .is_none_or(|issued| !matters(run, topic, issued, cpu, store))
            {
                return (Shown::Nothing, at + 1);
            }
            let said = run.said(store, 0, at);
            (
                hardware(cpu, format!("{} is in memory", said.head), said.detail),
                at + 1,
            )
        }
        Event::Dropped {
            cpu,
            entry,
            why: Drop::Evicted,
        } => {
            let mine = topic
                .derived
                .iter()
                .chain(&topic.entry)
                .any(|e| e.id == entry);
            let shown = if mine {
                hardware(cpu, "evicted".into(), String::new())
            } else {
                Shown::Nothing
            };
            (shown, at + 1)
        }
        Event::Illegal { cpu, what, .. } => {
            (hardware(cpu, format!("#GP: {what}"), String::new()), at + 1)
        }
        Event::Absent { cpu, entry, .. } => {
            let what = format!("nothing at {:#x}", entry.va);
            (hardware(cpu, what, "is cached".into()), at + 1)
        }
        Event::Preempted { cpu, off } => {
            let what = if off { "preempted" } else { "resumed" };
            (
                hardware(cpu, format!("{what} by the host"), String::new()),
                at + 1,
            )
        }
        Event::Warn { cpu, what } => (
            hardware(cpu, format!("WARN: {what}"), String::new()),
            at + 1,
        ),
        _ => (Shown::Nothing, at + 1),
    }
}

/// A TLBI that takes effect on a CPU.
pub fn delivered(op: Tlbi, from: u8, cpu: u8, removed: u8) -> Said {
    let detail = match removed {
        0 => String::new(),
        1 => "removes 1 entry".into(),
        n => format!("removes {n} entries"),
    };
    let what = match (op.kind.row().share, from == cpu) {
        (Share::Now, _) => op.to_string(),
        (_, true) => format!("{op} arrives"),
        (_, false) => format!("{op} from cpu{from} arrives"),
    };
    Said::new(what, detail)
}

/// What a walker reads at an event.
pub fn reads(run: &Run<'_>, desc_pa: u64, desc: Desc, level: u8, at: usize) -> String {
    let old = run.walks_old(desc_pa, desc, at);
    format!(
        "{} = {}{}",
        run.descriptor(desc_pa, at),
        run.desc(desc, level, at),
        if old { ", an old value" } else { "" }
    )
}

/// What a walker makes at an event.
pub fn makes(run: &Run<'_>, entry: &Entry, at: usize) -> String {
    let kind = if entry.leaf { "" } else { ", walk cache" };
    format!("-> {}{kind}: {}", tag(run, entry), run.target(entry, at))
}

/// The walk whose reads and fills begin at `at`, as far as it goes in this step.
fn walk(run: &Run<'_>, topic: &Topic, at: usize) -> (Shown, usize) {
    let who = |i: usize| match *run.event(i) {
        Event::WalkRead { cpu, demand, .. } | Event::Fill { cpu, demand, .. } => {
            Some((cpu, demand))
        }
        _ => None,
    };
    let Some((cpu, demand)) = who(at) else {
        return (Shown::Nothing, at + 1);
    };
    // The steps of an access's walk follow each other; one line does for all.
    let mut end = at + 1;
    while end < run.trace.len() && who(end) == Some((cpu, demand)) {
        end += 1;
    }
    let mut said = Said::default();
    let mut mine = false;
    for i in at..end {
        match *run.event(i) {
            Event::WalkRead {
                va,
                desc_pa,
                desc,
                level,
                ..
            } => {
                said.head = format!("~ walk {va:#x}");
                if !mine {
                    said.detail = reads(run, desc_pa, desc, level, i);
                }
            }
            Event::Fill { entry, .. } => {
                let own = topic
                    .derived
                    .iter()
                    .chain(&topic.entry)
                    .any(|e| e.id == entry.id);
                if own || !mine {
                    said.detail = makes(run, &entry, i);
                }
                if said.head.is_empty() {
                    said.head = format!("~ walk {:#x}", entry.va);
                }
                mine |= own;
            }
            _ => {}
        }
        mine |= topic.told(i);
    }
    let of_space = match *run.event(at) {
        Event::WalkRead { owner, va, .. } => {
            let near = topic.va.is_none_or(|v| v / PAGE == va / PAGE);
            near && owner.is_some_and(|l| topic.spaces.contains(&l.space))
        }
        _ => false,
    };
    if !mine && (topic.tagging || !of_space) {
        return (Shown::Nothing, end);
    }
    let step = Some(run.step(end - 1));
    let row = Row {
        step,
        cpu,
        said,
        site: None,
        hardware: true,
        header: false,
    };
    (Shown::Row(row), end)
}
