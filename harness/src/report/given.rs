// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the tag of an entry came to another space.

use super::entry::Points;
use super::history::{History, by, loaded};
use super::run::{Run, Write};
use super::topic::Topic;
use super::words::{self, site, space};
use crate::names::{self, Role};
use core::ops::Range;
use shootdown_machine::{Act, Entry, Event, Use};

/// The number of an entry's tag.
pub fn number(e: &Entry) -> u16 {
    if e.vmid != 0 { e.vmid } else { e.asid }
}

/// The tag goes to another space, which is then loaded.
pub fn given(
    run: &Run<'_>,
    topic: &Topic,
    e: &Entry,
    fill: usize,
    h: &mut History,
    points: &mut Points,
) {
    let tag = number(e);
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
        let text = format!(
            "{} is given {} too: {var} := {value}, {} ({}).",
            space(topic.user),
            words::tag(run, e),
            by(run, w.cpu, w.at),
            site(w.site)
        );
        h.add(w.at, text);
        let early = if w.at < fill { "already " } else { "" };
        let text = format!(
            "{} was {early}given to {} at step {}",
            words::tag(run, e),
            space(topic.user),
            run.step(w.at)
        );
        points.wrong = Some((w.at, text));
    }
    let Some(cpu) = topic.cpu else { return };
    let regs = run.regs(cpu, run.trace.len());
    let (root, _) = regs.selectors(run.state.config.arch);
    if let Some(at) = run.msr(cpu, &[root], run.trace.len())
        && let Event::Did {
            act: Act::Msr(_, value),
            site: s,
            ..
        } = *run.event(at)
        && run.tables.usage(root.table(value), at) == Use::Table(topic.user)
    {
        let text = format!(
            "cpu{cpu} loads it for {}: {} ({}).",
            space(topic.user),
            loaded(run, cpu, at),
            site(s)
        );
        h.add(at, text);
    }
}

/// The last time, while the CPU had the entry's context loaded and before the entry was made,
/// that the allocator's slots of the CPU ceased to hold the tag. Only a flush by that CPU itself, after it
/// has left the context, makes up for that.
pub fn lost(
    run: &Run<'_>,
    e: &Entry,
    cpu: u8,
    during: Range<usize>,
    h: &mut History,
    points: &mut Points,
) {
    let name = |w: u32| run.state.mem.names.get(w as usize).copied();
    let slot = |w: &u32| {
        name(*w).is_some_and(|n| {
            n.index == Some(cpu) && matches!(names::role(n.name), Role::Active | Role::Reserved)
        })
    };
    let slots: Vec<u32> = (0..run.state.mem.names.len() as u32).filter(slot).collect();
    let held = |at: usize| {
        slots.iter().any(|w| {
            let value = run.value(*w, at);
            value != 0 && name(*w).is_some_and(|n| names::id(n.name, value).1 == number(e))
        })
    };
    let loses = |w: &&Write| {
        slots.contains(&w.word)
            && w.at > 0
            && during.contains(&w.at)
            && held(w.at - 1)
            && !held(w.at)
    };
    let Some(w) = run.writes.iter().rev().find(loses) else {
        return;
    };
    if super::history::tag_of(run, cpu, w.at) != number(e) {
        return;
    }
    let Some(name) = name(w.word) else { return };
    let full = names::full(run.state, w.word);
    let text = format!(
        "{full}: {}, {} ({}): no slot of cpu{cpu} holds {} any more, but it still has {}.",
        names::change(name.name, w.old, w.new),
        by(run, w.cpu, w.at),
        site(w.site),
        words::tag(run, e),
        loaded(run, cpu, w.at)
    );
    h.add(w.at, text);
    points.lost = Some(w.at);
}
