// SPDX-License-Identifier: MIT OR Apache-2.0
//! The history of a TLB entry: how it came to be, what it survived, when it became wrong.

use super::given::{given, lost, number};
use super::history::{History, by, loaded, out_of_sync, outdated, window};
use super::passed::{early, late};
use super::run::Run;
use super::text;
use super::topic::{Topic, read};
use super::words::{self, site, space};
use crate::names::{self, Role};
use shootdown_machine::arm64::Reg;
use shootdown_machine::{Act, Entry, Event, Life, Site, Use};

/// What the history comes to, for the sentence that sums it up.
#[derive(Default)]
pub struct Points {
    /// The TLBI that removes it, gone by before it was made: arrival, words, on which CPU.
    pub early: Option<(usize, String, u8)>,
    /// When it was made.
    pub fill: usize,
    /// When it became wrong, and how.
    pub wrong: Option<(usize, String)>,
    /// When the tag was loaded although its generation was over, and since when that was.
    pub outdated: Option<(usize, String)>,
    /// When the allocator lost sight of the tag in the CPU's registers.
    pub lost: Option<usize>,
    /// What passed it by afterwards, and why.
    pub missed: Vec<String>,
}

/// The history of the topic's entry, and what it comes to.
fn history(run: &Run<'_>, topic: &Topic) -> Option<(Entry, History, Points)> {
    let e = topic.entry?;
    let (fill, cpu, demand) = run.fill(e.id)?;
    let mut history = History::default();
    let mut points = Points {
        fill,
        ..Points::default()
    };
    let since = loading(run, topic, &e, cpu, &mut history, &mut points);
    early(run, &e, since, (fill, cpu), &mut history, &mut points);
    filled(run, topic, &e, (fill, cpu, demand), &mut history);
    if topic.tagging {
        given(run, topic, &e, fill, &mut history, &mut points);
        lost(run, &e, cpu, since..fill, &mut history, &mut points);
    } else {
        changed(run, &e, fill, cpu, demand, &mut history, &mut points);
    }
    late(run, &e, fill, topic.tagging, &mut history, &mut points);
    derived(run, topic, &mut history);
    Some((e, history, points))
}

/// Where in the port the topic's entry became wrong.
pub fn went_wrong(run: &Run<'_>, topic: &Topic) -> Option<Site> {
    let (_, _, points) = history(run, topic)?;
    let (at, _) = points.wrong?;
    match *run.event(at) {
        Event::Pte { site, .. } | Event::Did { site, .. } => Some(site),
        _ => None,
    }
}

/// Tells the history of the topic's entry, and what it comes to.
pub fn tell(run: &Run<'_>, topic: &Topic, out: &mut String) -> Option<Points> {
    let (e, history, points) = history(run, topic)?;
    let short = in_short(run, topic, &e, &points);
    text::heading(out, "History of the TLB entry");
    text::paragraph(
        out,
        2,
        &format!(
            "In the TLB of {}: {}.",
            words::cpus(&run.holders(&e)),
            run.entry(&e)
        ),
    );
    if !short.is_empty() {
        out.push('\n');
        text::paragraph(out, 2, &short);
    }
    out.push('\n');
    history.print(run, topic, 40, out);
    Some(points)
}

/// How the tag and the table came into the CPU's registers. Gives when they did.
fn loading(
    run: &Run<'_>,
    topic: &Topic,
    e: &Entry,
    cpu: u8,
    h: &mut History,
    points: &mut Points,
) -> usize {
    let fill = points.fill;
    let tag = number(e);
    if topic.tagging {
        let got = run.writes.iter().rev().find(|w| {
            let name = run.state.mem.names.get(w.word as usize);
            w.at < fill
                && name.is_some_and(|n| {
                    names::role(n.name) == Role::Id
                        && n.index == e.owner.map(|l| l.space.0)
                        && names::id(n.name, w.new).1 == tag
                })
        });
        if let Some(w) = got {
            let name = run.state.mem.names[w.word as usize].name;
            let (var, value) = (names::full(run.state, w.word), names::value(name, w.new));
            let who = by(run, w.cpu, w.at);
            h.add(
                w.at,
                format!(
                    "{} is given {}: {var} := {value}, {who} ({}).",
                    space(e.owner),
                    words::tag(run, e),
                    site(w.site)
                ),
            );
        }
    }
    let begun = |i: &usize| match *run.event(*i) {
        Event::Did {
            cpu: c,
            act: Act::Msr(reg, value),
            ..
        } if c == cpu && Reg::ROOTS.contains(&reg) => {
            match run.tables.usage(reg.table(value), *i) {
                Use::Table(life) => life == e.owner,
                _ => false,
            }
        }
        _ => false,
    };
    let Some(at) = (0..fill).rev().find(begun) else {
        return 0;
    };
    if let Event::Did { site: s, .. } = *run.event(at) {
        let old = outdated(run, e.owner, at).filter(|_| topic.tagging);
        points.outdated = old.clone().map(|o| (at, o));
        let old = old.map_or(String::new(), |o| format!(", {o}"));
        h.add(
            at,
            format!(
                "cpu{cpu} now has {}{old} ({}).",
                loaded(run, cpu, at),
                site(s)
            ),
        );
    }
    at
}

fn filled(run: &Run<'_>, topic: &Topic, e: &Entry, fill: (usize, u8, bool), h: &mut History) {
    let (at, cpu, demand) = fill;
    let place = run.descriptor(e.desc_pa, at);
    let value = run.desc(e.desc, e.level, at);
    let who = if demand {
        let op = run
            .span(cpu, at)
            .map_or("an access".into(), |s| format!("\"{}\"", s.op));
        format!("the walk of {op} on cpu{cpu}")
    } else {
        format!("a speculative walk of cpu{cpu}")
    };
    let mut text = format!(
        "FILLED by {who} in the tables of {}, through {place} = {value} at {:#x}, under {}.",
        space(e.owner),
        e.desc_pa,
        words::tag(run, e)
    );
    if let Some(begun) = read(run, at, cpu, e, demand)
        && run.step(begun) != run.step(at)
    {
        text += &format!(
            " The walk had read the descriptor at step {}.",
            run.step(begun)
        );
    }
    if !demand {
        text += &format!(" {}.", window(run, cpu, at));
        if unsynced(run, cpu, at) && owner_loaded(run, cpu, at) != e.owner {
            text += " The walker used the registers as before their last writes, which no ISB \
                     has followed yet.";
        }
        let sync = out_of_sync(run, cpu, at);
        if topic.tagging && !sync.is_empty() {
            text += &format!(" It still had {}, though {sync}.", words::tag(run, e));
        }
    }
    h.add(at, text);
}

/// Whether a CPU has written a context register since its last context synchronization.
fn unsynced(run: &Run<'_>, cpu: u8, at: usize) -> bool {
    let act = |i: usize| match *run.event(i) {
        Event::Did { cpu: c, act, .. } if c == cpu => Some(act),
        _ => None,
    };
    let sync = |a: &Act| {
        matches!(
            a,
            Act::Msr(..) | Act::Isb | Act::EnterGuest | Act::ExitGuest | Act::Access(..)
        )
    };
    matches!((0..at).rev().filter_map(act).find(sync), Some(Act::Msr(..)))
}

/// Whose table is in a CPU's registers.
fn owner_loaded(run: &Run<'_>, cpu: u8, at: usize) -> Option<Life> {
    let regs = run.regs(cpu, at);
    let (reg, _) = regs.selectors(run.state.config.arch);
    match run.tables.usage(reg.table(regs.get(reg)), at) {
        Use::Table(life) => life,
        _ => None,
    }
}

/// The descriptor, or one above it, changes, or the frame is freed.
fn changed(
    run: &Run<'_>,
    e: &Entry,
    fill: usize,
    cpu: u8,
    demand: bool,
    h: &mut History,
    points: &mut Points,
) {
    let read = read(run, fill, cpu, e, demand).unwrap_or(fill);
    let Some(own) = run.tables.place(e.desc_pa, read) else {
        return;
    };
    for at in read..run.trace.len() {
        let text = match *run.event(at) {
            Event::Pte {
                cpu: c,
                pa,
                old,
                new,
                site: s,
            } => {
                let Some(place) = run.tables.place(pa, at) else {
                    continue;
                };
                let above = place.life == own.life && place.level < own.level;
                let covers =
                    own.va.wrapping_sub(place.va) < shootdown_machine::level_size(place.level);
                if pa != e.desc_pa && !(above && covers && old.valid()) {
                    continue;
                }
                let values = [old, new].map(|d| run.desc(d, place.level, at));
                format!(
                    "{} changes from {} to {}, {} ({}).",
                    run.descriptor(pa, at),
                    values[0],
                    values[1],
                    by(run, c, at),
                    site(s)
                )
            }
            Event::Frame { cpu: c, pa, to } if pa == e.pa => match to {
                None => format!(
                    "{} is freed, {}.",
                    run.page(pa, at).replace("freed ", ""),
                    by(run, c, at)
                ),
                Some(life) => format!(
                    "its frame is handed out again, to {}, {}.",
                    space(Some(life)),
                    by(run, c, at)
                ),
            },
            _ => continue,
        };
        if points.wrong.is_none() {
            let what = text.split(',').next().unwrap_or("").to_owned();
            points.wrong = Some((at, format!("{what} at step {}", run.step(at))));
            h.add(at, format!("WRONG from here: {text}"));
        } else {
            h.add(at, text);
        }
    }
}

/// What was made with its help, and what came of it.
fn derived(run: &Run<'_>, topic: &Topic, h: &mut History) {
    for e in &topic.derived {
        let Some((at, cpu, demand)) = run.fill(e.id) else {
            continue;
        };
        let who = match run.span(cpu, at) {
            Some(span) if demand => format!("\"{}\" on cpu{cpu}", span.op),
            _ => format!("a speculative walk of cpu{cpu}"),
        };
        h.add(
            at,
            format!(
                "{who} begins its walk at this entry and makes another: {}.",
                run.entry(e)
            ),
        );
    }
    let what = text::sites(&run.finding.breach.what);
    h.add(
        run.trace.len(),
        format!("{}: {what}.", run.finding.rule.name),
    );
}

/// The history in a sentence or two.
fn in_short(run: &Run<'_>, topic: &Topic, e: &Entry, p: &Points) -> String {
    let filled = run.step(p.fill);
    let Some((at, wrong)) = &p.wrong else {
        return String::new();
    };
    if !topic.tagging {
        let order = if *at < p.fill { "before" } else { "after" };
        let then = match p.missed.last() {
            Some(missed) => format!("and {missed}"),
            None => "and no TLBI for it has come since".into(),
        };
        return format!("In short: {wrong}, {order} the entry was made (step {filled}), {then}.");
    }
    let tag = words::tag(run, e);
    let mut text = String::from("In short: ");
    if let Some(lost) = p.lost {
        text += &format!(
            "from step {} on, the allocator did not count with {tag}, which ",
            run.step(lost)
        );
        text += &format!("cpu{} still had in its registers. ", e.cpu);
    }
    if let (None, Some((at, of))) = (p.lost, &p.outdated) {
        text += &format!("at step {} cpu{} loaded {tag} {of}. ", run.step(*at), e.cpu);
    }
    match &p.early {
        Some((at, what, cpu)) => {
            let still = format!("while cpu{} still had {tag}", e.cpu);
            text += &format!(
                "{what} reached cpu{cpu} at step {} {still}, and ",
                run.step(*at)
            );
            text += &format!("the entry was made after that, at step {filled}. ");
        }
        None => text += &format!("The entry was made at step {filled}. "),
    }
    text += &format!("Nothing has removed it since, and {wrong}.");
    text
}
