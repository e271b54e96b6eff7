// SPDX-License-Identifier: MIT OR Apache-2.0
//! Smaller forms of scenarios and of parts of them, which may or may not come to the same.

use crate::scenario::{MAX_STEPS, Scenario, Slot, Stop};

/// Takes away a CPU that has no slots any more, with what is left of its program.
pub fn without_cpu(scenario: &mut Scenario, cpu: u8) {
    scenario.machine.cpus -= 1;
    scenario.programs.remove(cpu as usize);
    for slot in &mut scenario.schedule {
        let of = slot.cpu_mut();
        *of -= u8::from(*of > cpu);
    }
}

/// Shorter forms of a stretch of turns that are counted: the turns of each CPU in one, in the
/// order in which the CPUs come or the reverse, and what the hardware does after the first of
/// them or after all.
pub fn in_one_go(stretch: &[Slot]) -> Vec<Vec<Slot>> {
    let mut turns: Vec<(u8, u16)> = Vec::new();
    let mut acts: Vec<Slot> = Vec::new();
    for slot in stretch {
        match slot {
            Slot::Run {
                cpu,
                stop: Stop::Steps(steps),
            } => match turns.iter_mut().find(|turn| turn.0 == *cpu) {
                Some(turn) => turn.1 = turn.1.saturating_add(*steps).min(MAX_STEPS),
                None => turns.push((*cpu, *steps)),
            },
            Slot::Run { .. } => return Vec::new(),
            act => acts.push(act.clone()),
        }
    }
    if turns.len() + acts.len() >= stretch.len() {
        return Vec::new();
    }
    let run = |&(cpu, steps): &(u8, u16)| Slot::Run {
        cpu,
        stop: Stop::Steps(steps),
    };
    let forth: Vec<Slot> = turns.iter().map(run).collect();
    let back: Vec<Slot> = turns.iter().rev().map(run).collect();
    let mut all = Vec::new();
    for order in [forth, back] {
        for place in [1, order.len()] {
            let mut slots = order.clone();
            slots.splice(place..place, acts.iter().cloned());
            all.push(slots);
        }
    }
    all.dedup();
    all
}

pub fn used_spaces(s: &Scenario) -> u8 {
    let used = s.programs.iter().flatten().filter_map(|op| op.space());
    used.map(|space| space.0 + 1).max().unwrap_or(1)
}

/// Joins neighbouring turns of one CPU.
pub fn tidy(schedule: &mut Vec<Slot>) {
    schedule.dedup_by(|next, slot| match (next, slot) {
        (
            Slot::Run {
                cpu: b,
                stop: Stop::Steps(more),
            },
            Slot::Run {
                cpu: a,
                stop: Stop::Steps(steps),
            },
        ) if a == b && *steps + *more <= MAX_STEPS => {
            *steps += *more;
            true
        }
        _ => false,
    });
}
