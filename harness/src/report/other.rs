// SPDX-License-Identifier: MIT OR Apache-2.0
//! Histories for findings without an entry: of a descriptor, of the tags of two CPUs, of
//! what each CPU waits for, of what each operation came to.

use super::history::{History, by, loaded, out_of_sync, window};
use super::run::Run;
use super::text;
use super::topic::Topic;
use super::words::{site, space};
use shootdown_machine::arm64::Reg;
use shootdown_machine::{Act, Done, Event, Op, PAGE, Space, State, Va, Word, level_size};
use shootdown_oracle::Class;

/// Tells whichever history fits the rule.
pub fn tell(run: &Run<'_>, topic: &Topic, out: &mut String) {
    let rule = run.finding.rule;
    match rule.name {
        "deadlock" => waiting(run, topic, out),
        "no-walk-of-freed-table" => table(run, topic, out),
        _ if topic.tagging => contexts(run, topic, out),
        _ => {
            let space = topic.spaces.first().copied();
            if let (Some(va), Some(space)) = (topic.va, space) {
                descriptor(run, topic, space, va, out);
            }
            if rule.class == Class::Differential {
                results(run, topic, out);
            }
        }
    }
}

/// What each CPU waits for, and who has it.
fn waiting(run: &Run<'_>, topic: &Topic, out: &mut String) {
    text::heading(out, "Who waits for whom");
    for cpu in 0..run.state.config.cpus {
        let Some(next) = run.state.cpus[cpu as usize].next else {
            text::paragraph(out, 2, &format!("cpu{cpu} has nothing left to do."));
            continue;
        };
        let end = run.trace.len();
        let who = by(run, cpu, end).replacen("by ", "", 1);
        let what = run.brief(next.act, end);
        let mut line = format!("{who} waits: {what} ({}).", site(next.site));
        if let Act::Lock(word) | Act::ReadLock(word) = next.act
            && let Some((at, owner)) = holder(run, word)
        {
            topic.tell(at);
            let since = run.step(at);
            line += &format!(" cpu{owner} has it since step {since}.");
        }
        text::paragraph(out, 2, &line);
    }
}

/// Who took a lock last, and when.
fn holder(run: &Run<'_>, word: Word) -> Option<(usize, u8)> {
    let taken = |i: usize| match *run.event(i) {
        Event::Did {
            cpu,
            act: Act::Lock(w) | Act::ReadLock(w),
            ..
        } if w == word => Some((i, cpu)),
        _ => None,
    };
    (0..run.trace.len()).rev().find_map(taken)
}

/// The CPUs' contexts: who runs what under which tag, and since when.
fn contexts(run: &Run<'_>, topic: &Topic, out: &mut String) {
    text::heading(out, "History of the contexts");
    let mut h = History::default();
    for (cpu, life, _) in super::topic::contexts(run) {
        if !topic.spaces.contains(&life.space) {
            continue;
        }
        if let Some(at) = run.msr(cpu, Reg::ROOTS, run.trace.len()) {
            h.add(
                at,
                format!(
                    "cpu{cpu} has {}, {}.",
                    loaded(run, cpu, at),
                    by(run, cpu, at)
                ),
            );
            let sync = out_of_sync(run, cpu, run.trace.len());
            if !sync.is_empty() {
                h.add(
                    run.trace.len(),
                    format!("cpu{cpu} still has that, though {sync}."),
                );
                if run.span(cpu, run.trace.len()).is_some() {
                    h.add(
                        run.trace.len(),
                        format!("{}.", window(run, cpu, run.trace.len())),
                    );
                }
            }
        }
    }
    let what = text::sites(&run.finding.breach.what);
    h.add(
        run.trace.len(),
        format!("{}: {what}.", run.finding.rule.name),
    );
    h.print(run, topic, 12, out);
}

/// The changes of the descriptor for an address, and the barriers and TLBIs after them.
fn descriptor(run: &Run<'_>, topic: &Topic, of: Space, va: Va, out: &mut String) {
    text::heading(out, &format!("History of the mapping of {of} {va:#x}"));
    let mut h = History::default();
    // What each CPU's operation has changed: first address and length.
    let mut changed: [Option<(Va, u64)>; 4] = [None; 4];
    for (at, (_, event)) in run.trace.iter().enumerate() {
        match *event {
            Event::Begin { cpu, .. } | Event::End { cpu, .. } => changed[cpu as usize] = None,
            Event::Pte {
                cpu,
                pa,
                old,
                new,
                site: s,
            } => {
                let Some(place) = run.tables.place(pa, at) else {
                    continue;
                };
                let covers = va.wrapping_sub(place.va) < level_size(place.level);
                if place.life.space != of || !covers {
                    continue;
                }
                changed[cpu as usize] = Some((place.va, level_size(place.level)));
                let values = [old, new].map(|d| run.desc(d, place.level, at));
                h.add(
                    at,
                    format!(
                        "{}: {} -> {}, {} ({}).",
                        run.descriptor(pa, at),
                        values[0],
                        values[1],
                        by(run, cpu, at),
                        site(s)
                    ),
                );
            }
            Event::Tlbi {
                cpu, op, site: s, ..
            } => {
                let Some((first, size)) = changed[cpu as usize] else {
                    continue;
                };
                let (start, len) = op.span();
                let covers = !op.by_addr() || (start < first + size && first < start + len);
                let note = if covers {
                    ""
                } else {
                    ", which does not cover it"
                };
                h.add(at, format!("cpu{cpu}: {op} ({}){note}.", site(s)));
            }
            Event::Did {
                cpu,
                act: Act::Dsb(kind),
                site: s,
                ..
            } if changed[cpu as usize].is_some() => {
                h.add(at, format!("cpu{cpu}: dsb {} ({}).", kind.name(), site(s)));
            }
            Event::Fill { cpu, entry, .. }
                if entry.leaf && entry.covers(va) && entry.owner.is_some_and(|l| l.space == of) =>
            {
                h.add(at, format!("cpu{cpu} caches it: {}.", run.entry(&entry)));
            }
            _ => {}
        }
    }
    let what = text::sites(&run.finding.breach.what);
    h.add(
        run.trace.len(),
        format!("{}: {what}.", run.finding.rule.name),
    );
    h.print(run, topic, 24, out);
}

/// A table that was freed and is still walked, with no walk-cache entry to blame.
fn table(run: &Run<'_>, topic: &Topic, out: &mut String) {
    text::heading(out, "History of the table");
    let mut h = History::default();
    let last = run
        .trace
        .iter()
        .rposition(|(_, e)| matches!(e, Event::WalkRead { .. }));
    let Some((
        at,
        Event::WalkRead {
            cpu,
            desc_pa,
            demand,
            ..
        },
    )) = last.map(|i| (i, *run.event(i)))
    else {
        return;
    };
    if let Some(freed) = run.tables.freed(desc_pa, at)
        && let Event::Frame { cpu: c, .. } = *run.event(freed)
    {
        h.add(
            freed,
            format!(
                "{} is freed, {}.",
                run.table(desc_pa / PAGE * PAGE, freed),
                by(run, c, freed)
            ),
        );
    }
    for (i, (_, event)) in run.trace[..at].iter().enumerate() {
        if let Event::WalkRead {
            cpu: c,
            demand: d,
            desc,
            desc_pa: pa,
            level,
            ..
        } = *event
            && (c, d) == (cpu, demand)
            && run.state.decode(level, desc).pa() == Some(desc_pa / PAGE * PAGE)
        {
            h.add(
                i,
                format!(
                    "the walk reads {} = {}.",
                    run.descriptor(pa, i),
                    run.desc(desc, level, i)
                ),
            );
        }
    }
    h.add(at, format!("cpu{cpu} has {}.", loaded(run, cpu, at)));
    let what = text::sites(&run.finding.breach.what);
    h.add(
        run.trace.len(),
        format!("{}: {what}.", run.finding.rule.name),
    );
    h.print(run, topic, 16, out);
}

/// What each operation on the page came to.
fn results(run: &Run<'_>, topic: &Topic, out: &mut String) {
    text::heading(out, "What the operations came to");
    let mut h = History::default();
    for span in &run.spans {
        let concerned = span.op.space().is_some_and(|s| topic.spaces.contains(&s))
            && !matches!(span.op, Op::Switch(_));
        if !concerned && !matches!(span.op, Op::Touch(..)) {
            continue;
        }
        let done = match span.done {
            None => "did not return",
            Some(Done::Yes) => "done",
            Some(Done::No) => "nothing to do",
            Some(Done::Exhausted) => "out of memory or tags",
            Some(Done::Fault) => "faulted",
        };
        let at = span.end.unwrap_or(run.trace.len());
        h.add(at, format!("cpu{} \"{}\": {done}.", span.cpu, span.op));
    }
    h.print(run, topic, 24, out);
    if let (Some(va), Some(of)) = (topic.va, topic.spaces.first()) {
        let now = mapping(run.state, *of, va);
        text::paragraph(out, 2, &format!("In the tables, {of} {va:#x} is {now}."));
    }
}

/// What the tables map an address to.
pub fn mapping(state: &State, of: Space, va: Va) -> String {
    match shootdown_oracle::reference::mapped(state, of, va) {
        (None, _) => "not mapped".into(),
        (Some(page), writable) => {
            let life = space(Some(state.life(of)));
            format!(
                "page {} of {life} {}",
                page.0,
                if writable { "rw" } else { "ro" }
            )
        }
    }
}
