// SPDX-License-Identifier: MIT OR Apache-2.0
//! What each operation, TLBI and store of a trace came to.

use super::run::{Flush, Span, Write};
use crate::exec::Traced;
use crate::names::after;
use shootdown_machine::{Act, Event, Word};

pub fn spans(trace: &[Traced]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for (i, (_, event)) in trace.iter().enumerate() {
        match *event {
            Event::Begin { cpu, index, op, .. } => {
                spans.push(Span {
                    cpu,
                    index,
                    op,
                    begin: i,
                    end: None,
                    done: None,
                });
            }
            Event::End {
                cpu, index, done, ..
            } => {
                let mut open = spans.iter_mut().rev();
                if let Some(span) = open.find(|s| s.cpu == cpu && s.index == index) {
                    span.end = Some(i);
                    span.done = Some(done);
                }
            }
            _ => {}
        }
    }
    // The last step of an operation is told after the operation's end.
    for span in &mut spans {
        let Some(end) = span.end else { continue };
        let step = trace[end].0;
        let later = trace[end + 1..].iter().take_while(|t| t.0 == step);
        let own = later
            .enumerate()
            .filter(|(_, t)| matches!(t.1, Event::Did { cpu, .. } if cpu == span.cpu));
        if let Some((i, _)) = own.last() {
            span.end = Some(end + 1 + i);
        }
    }
    spans
}

pub fn flushes(trace: &[Traced]) -> Vec<Flush> {
    let mut flushes: Vec<Flush> = Vec::new();
    for (i, (_, event)) in trace.iter().enumerate() {
        match *event {
            Event::Tlbi {
                cpu,
                op,
                vmid,
                number,
                site,
            } => {
                let arrived = [None; 4];
                flushes.push(Flush {
                    number,
                    cpu,
                    op,
                    vmid,
                    site,
                    issued: i,
                    arrived,
                });
            }
            Event::Delivered {
                cpu,
                number,
                removed,
                ..
            } => {
                if let Some(flush) = flushes.iter_mut().find(|f| f.number == number) {
                    flush.arrived[cpu as usize] = Some((i, removed));
                }
            }
            _ => {}
        }
    }
    flushes
}

/// Pairs each store that left a buffer with its step. A store that is the last step of an
/// operation is told of after the operation's end, by which it is in memory.
pub fn drains(trace: &[Traced]) -> Vec<(usize, usize)> {
    let (mut waiting, mut early, mut drains) = (Vec::new(), Vec::new(), Vec::new());
    let take = |from: &mut Vec<(u8, Word, usize)>, key: (u8, Word)| {
        let place = from.iter().position(|(c, w, _)| (*c, *w) == key)?;
        Some(from.remove(place).2)
    };
    for (at, (_, event)) in trace.iter().enumerate() {
        match *event {
            Event::Did {
                cpu,
                act: Act::Store(word, ..),
                ignored: false,
                ..
            } => match take(&mut early, (cpu, word)) {
                Some(drained) => drains.push((at, drained)),
                None => waiting.push((cpu, word, at)),
            },
            Event::Drained { cpu, word, .. } => match take(&mut waiting, (cpu, word)) {
                Some(issued) => drains.push((issued, at)),
                None => early.push((cpu, word, at)),
            },
            _ => {}
        }
    }
    drains
}

pub fn writes(
    trace: &[Traced],
    boot: &[u64],
    drains: &[(usize, usize)],
    buffers: bool,
) -> Vec<Write> {
    let mut words = boot.to_vec();
    let mut writes = Vec::new();
    for (at, (_, event)) in trace.iter().enumerate() {
        let (cpu, word, new, site, store) = match *event {
            Event::Did {
                cpu,
                act: Act::Store(word, new, _),
                site,
                ignored: false,
                ..
            } if !buffers => (cpu, word, new, site, true),
            Event::Drained {
                cpu,
                word,
                value,
                site,
            } => (cpu, word, value, site, true),
            Event::Did {
                cpu,
                act: Act::Rmw(word, rmw, _),
                value,
                site,
                ignored: false,
            } => (cpu, word, after(rmw, value), site, false),
            _ => continue,
        };
        let Some(slot) = words.get_mut(word as usize) else {
            continue;
        };
        let old = core::mem::replace(slot, new);
        if old != new || store {
            let issued = drains.iter().find(|(_, drained)| *drained == at);
            writes.push(Write {
                at,
                issued: issued.map_or(at, |(issued, _)| *issued),
                cpu,
                word,
                old,
                new,
                site,
            });
        }
    }
    writes
}
