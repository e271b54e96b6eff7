// SPDX-License-Identifier: MIT OR Apache-2.0
//! A history: what happened, in order, each with its step.

use super::run::Run;
use super::text;
use super::topic::Topic;
use super::words::{site, tag_name};
use crate::names::{self, Role};
use shootdown_machine::{Act, Event, Life, Site};

/// Items of a history, not yet in order.
#[derive(Default)]
pub struct History {
    items: Vec<(usize, String)>,
}

impl History {
    /// Adds what an event means.
    pub fn add(&mut self, at: usize, text: String) {
        self.items.push((at, text));
    }

    /// Prints the items in order, at most the last `most`.
    pub fn print(mut self, run: &Run<'_>, topic: &Topic, most: usize, out: &mut String) {
        self.items.sort_by_key(|i| i.0); // stable: items of one event keep their order
        let skipped = self.items.len().saturating_sub(most);
        if skipped > 0 {
            text::paragraph(
                out,
                text::GUTTER,
                &format!("({skipped} earlier ones left out)"),
            );
        }
        for (at, text) in &self.items[skipped..] {
            topic.tell(*at);
            text::item(out, run.step(*at), text);
        }
    }
}

/// What a CPU was in the middle of: its operation, its last step and its next.
pub fn window(run: &Run<'_>, cpu: u8, at: usize) -> String {
    let Some(span) = run.span(cpu, at) else {
        return format!("cpu{cpu} was between operations");
    };
    // An access is the user's, and has no place in the port.
    let placed = |act: Act, s: Site, at: usize| match act {
        Act::Access(..) => run.brief(act, at),
        _ => format!("{} ({})", run.brief(act, at), site(s)),
    };
    let said = |i: usize| match *run.event(i) {
        Event::Did { act, site: s, .. } => placed(act, s, i),
        _ => String::new(),
    };
    let inside = |i: &usize| *i >= span.begin && span.end.is_none_or(|end| *i <= end);
    let before = run.did(cpu, at, false).filter(inside).map(said);
    let after = run.did(cpu, at, true).filter(inside).map(said);
    let announced = || {
        let next = run.state.cpus[cpu as usize].next?;
        Some(placed(next.act, next.site, run.trace.len()))
    };
    let after = after.or_else(|| span.end.is_none().then(announced).flatten());
    let place = match (before, after) {
        (Some(a), Some(b)) => format!(", between {a} and {b}"),
        (None, Some(b)) => format!(", before {b}"),
        (Some(a), None) => format!(", after {a}"),
        (None, None) => String::new(),
    };
    format!("cpu{cpu} was in \"{}\"{place}", span.op)
}

/// "by cpu0 in "switch D"".
pub fn by(run: &Run<'_>, cpu: u8, at: usize) -> String {
    let op = run
        .span(cpu, at)
        .map_or(String::new(), |s| format!(" in \"{}\"", s.op));
    format!("by cpu{cpu}{op}")
}

/// The context in a CPU's registers.
pub fn loaded(run: &Run<'_>, cpu: u8, at: usize) -> String {
    let regs = run.regs(cpu, at);
    let name = |pa: u64| run.table(pa, at).replace("reserved", "the reserved table");
    let (root, tagged) = regs.selectors(run.state.config.arch);
    let table = name(root.table(regs.get(root)));
    let (tag, kind) = (tag_of(run, cpu, at), tag_name(root));
    if root == tagged {
        format!("{table} and {kind} {tag} in {}", root.name())
    } else {
        let (root, tagged) = (root.name(), tagged.name());
        format!("{table} in {root} and {kind} {tag} in {tagged}")
    }
}

/// The tag in a CPU's registers, if a table of a space is loaded.
pub fn tag_of(run: &Run<'_>, cpu: u8, at: usize) -> u16 {
    let regs = run.regs(cpu, at);
    let (_, reg) = regs.selectors(run.state.config.arch);
    reg.tag(regs.get(reg)).unwrap_or(0)
}

/// What the allocator believes that a CPU uses, if that is not what its registers say:
/// the variable, its value, and when it was written.
pub fn believed(run: &Run<'_>, cpu: u8, at: usize) -> Option<(String, String, Option<usize>)> {
    let names = &run.state.mem.names;
    let word = names
        .iter()
        .position(|n| names::role(n.name) == Role::Active && n.index == Some(cpu))?;
    let (word, name) = (word as u32, names[word].name);
    let value = run.value(word, at);
    let differs = value == 0 || names::id(name, value).1 != tag_of(run, cpu, at);
    let since = run
        .writes
        .iter()
        .rev()
        .find(|w| w.word == word && w.at <= at && w.old != w.new);
    let said = names::value(name, value);
    differs.then(|| (names::full(run.state, word), said, since.map(|w| w.at)))
}

/// That belief as a clause; empty if allocator and registers agree.
pub fn out_of_sync(run: &Run<'_>, cpu: u8, at: usize) -> String {
    let Some((name, value, since)) = believed(run, cpu, at) else {
        return String::new();
    };
    let since = since.map_or(String::new(), |i| format!(" since step {}", run.step(i)));
    format!("{name} says {value}{since}")
}

/// That the id of a space is of an older generation than the allocator's, as a sentence.
pub fn outdated(run: &Run<'_>, of: Option<Life>, at: usize) -> Option<String> {
    let names = &run.state.mem.names;
    let find = |role: Role, index: Option<u8>| {
        let word = names
            .iter()
            .position(|n| names::role(n.name) == role && n.index == index)?;
        let value = run.value(word as u32, at);
        Some((word as u32, names[word].name, value))
    };
    let (_, name, id) = find(Role::Id, Some(of?.space.0))?;
    let (word, generation_name, generation) = find(Role::Generation, None)?;
    let old = names::id(name, id).0;
    if id == 0 || old == names::id(generation_name, generation).0 {
        return None;
    }
    let since = run
        .writes
        .iter()
        .rev()
        .find(|w| w.word == word && w.at <= at)?;
    let now = names::value(generation_name, generation);
    Some(format!(
        "of gen {old}, though {now} began at step {}",
        run.step(since.at)
    ))
}

/// The life of the tags concerned: every time that an allocator's variable gained or lost
/// one of them, every new generation, and every change of the slots of the CPUs concerned.
pub fn tags(run: &Run<'_>, topic: &Topic, out: &mut String) {
    let holders = topic.entry.map_or(Vec::new(), |e| run.holders(&e));
    let mut history = History::default();
    for w in &run.writes {
        let Some(name) = run.state.mem.names.get(w.word as usize).map(|n| n.name) else {
            continue;
        };
        let generation = names::role(name) == Role::Generation;
        let slot = matches!(names::role(name), Role::Active | Role::Reserved)
            && run.state.mem.names[w.word as usize]
                .index
                .is_some_and(|i| holders.contains(&i));
        let concerned = topic.has_tag(name, w.old) || topic.has_tag(name, w.new) || slot;
        if !generation && (!concerned || w.old == w.new) {
            continue;
        }
        let full = names::full(run.state, w.word);
        let full = if generation {
            format!("rollover: {full}")
        } else {
            format!("{full}:")
        };
        let change = names::change(name, w.old, w.new);
        history.add(
            w.at,
            format!("cpu{} {full} {change} ({})", w.cpu, site(w.site)),
        );
    }
    for (at, (_, event)) in run.trace.iter().enumerate() {
        if let Event::Did {
            cpu,
            act: Act::Msr(reg, value),
            site: s,
            ..
        } = *event
        {
            let tagged = reg.tag(value).is_some_and(|tag| topic.tags.contains(&tag));
            if tagged {
                let value = run.register(reg, value, at);
                history.add(
                    at,
                    format!("cpu{cpu} {} := {value} ({})", reg.name(), site(s)),
                );
            }
        }
    }
    history.print(run, topic, 30, out);
}
