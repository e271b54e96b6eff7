// SPDX-License-Identifier: MIT OR Apache-2.0
//! The history of a TLB entry: how it came to be, what it survived, when it became wrong.

use super::history::{self, History, by, loaded, out_of_sync, window};
use super::run::{Flush, Run};
use super::text;
use super::topic::{Topic, read};
use super::words::{self, site, space};
use crate::names::{self, Role};
use shootdown_machine::arm64::{HCR_VM, Reg, Scope, Stage, Ttl, ttbr};
use shootdown_machine::{Act, Entry, Event, Op, Use};

/// What the history comes to, for the sentence that sums it up.
#[derive(Default)]
struct Points {
    /// The TLBI that removes it, gone by before it was made: arrival, words, on which CPU.
    early: Option<(usize, String, u8)>,
    /// When it was made.
    fill: usize,
    /// When it became wrong, and how.
    wrong: Option<(usize, String)>,
    /// What passed it by afterwards, and why.
    missed: Vec<String>,
}

/// Tells the history of the topic's entry.
pub fn tell(run: &Run<'_>, topic: &Topic, out: &mut String) {
    let Some(e) = topic.entry else { return };
    let Some((fill, cpu, demand)) = run.fill(e.id) else { return };
    let mut history = History::default();
    let mut points = Points { fill, ..Points::default() };
    let since = loading(run, topic, &e, cpu, fill, &mut history);
    early(run, &e, since, fill, &mut history, &mut points);
    filled(run, topic, &e, (fill, cpu, demand), &mut history);
    if topic.tagging {
        given(run, topic, &e, fill, &mut history, &mut points);
    } else {
        changed(run, &e, fill, cpu, demand, &mut history, &mut points);
    }
    late(run, &e, fill, &mut history, &mut points);
    derived(run, topic, &mut history);
    let short = in_short(run, topic, &e, &points);
    text::heading(out, "History of the TLB entry");
    text::paragraph(out, 2, &format!("In the TLB of {}: {}.", words::cpus(&run.holders(&e)), run.entry(&e)));
    if !short.is_empty() {
        out.push('\n');
        text::paragraph(out, 2, &short);
    }
    out.push('\n');
    history.print(run, topic, 40, out);
}

/// How the tag and the table came into the CPU's registers. Gives when they did.
fn loading(run: &Run<'_>, topic: &Topic, e: &Entry, cpu: u8, fill: usize, h: &mut History) -> usize {
    let tag = if e.vmid != 0 { e.vmid } else { e.asid };
    if topic.tagging {
        let got = run.writes.iter().rev().find(|w| {
            let name = run.state.mem.names.get(w.word as usize);
            w.at < fill
                && name.is_some_and(|n| {
                    names::role(n.name) == Role::Id
                        && n.index == e.owner.map(|l| l.space.0)
                        && names::id(n.name, w.new) .1 == tag
                })
        });
        if let Some(w) = got {
            let name = run.state.mem.names[w.word as usize].name;
            let (var, value) = (names::full(run.state, w.word), names::value(name, w.new));
            let who = by(run, w.cpu, w.at);
            h.add(w.at, format!("{} is given {}: {var} := {value}, {who} ({}).",
                space(e.owner), words::tag(e), site(w.site)));
        }
    }
    let begun = |i: &usize| match *run.event(*i) {
        Event::Did { cpu: c, act: Act::Msr(Reg::Ttbr0 | Reg::Vttbr, value), .. } if c == cpu => {
            match run.tables.usage(ttbr::table(value), *i) {
                Use::Table(life) => life == e.owner,
                _ => false,
            }
        }
        _ => false,
    };
    let Some(at) = (0..fill).rev().find(begun) else { return 0 };
    if let Event::Did { site: s, .. } = *run.event(at) {
        h.add(at, format!("cpu{cpu} now has {} ({}).", loaded(run, cpu, at), site(s)));
    }
    at
}

/// TLBIs that remove such an entry, and arrived before it was made.
fn early(run: &Run<'_>, e: &Entry, since: usize, fill: usize, h: &mut History, points: &mut Points) {
    for flush in run.flushes.iter().filter(|f| e.hit_by(&f.op, f.vmid)) {
        for cpu in run.holders(e) {
            let Some((at, removed)) = flush.arrived[cpu as usize] else { continue };
            if at < since || at > fill {
                continue;
            }
            let what = format!("{} from cpu{}", flush.op, flush.cpu);
            let gone = match removed {
                0 => String::new(),
                1 => ", which removes one entry,".into(),
                n => format!(", which removes {n} entries,"),
            };
            let mut text = format!("{what} ({}){gone} arrives at cpu{cpu}: too early. ", site(flush.site));
            text += &format!("cpu{cpu} still has {}", loaded(run, cpu, at));
            let sync = out_of_sync(run, cpu, at);
            text += &if sync.is_empty() { ".".into() } else { format!(", though {sync}.") };
            h.add(at, text);
            points.early = Some((at, what, cpu));
        }
    }
}

fn filled(run: &Run<'_>, topic: &Topic, e: &Entry, fill: (usize, u8, bool), h: &mut History) {
    let (at, cpu, demand) = fill;
    let place = run.descriptor(e.desc_pa, at);
    let value = run.desc(e.desc, e.level, at);
    let who = if demand {
        let op = run.span(cpu, at).map_or("an access".into(), |s| format!("\"{}\"", s.op));
        format!("the walk of {op} on cpu{cpu}")
    } else {
        format!("a speculative walk of cpu{cpu}")
    };
    let mut text = format!(
        "FILLED by {who} in the tables of {}, through {place} = {value} at {:#x}, under {}.",
        space(e.owner), e.desc_pa, words::tag(e)
    );
    if let Some(begun) = read(run, at, cpu, e, demand)
        && run.step(begun) != run.step(at)
    {
        text += &format!(" The walk had read the descriptor at step {}.", run.step(begun));
    }
    if !demand {
        text += &format!(" {}.", window(run, cpu, at));
        let sync = out_of_sync(run, cpu, at);
        if topic.tagging && !sync.is_empty() {
            text += &format!(" Its registers: {}, though {sync}.", loaded(run, cpu, at));
        }
    }
    h.add(at, text);
}

/// The tag goes to another space, which is then loaded.
fn given(run: &Run<'_>, topic: &Topic, e: &Entry, fill: usize, h: &mut History, points: &mut Points) {
    let tag = if e.vmid != 0 { e.vmid } else { e.asid };
    let user = topic.user.map(|l| l.space.0);
    let write = run.writes.iter().rev().find(|w| {
        let name = run.state.mem.names.get(w.word as usize);
        name.is_some_and(|n| {
            names::role(n.name) == Role::Id
                && n.index == user
                && w.new != 0
                && names::id(n.name, w.new).1 == tag
        })
    });
    if let Some(w) = write {
        let name = run.state.mem.names[w.word as usize].name;
        let (var, value) = (names::full(run.state, w.word), names::value(name, w.new));
        let text = format!("{} is given {} too: {var} := {value}, {} ({}).",
            space(topic.user), words::tag(e), by(run, w.cpu, w.at), site(w.site));
        h.add(w.at, text);
        let early = if w.at < fill { "already " } else { "" };
        let text = format!("{} was {early}given to {} at step {}", words::tag(e), space(topic.user), run.step(w.at));
        points.wrong = Some((w.at, text));
    }
    let Some(cpu) = topic.cpu else { return };
    let virtualized = run.state.cpus[0].regs.hcr & HCR_VM != 0;
    let regs: &[Reg] = if virtualized { &[Reg::Vttbr] } else { &[Reg::Ttbr0] };
    if let Some(at) = run.msr(cpu, regs, run.trace.len())
        && let Event::Did { site: s, .. } = *run.event(at)
    {
        let text = format!("cpu{cpu} loads it for {}: {} ({}).", space(topic.user), loaded(run, cpu, at), site(s));
        h.add(at, text);
    }
}

/// The descriptor, or one above it, changes, or the frame is freed.
fn changed(run: &Run<'_>, e: &Entry, fill: usize, cpu: u8, demand: bool, h: &mut History, points: &mut Points) {
    let read = read(run, fill, cpu, e, demand).unwrap_or(fill);
    let Some(own) = run.tables.place(e.desc_pa, read) else { return };
    for at in read..run.trace.len() {
        let text = match *run.event(at) {
            Event::Pte { cpu: c, pa, old, new, site: s } => {
                let Some(place) = run.tables.place(pa, at) else { continue };
                let above = place.life == own.life && place.level < own.level;
                let covers = own.va.wrapping_sub(place.va) < shootdown_machine::level_size(place.level);
                if pa != e.desc_pa && !(above && covers && old.valid()) {
                    continue;
                }
                let values = [old, new].map(|d| run.desc(d, place.level, at));
                format!("{} changes from {} to {}, {} ({}).", run.descriptor(pa, at),
                    values[0], values[1], by(run, c, at), site(s))
            }
            Event::Frame { cpu: c, pa, to } if pa == e.pa => match to {
                None => format!("{} is freed, {}.", run.page(pa, at).replace("freed ", ""), by(run, c, at)),
                Some(life) => format!("its frame is handed out again, to {}, {}.", space(Some(life)), by(run, c, at)),
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

/// Why a TLBI leaves an entry alone. The second: it is about this mapping.
fn why_not(e: &Entry, f: &Flush) -> (String, bool) {
    let row = f.op.kind.row();
    let (start, len) = f.op.span();
    let here = !f.op.by_addr() || (e.va < start + len && start < e.va + e.size);
    let by_asid = matches!(row.scope, Scope::Asid | Scope::Va);
    if row.scope != Scope::All && f.vmid != e.vmid {
        return (format!("it is for vmid {}, not {}", f.vmid, e.vmid), here && f.op.by_addr());
    }
    if by_asid && !(row.scope == Scope::Va && e.global) && f.op.asid_field() != e.asid {
        let text = format!("it is for asid {}, not {}", f.op.asid_field(), e.asid);
        return (text, here && f.op.by_addr());
    }
    if !here {
        return (format!("it does not cover {:#x}", e.va), false);
    }
    match (row.scope, e.stage) {
        (Scope::Ipa, Stage::One) => return ("it removes stage-2 entries, not combined ones".into(), true),
        (Scope::Va | Scope::VaAllAsid | Scope::Vm | Scope::Asid, Stage::Two) => {
            return ("it removes stage-1 and combined entries only".into(), true);
        }
        _ => {}
    }
    if row.last && !e.leaf {
        return ("it removes leaves only, and this is a walk-cache entry".into(), true);
    }
    if let Ttl::Level(hint) = f.op.ttl() {
        return (format!("its hint says level {hint}, the entry is of level {}", e.level), true);
    }
    ("it does not apply".into(), false)
}

/// TLBIs after it was made, and why they did not remove it.
fn late(run: &Run<'_>, e: &Entry, fill: usize, h: &mut History, points: &mut Points) {
    let holders = run.holders(e);
    let mut unrelated = 0;
    for f in &run.flushes {
        let arrived = holders.iter().filter_map(|c| f.arrived[*c as usize]).map(|a| a.0).max();
        if f.issued < fill && arrived.is_some_and(|at| at < fill) || f.issued < fill && !holders.iter().any(|c| f.reaches(*c)) {
            continue;
        }
        let reaches = holders.iter().any(|c| f.reaches(*c));
        let whom = words::cpus(&holders);
        let (why, near) = if e.hit_by(&f.op, f.vmid) {
            let why = match (reaches, arrived) {
                (false, _) => format!("it is local to cpu{}, and the entry is on {whom}", f.cpu),
                (true, None) => format!("it is still on its way to {whom}"),
                (true, Some(_)) => continue,
            };
            (why, true)
        } else {
            why_not(e, f)
        };
        let for_owner = run.span(f.cpu, f.issued).is_some_and(|s| {
            s.op.space() == e.owner.map(|l| l.space) && !matches!(s.op, Op::Switch(_))
        });
        if !near && !for_owner {
            unrelated += 1;
            continue;
        }
        let text = format!("{} ({}), {}, leaves it: {why}.", f.op, site(f.site), by(run, f.cpu, f.issued));
        h.add(arrived.unwrap_or(f.issued), text);
        points.missed.push(format!("{} (step {}) left it: {why}", f.op, run.step(f.issued)));
    }
    if unrelated > 0 {
        let s = if unrelated == 1 { "" } else { "s" };
        let text = format!("({unrelated} TLBI{s} since it was made: for other addresses or tags.)");
        h.add(run.trace.len(), text);
    }
}

/// What was made with its help, and what came of it.
fn derived(run: &Run<'_>, topic: &Topic, h: &mut History) {
    for e in &topic.derived {
        let Some((at, cpu, demand)) = run.fill(e.id) else { continue };
        let who = match run.span(cpu, at) {
            Some(span) if demand => format!("\"{}\" on cpu{cpu}", span.op),
            _ => format!("a speculative walk of cpu{cpu}"),
        };
        h.add(at, format!("{who} begins its walk at this entry and makes another: {}.", run.entry(e)));
    }
    let what = text::sites(&run.finding.breach.what);
    h.add(run.trace.len(), format!("{}: {what}.", run.finding.rule.name));
}

/// That the allocator no longer counts with the tag in a CPU's registers.
fn unknown(run: &Run<'_>, cpu: u8, at: usize) -> String {
    let believed = history::believed(run, cpu, at);
    believed.map_or(String::new(), |(name, ..)| format!(" but no longer in {name}"))
}

/// The history in a sentence or two.
fn in_short(run: &Run<'_>, topic: &Topic, e: &Entry, p: &Points) -> String {
    let filled = run.step(p.fill);
    let wrong = p.wrong.as_ref();
    let mut text = String::from("In short: ");
    match (&p.early, wrong) {
        (Some((at, what, cpu)), Some((_, wrong))) if topic.tagging => {
            text += &format!(
                "{what} reached cpu{cpu} at step {} while {} was still in its registers{}; the entry \
                 was made after it, at step {filled}; nothing has removed it since, and {wrong}.",
                run.step(*at), words::tag(e), unknown(run, *cpu, *at)
            );
        }
        (None, Some((_, wrong))) if topic.tagging => {
            text += &format!("the entry was made at step {filled}, no TLBI has removed it since, and {wrong}.");
        }
        (_, Some((at, wrong))) => {
            let order = if *at < p.fill { "before the entry was in the TLB" } else { "after the entry was made" };
            text += &format!("{wrong}, {order} (step {filled}), ");
            text += &match p.missed.last() {
                Some(missed) => format!("and {missed}."),
                None => "and no TLBI for it has come since.".into(),
            };
        }
        _ => return String::new(),
    }
    text
}
