// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every way in which one access of a program may be translated.
//!
//! An access that nothing orders behind what its CPU did before may have been made earlier
//! than it is looked at: before a TLBI of another CPU took effect here, that is, with what
//! that TLBI took away. It is then complete before that TLBI is (machine rule 11), so it
//! sees nothing that was stored later. A CPU's own TLBI binds its own accesses only after a
//! DSB and a context synchronization (test CoWinvT.EL1+dsb-tlbi-dsb); with FEAT_ETS, after
//! the DSB.

use super::layout::AP_EL0;
use crate::arm64::Stage;
use crate::config::Switch;
use crate::context::Context;
use crate::machine::{Flush, State};
use crate::mem::Word;
use crate::op::Access;
use crate::order::Time;
use crate::tlb::Entry;
use crate::walk::{Progress, Reading, Walk};

/// What asks for a translation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub cpu: u8,
    pub va: u64,
    pub write: bool,
    /// By code at EL0.
    pub user: bool,
    /// What the address depends on.
    pub addr: Time,
    /// What a store's value depends on.
    pub data: Time,
}

/// A fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fault {
    pub stage: Stage,
    pub level: u8,
    pub permission: bool,
    /// The address that did not translate: a VA or an IPA.
    pub input: u64,
    /// The latest store that led to it.
    pub view: Time,
}

/// Where an access goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub word: Word,
    /// The latest store that led to it.
    pub view: Time,
    /// It was made before this moment.
    pub before: Option<Time>,
    pub entry: Entry,
}

/// One way, and the machine after it.
pub(super) type Way = (State, Result<Target, Fault>);

/// A walk in the making: what it has read, and whether that is still there.
#[derive(Clone)]
struct Path {
    state: State,
    walk: Walk,
    /// When each value that was read was replaced.
    replaced: Vec<Option<Time>>,
    last: Option<Reading>,
}

/// Every way.
pub(super) fn ways(state: &State, contexts: &[Context], request: Request) -> Vec<Way> {
    let mut out = Vec::new();
    for context in contexts {
        now(state, *context, request, &mut out);
        let views = &state.cpus[request.cpu as usize].views;
        let bound = views.load.max(request.addr);
        let flushes = &state.cpus[request.cpu as usize].flushes;
        let mut last = 0;
        for flush in flushes {
            if !flush.own && bound < flush.time {
                early(state, *context, request, *flush, last, &mut out);
            }
            last = flush.time;
        }
    }
    out
}

/// Whether an entry is for this access.
fn answers(entry: &Entry, context: Context, request: Request) -> bool {
    entry.leaf
        && entry.stage == Stage::One
        && entry.covers(request.va)
        && entry.usable(request.cpu, context.tags)
}

/// With what is in the TLB, or by a walk.
fn now(state: &State, context: Context, request: Request, out: &mut Vec<Way>) {
    let cpu = request.cpu;
    let covers = |e: &Entry| answers(e, context, request);
    let ets = state.config.switches.on(Switch::Ets);
    let c = &state.cpus[cpu as usize];
    let binds = |time: Time| {
        let flush = c.flushes.iter().find(|f| f.time == time);
        ets || flush.is_none_or(|f| !f.own || f.synced)
    };
    let kept = c.dead.iter().filter(|(_, died)| !binds(*died)).map(|d| d.0);
    let mut found: Vec<Entry> = state.tlb(cpu).entries.clone();
    found.extend(kept);
    for entry in found.into_iter().filter(covers) {
        let way = through(state, &entry, request, None);
        out.push((state.clone(), way));
    }
    // Whatever the TLB holds, it may have been evicted by then.
    let floor = c.views.walk.max(c.views.flush).max(request.addr);
    for path in walks(state, context, request, floor, None) {
        let Path { state, walk, .. } = path;
        match path.last {
            Some(reading) => {
                if !ets || confirmed(&state, request, &path.replaced) {
                    out.push((state, Err(fault(&walk, reading))));
                }
            }
            // What was inserted is there now.
            None => {
                let entry = state.tlb(cpu).entries.iter().rfind(|e| covers(e)).copied();
                if let Some(entry) = entry {
                    let way = through(&state, &entry, request, None);
                    out.push((state, way));
                }
            }
        }
    }
}

/// Just before a TLBI of another CPU took effect here.
fn early(
    state: &State,
    context: Context,
    request: Request,
    flush: Flush,
    last: Time,
    out: &mut Vec<Way>,
) {
    let c = &state.cpus[request.cpu as usize];
    let ets = state.config.switches.on(Switch::Ets);
    let late = fault_bound(state, request) >= flush.time;
    // A fault is taken when nothing before it is in doubt: with FEAT_ETS it is as late as
    // what the instruction depends on.
    let may_fault = !(ets && late);
    let mut push = |way: Result<Target, Fault>| {
        let fits = match &way {
            // A store reaches memory after this moment, so it was not complete before.
            Ok(target) => !request.write && target.view < flush.time,
            Err(fault) => may_fault && fault.view < flush.time,
        };
        if fits {
            out.push((state.clone(), way));
        }
    };
    for (entry, died) in &c.dead {
        if *died == flush.time && answers(entry, context, request) {
            push(through(state, entry, request, Some(flush.time)));
        }
    }
    let floor = c.views.walk.max(last).max(request.addr);
    for path in walks(state, context, request, floor, Some(flush.time)) {
        match path.last {
            Some(reading) => {
                if !ets || confirmed(state, request, &path.replaced) {
                    push(Err(fault(&path.walk, reading)));
                }
            }
            None => {
                let tlb = path.state.tlb(request.cpu);
                let covers = |e: &&Entry| answers(e, context, request);
                if let Some(entry) = tlb.entries.iter().rfind(covers) {
                    push(through(state, entry, request, Some(flush.time)));
                }
            }
        }
    }
}

/// What a fault of this access is not earlier than, with FEAT_ETS.
fn fault_bound(state: &State, request: Request) -> Time {
    let views = &state.cpus[request.cpu as usize].views;
    let control = views.control.max(request.data);
    views.load.max(request.addr).max(control)
}

/// FEAT_ETS: what a fault has read was still there when all that its access is ordered behind
/// was done (tests MP.RTf.inv+dmbs, MP.RTf.inv+dmb+data). A load is not ordered behind a branch.
fn confirmed(state: &State, request: Request, replaced: &[Option<Time>]) -> bool {
    let views = &state.cpus[request.cpu as usize].views;
    let mut bound = views.load.max(request.addr);
    if request.write {
        bound = bound.max(views.control).max(request.data);
    }
    replaced.iter().flatten().all(|time| *time > bound)
}

fn fault(walk: &Walk, reading: Reading) -> Fault {
    Fault {
        stage: reading.stage,
        level: reading.level,
        permission: false,
        input: reading.input,
        view: walk.after,
    }
}

/// Through an entry, if it permits that.
fn through(
    state: &State,
    entry: &Entry,
    request: Request,
    before: Option<Time>,
) -> Result<Target, Fault> {
    // With two stages, tests have no page that EL0 may not use, and the entry is of stage 2.
    let staged = state.cpus[request.cpu as usize].regs.hcr != 0;
    let el0 = !request.user || staged || entry.desc.0 & AP_EL0 != 0;
    if request.write && !entry.writable || !el0 {
        return Err(Fault {
            stage: Stage::One,
            level: entry.level,
            permission: true,
            input: request.va,
            view: entry.time,
        });
    }
    let pa = entry.pa + (request.va - entry.va);
    let word = state.mem.word_at(pa);
    Ok(Target {
        // What a wild descriptor leads to is the unused first word of frame 0.
        word: word.unwrap_or(crate::mem::VARS as Word),
        view: entry.time,
        before,
        entry: *entry,
    })
}

/// Every walk: at each read, any value from `floor` on (and stored before `before`).
fn walks(
    state: &State,
    context: Context,
    request: Request,
    floor: Time,
    before: Option<Time>,
) -> Vec<Path> {
    let access = if request.write {
        Access::Write
    } else {
        Access::Read
    };
    let mut open = vec![Path {
        state: state.clone(),
        walk: Walk::begin(state, request.cpu, context, request.va, Some(access)),
        replaced: Vec::new(),
        last: None,
    }];
    let mut done = Vec::new();
    while let Some(path) = open.pop() {
        let Some(reading) = path.walk.reading() else {
            let mut path = path;
            path.last = None;
            path.walk.step(&mut path.state, request.cpu);
            done.push(path);
            continue;
        };
        for (back, replaced) in values(&path, reading, floor, before) {
            let mut next = path.clone();
            let views = &mut next.state.cpus[request.cpu as usize].views;
            // The machine's own lower bounds are for walks that enter the TLB now.
            let (walk, flush) = (views.walk, views.flush);
            (views.walk, views.flush, views.stale_walk) = (0, 0, back);
            let progress = next.walk.step(&mut next.state, request.cpu);
            let views = &mut next.state.cpus[request.cpu as usize].views;
            (views.walk, views.flush, views.stale_walk) = (walk, flush, 0);
            next.replaced.push(replaced);
            next.last = Some(reading);
            if matches!(progress, Progress::Fault(_)) {
                done.push(next);
            } else {
                open.push(next);
            }
        }
    }
    done
}

/// The values that a walk may read: how old each is, and when it was replaced.
fn values(
    path: &Path,
    reading: Reading,
    floor: Time,
    before: Option<Time>,
) -> Vec<(u8, Option<Time>)> {
    let state = &path.state;
    let Some(word) = state.mem.word_at(reading.pa) else {
        return vec![(0, None)];
    };
    let floor = floor.max(path.walk.after);
    let mut replaced = None;
    let mut out = Vec::new();
    for (back, (_, time)) in (0..).zip(state.history.values(word, state.mem.get(word), floor)) {
        if before.is_none_or(|b| time < b) {
            out.push((back, replaced));
        }
        replaced = Some(time);
    }
    out
}
