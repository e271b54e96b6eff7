// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mutations of schedules.

use super::super::generate::{Swarm, any, percent};
use super::super::words::Word;
use super::super::{MAX_SLOTS, MAX_STALE, Scenario, Slot, Stop};
use fastrand::Rng;
use shootdown_machine::OpSet;

pub(super) fn insert_slot(s: &mut Scenario, rng: &mut Rng, ops: OpSet) -> bool {
    if s.schedule.len() >= MAX_SLOTS {
        return false;
    }
    let swarm = Swarm::like(rng, s, ops);
    let at = rng.usize(..=s.schedule.len());
    let slot = swarm.slot(rng, s.schedule[..at].last());
    s.schedule.insert(at, slot);
    true
}

/// The index of a slot.
fn slot(s: &Scenario, rng: &mut Rng) -> Option<usize> {
    (!s.schedule.is_empty()).then(|| rng.usize(..s.schedule.len()))
}

pub(super) fn remove_slot(s: &mut Scenario, rng: &mut Rng, _: OpSet) -> bool {
    let Some(at) = slot(s, rng) else { return false };
    s.schedule.remove(at);
    true
}

pub(super) fn duplicate_slot(s: &mut Scenario, rng: &mut Rng, _: OpSet) -> bool {
    let Some(at) = slot(s, rng) else { return false };
    if s.schedule.len() >= MAX_SLOTS {
        return false;
    }
    let copy = s.schedule[at].clone();
    let to = rng.usize(..=s.schedule.len());
    s.schedule.insert(to, copy);
    true
}

pub(super) fn swap_slots(s: &mut Scenario, rng: &mut Rng, _: OpSet) -> bool {
    let (Some(a), Some(b)) = (slot(s, rng), slot(s, rng)) else {
        return false;
    };
    // Neighbours change places most often: the smallest change of an order.
    let b = if percent(rng, 60) {
        (a + 1) % s.schedule.len()
    } else {
        b
    };
    s.schedule.swap(a, b);
    s.schedule[a] != s.schedule[b]
}

pub(super) fn tweak_slot(s: &mut Scenario, rng: &mut Rng, ops: OpSet) -> bool {
    let swarm = Swarm::like(rng, s, ops);
    let Some(at) = slot(s, rng) else { return false };
    let cpus = s.machine.cpus;
    let before = s.schedule[at].clone();
    let slot = &mut s.schedule[at];
    if percent(rng, 40) {
        let cpu = slot.cpu_mut();
        *cpu = (*cpu + 1) % cpus;
        return *slot != before;
    }
    match slot {
        Slot::Run {
            stop: Stop::Until { nth, .. },
            ..
        } => *nth = rng.u16(1..=nth.saturating_add(2)),
        Slot::Run { stop, .. } => *stop = Stop::Steps(swarm.steps(rng)),
        Slot::Walk { va, old, steps, .. } => match rng.u32(..4) {
            0 => *old = !*old,
            1 if steps.is_some() => *steps = None,
            1 => *steps = Some(rng.u8(1..=4)),
            _ => *va = swarm.va(rng),
        },
        Slot::Evict { va, .. } => *va = rng.bool().then(|| swarm.va(rng)),
        Slot::Resolve { pick, .. } => *pick = any(rng, Word::ALL),
        Slot::Deliver { last, .. } | Slot::Drain { last, .. } => *last = !*last,
        Slot::Stale { by, .. } => *by = rng.u8(1..=MAX_STALE.min(*by + 2)),
        Slot::Preempt { cpu } => *slot = Slot::Resume { cpu: *cpu },
        Slot::Resume { cpu } => *slot = Slot::Preempt { cpu: *cpu },
        Slot::Ipi { .. } => {}
    }
    s.schedule[at] != before
}

pub(super) fn split_run(s: &mut Scenario, rng: &mut Rng, ops: OpSet) -> bool {
    let Some(at) = run(s, rng, 2) else {
        return false;
    };
    if s.schedule.len() + 2 > MAX_SLOTS {
        return false;
    }
    let swarm = Swarm::like(rng, s, ops);
    let Slot::Run {
        cpu,
        stop: Stop::Steps(steps),
    } = s.schedule[at]
    else {
        return false;
    };
    let first = rng.u16(1..steps);
    s.schedule[at] = Slot::Run {
        cpu,
        stop: Stop::Steps(first),
    };
    let second = Slot::Run {
        cpu,
        stop: Stop::Steps(steps - first),
    };
    s.schedule.insert(at + 1, second);
    // A pause is only seen if something happens in it.
    let between = swarm.slot(rng, s.schedule.get(at));
    s.schedule.insert(at + 1, between);
    true
}

/// The index of a slot of at least so many steps: a random one, or the next after it.
fn run(s: &Scenario, rng: &mut Rng, least: u16) -> Option<usize> {
    let from = slot(s, rng)?;
    let fits = |at: &usize| matches!(&s.schedule[*at], Slot::Run { stop: Stop::Steps(n), .. } if *n >= least);
    (from..s.schedule.len()).chain(0..from).find(fits)
}

/// The counts of a random slot that has one.
fn steps<'a>(s: &'a mut Scenario, rng: &mut Rng) -> Option<&'a mut u16> {
    let at = run(s, rng, 1)?;
    match &mut s.schedule[at] {
        Slot::Run {
            stop: Stop::Steps(steps),
            ..
        } => Some(steps),
        _ => None,
    }
}

pub(super) fn nudge_count(s: &mut Scenario, rng: &mut Rng, _: OpSet) -> bool {
    let Some(steps) = steps(s, rng) else {
        return false;
    };
    let before = *steps;
    let delta = rng.u16(1..=3);
    *steps = if rng.bool() {
        *steps + delta
    } else {
        steps.saturating_sub(delta).max(1)
    };
    *steps != before
}

pub(super) fn change_count(s: &mut Scenario, rng: &mut Rng, _: OpSet) -> bool {
    let Some(steps) = steps(s, rng) else {
        return false;
    };
    let before = *steps;
    *steps = match rng.u32(..4) {
        0 => steps.saturating_mul(2),
        1 => steps.div_ceil(2),
        2 => rng.u16(1..=100),
        _ => steps.saturating_add(rng.u16(10..=60)),
    };
    *steps != before
}

pub(super) fn truncate_schedule(s: &mut Scenario, rng: &mut Rng, _: OpSet) -> bool {
    let Some(at) = slot(s, rng) else { return false };
    s.schedule.truncate(at);
    true
}

pub(super) fn regrow_schedule(s: &mut Scenario, rng: &mut Rng, ops: OpSet) -> bool {
    let swarm = Swarm::like(rng, s, ops);
    s.schedule.truncate(rng.usize(..=s.schedule.len()));
    let room = MAX_SLOTS - s.schedule.len();
    let new = swarm.schedule(rng);
    s.schedule
        .extend(new.into_iter().take(rng.usize(1..=30).min(room)));
    true
}
