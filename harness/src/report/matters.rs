// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which steps have to do with a finding, and which are folded.

use super::run::{Run, Span, Write};
use super::topic::Topic;
use crate::names::{self, Role};
use shootdown_machine::arm64::{Reg, Share};
use shootdown_machine::{Act, Event, Op, Use};

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
pub fn matters(run: &Run<'_>, topic: &Topic, at: usize, cpu: u8, act: Act) -> bool {
    let in_memory = run.writes.iter().find(|w| w.issued == at).map(|w| w.at);
    if told(run, topic, at)
        || at + 1 == run.trace.len()
        || in_memory.is_some_and(|at| topic.told(at))
    {
        return true;
    }
    let Some(span) = run.span(cpu, at) else {
        return true;
    };
    let concerned = concerned(run, topic, span.cpu, span.begin, span.op);
    let name = |word: u32| run.state.mem.names.get(word as usize).map(|n| n.name);
    match act {
        Act::Load(word, _) => {
            let overtaken = || topic.tagging && overtaken(run, word, at, span);
            concerned && (run.loads_old(word, at) || overtaken())
        }
        Act::Store(word, ..) | Act::Rmw(word, ..) => match name(word) {
            None => concerned && !topic.tagging,
            Some(name) => topic.tagging && stored(run, topic, word, name, at, concerned),
        },
        Act::Lock(word) | Act::Unlock(word) | Act::ReadLock(word) | Act::ReadUnlock(word) => {
            let of_space = run
                .state
                .mem
                .names
                .get(word as usize)
                .is_some_and(|n| n.index.is_some());
            concerned && topic.tagging != of_space
        }
        Act::IrqOff | Act::IrqOn | Act::Isb | Act::AwaitChange(_) | Act::AwaitOthers => false,
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
    let write = run.writes.iter().find(|w| w.issued == at || w.at == at);
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
    if matches!(reg, Reg::Hcr | Reg::Tcr | Reg::Cr4) {
        return false;
    }
    let old = old.get(reg);
    let concerned = |value: u64| {
        let owner = match run.tables.usage(reg.table(value), at) {
            Use::Table(life) => life,
            _ => None,
        };
        let tagged = reg.tag(value).is_some_and(|tag| topic.tags.contains(&tag));
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
