// SPDX-License-Identifier: MIT OR Apache-2.0
//! The interleaving, line by line: what each CPU did, and what the hardware did to it. What
//! has nothing to do with the finding is folded.

use super::run::{Run, Span, Write};
use super::topic::Topic;
use super::words::{Said, short_site, tag};
use crate::names::{self, Role};
use shootdown_machine::arm64::{Reg, Share, ttbr};
use shootdown_machine::{Act, Drop, Event, Op, PAGE, Use};

/// One line of one CPU's column.
#[derive(Clone, Debug)]
pub struct Row {
    pub step: Option<u32>,
    pub cpu: u8,
    pub said: Said,
    pub site: String,
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
        site: String::new(),
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
            site: String::new(),
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
                site: if matches!(act, Act::Access(..)) {
                    String::new()
                } else {
                    short_site(site)
                },
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
            let detail = match removed {
                0 => String::new(),
                1 => "removes 1 entry".into(),
                n => format!("removes {n} entries"),
            };
            let from = if from == cpu {
                String::new()
            } else {
                format!(" from cpu{from}")
            };
            (hardware(cpu, format!("{op}{from} arrives"), detail), at + 1)
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
        Event::Warn { cpu, what } => (
            hardware(cpu, format!("WARN: {what}"), String::new()),
            at + 1,
        ),
        _ => (Shown::Nothing, at + 1),
    }
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
                    said.detail = format!(
                        "{} = {}",
                        run.descriptor(desc_pa, i),
                        run.desc(desc, level, i)
                    );
                }
            }
            Event::Fill { entry, .. } => {
                let own = topic
                    .derived
                    .iter()
                    .chain(&topic.entry)
                    .any(|e| e.id == entry.id);
                if own || !mine {
                    let kind = if entry.leaf { "" } else { ", walk cache" };
                    said.detail = format!("-> {}{kind}: {}", tag(&entry), run.target(&entry, i));
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
        site: String::new(),
        hardware: true,
        header: false,
    };
    (Shown::Row(row), end)
}

/// Whether a history tells of a step, or of what it brought about: those events come before
/// it.
fn told(run: &Run<'_>, topic: &Topic, at: usize) -> bool {
    let step = run.step(at);
    let caused = |i: &usize| {
        run.step(*i) == step
            && matches!(
                run.event(*i),
                Event::Tlbi { .. } | Event::Pte { .. } | Event::Frame { .. }
            )
    };
    topic.told(at) || (0..at).rev().take_while(caused).any(|i| topic.told(i))
}

/// Whether a step has to do with the finding.
fn matters(run: &Run<'_>, topic: &Topic, at: usize, cpu: u8, act: Act) -> bool {
    if told(run, topic, at) || at + 1 == run.trace.len() {
        return true;
    }
    let Some(span) = run.span(cpu, at) else {
        return true;
    };
    let concerned = concerned(run, topic, span.cpu, span.begin, span.op);
    let name = |word: u32| run.state.mem.names.get(word as usize).map(|n| n.name);
    match act {
        Act::Load(word, _) => topic.tagging && concerned && overtaken(run, word, at, span),
        Act::Store(word, ..) | Act::Rmw(word, ..) => match name(word) {
            None => concerned && !topic.tagging,
            Some(name) => topic.tagging && stored(run, topic, word, name, at, concerned),
        },
        Act::Lock(word) | Act::Unlock(word) => {
            let of_space = run
                .state
                .mem
                .names
                .get(word as usize)
                .is_some_and(|n| n.index.is_some());
            concerned && topic.tagging != of_space
        }
        Act::IrqOff | Act::IrqOn | Act::Isb => false,
        Act::Tlbi(_) => concerned && flushes(run, topic, cpu, at),
        Act::Dsb(_) => concerned && completes(run, topic, span, at),
        Act::Msr(reg, value) => concerned && loads(run, topic, cpu, reg, value, at),
        _ => concerned,
    }
}

/// Whether another CPU changes a variable between this read of it and the next store of this
/// CPU: what the CPU goes by is then out of date.
fn overtaken(run: &Run<'_>, word: u32, at: usize, span: &Span) -> bool {
    let role = run
        .state
        .mem
        .names
        .get(word as usize)
        .map(|n| names::role(n.name));
    let stores = |i: usize| matches!(*run.event(i), Event::Did { cpu, act: Act::Store(..) | Act::Rmw(..), .. } if cpu == span.cpu);
    let end = (at..span.end.unwrap_or(run.trace.len()))
        .find(|i| stores(*i))
        .unwrap_or(at);
    let other = |w: &Write| {
        w.word == word && w.cpu != span.cpu && w.at > at && w.at < end && w.old != w.new
    };
    role.is_some_and(|r| !matches!(r, Role::Other | Role::Set)) && run.writes.iter().any(other)
}

/// Whether a store to an allocator's variable matters.
fn stored(run: &Run<'_>, topic: &Topic, word: u32, name: &str, at: usize, concerned: bool) -> bool {
    let write = run.writes.iter().find(|w| w.at == at);
    let (old, new) = write.map_or((run.value(word, at), run.value(word, at)), |w| {
        (w.old, w.new)
    });
    match names::role(name) {
        Role::Generation => true,
        Role::Id | Role::Active | Role::Reserved => {
            concerned || topic.has_tag(name, old) || topic.has_tag(name, new)
        }
        Role::Set => concerned && old != new && name.ends_with("pending") && topic.entry.is_some(),
        Role::Other => false,
    }
}

/// Whether a DSB has something to complete: a TLBI of its operation, or a descriptor's
/// change before one.
fn completes(run: &Run<'_>, topic: &Topic, span: &Span, at: usize) -> bool {
    let act = |i: usize| match *run.event(i) {
        Event::Did {
            cpu,
            act: Act::Tlbi(_),
            ..
        } if !flushes(run, topic, cpu, i) => None,
        Event::Did { cpu, act, .. } if cpu == span.cpu => Some(act),
        _ => None,
    };
    let mut before = (span.begin..at).rev().filter_map(act);
    let owed = before.find(|a| matches!(a, Act::Tlbi(_) | Act::Dsb(_)));
    let next = run.did(span.cpu, at, true).and_then(act);
    matches!(owed, Some(Act::Tlbi(_))) || matches!(next, Some(Act::Tlbi(_)))
}

/// Whether a TLBI goes where it could have helped.
fn flushes(run: &Run<'_>, topic: &Topic, cpu: u8, at: usize) -> bool {
    let Event::Did {
        act: Act::Tlbi(op), ..
    } = *run.event(at)
    else {
        return false;
    };
    let inner = op.kind.row().share == Share::Inner;
    match topic.entry {
        Some(e) => told(run, topic, at) || inner || run.holders(&e).contains(&cpu),
        None => !topic.tagging,
    }
}

/// Whether a write of a register loads what is concerned, or leaves it.
fn loads(run: &Run<'_>, topic: &Topic, cpu: u8, reg: Reg, value: u64, at: usize) -> bool {
    let holds = topic
        .entry
        .is_none_or(|e| run.holders(&e).contains(&cpu) || topic.cpu == Some(cpu));
    let old = run.regs(cpu, at.saturating_sub(1));
    let old = match reg {
        Reg::Ttbr0 => old.ttbr0,
        Reg::Ttbr1 => old.ttbr1,
        Reg::Vttbr => old.vttbr,
        Reg::Hcr => return false,
    };
    let concerned = |value: u64| {
        let owner = match run.tables.usage(ttbr::table(value), at) {
            Use::Table(life) => life,
            _ => None,
        };
        let tagged = reg != Reg::Ttbr0 && topic.tags.contains(&ttbr::tag(value));
        tagged || owner.is_some_and(|l| topic.spaces.contains(&l.space))
    };
    holds && (concerned(value) || concerned(old))
}

/// Whether an operation works on a space concerned, or tells something of the history.
fn concerned(run: &Run<'_>, topic: &Topic, cpu: u8, begin: usize, op: Op) -> bool {
    let of_space = match op {
        Op::Touch(va, _) => {
            topic.va.is_none_or(|v| v / 0x4000 == va / 0x4000) && topic.cpu == Some(cpu)
        }
        _ => op.space().is_some_and(|s| topic.spaces.contains(&s)),
    };
    let end = run.spans.iter().find(|s| s.cpu == cpu && s.begin == begin);
    let end = end.and_then(|s| s.end).unwrap_or(run.trace.len());
    let tells =
        |i: usize| topic.told(i) && matches!(*run.event(i), Event::Did { cpu: c, .. } if c == cpu);
    of_space || (begin..end).any(tells)
}
