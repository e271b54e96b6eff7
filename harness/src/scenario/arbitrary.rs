// SPDX-License-Identifier: MIT OR Apache-2.0
//! Scenarios from any bytes, for fuzzers that know nothing of the text.
//!
//! Two bytes make an operation or a slot, so that a fuzzer that changes, inserts or
//! removes bytes changes one thing at a time. The machine comes first, then the
//! programs; the schedule is what is left.

use super::words::Word;
use super::{MAX_OPS, MAX_SLOTS, Scenario, Slot, Stop, parse_lenient};
use arbitrary::{Arbitrary, Result, Unstructured};
use shootdown_machine::arm64::Granule;
use shootdown_machine::{Access, Bbm, Config, Domain, Memory, Op, OpKind, Operands, PAGE, PAGES};
use shootdown_machine::{Pick, Prot, Space, Switches, Va};

/// A scenario from any bytes: the repaired text if they are one, else whatever
/// [`Arbitrary`] makes of them.
pub fn decode(bytes: &[u8]) -> Scenario {
    parse_lenient(bytes).unwrap_or_else(|| structured(&mut Unstructured::new(bytes)))
}

impl<'a> Arbitrary<'a> for Scenario {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(structured(u))
    }
}

/// The next byte; 0 when there are no more.
fn byte(u: &mut Unstructured<'_>) -> u8 {
    u.arbitrary().unwrap_or(0)
}

fn structured(u: &mut Unstructured<'_>) -> Scenario {
    let machine = machine(u);
    let programs = (0..machine.cpus).map(|_| program(u, &machine)).collect();
    let mut schedule = Vec::with_capacity((u.len() / 2).min(MAX_SLOTS));
    while !u.is_empty() && schedule.len() < MAX_SLOTS {
        schedule.push(slot(u, &machine));
    }
    let mut scenario = Scenario {
        machine,
        programs,
        schedule,
        ..Scenario::default()
    };
    scenario.repair();
    scenario
}

/// The value that a number stands for.
fn pick<T: Word>(number: u8) -> T {
    T::ALL[usize::from(number) % T::ALL.len()]
}

/// Switches stay off: a finding must be one that the architecture allows. All zeros
/// are the default machine.
fn machine(u: &mut Unstructured<'_>) -> Config {
    let (sizes, kinds) = (byte(u), byte(u));
    let cpus = [2, 2, 2, 2, 2, 3, 1, 4][usize::from(sizes & 7)];
    Config {
        cpus,
        spaces: [4, 5, 3, 2][usize::from(sizes >> 3 & 3)],
        tags: cpus + 2 + if sizes >> 5 == 7 { 2 } else { 0 },
        memory: match kinds >> 5 {
            0..4 => Memory::Sc,
            4..7 => Memory::Arm,
            _ => Memory::Tso,
        },
        domain: if kinds & 3 == 3 {
            Domain::Private
        } else {
            Domain::Smt
        },
        bbm: [Bbm::Level2, Bbm::NoAbort, Bbm::Level1, Bbm::Level0][usize::from(kinds >> 2 & 3)],
        levels: if kinds >> 4 & 1 == 1 { 3 } else { 2 },
        granule: match sizes >> 5 {
            5 => Granule::K16,
            6 => Granule::K64,
            _ => Granule::K4,
        },
        switches: Switches::default(),
        ..Config::default()
    }
    .clamp()
}

fn program(u: &mut Unstructured<'_>, machine: &Config) -> Vec<Op> {
    let wanted = usize::from(byte(u) & 15).min(MAX_OPS);
    let mut program = Vec::with_capacity(wanted);
    while program.len() < wanted && !u.is_empty() {
        program.push(op(u, machine));
    }
    program
}

/// Each of the pages, from four bits.
fn va(bits: u8) -> Va {
    Va::from(bits) % PAGES as Va * PAGE
}

fn op(u: &mut Unstructured<'_>, machine: &Config) -> Op {
    let (kind, place) = (byte(u), byte(u));
    let space = Space((place >> 4) % machine.spaces);
    let va = va(place);
    let flag = kind & 0x80 != 0;
    // Twice as many numbers mean a switch or a touch as anything else.
    let kind = match kind & 31 {
        n if usize::from(n) < OpKind::ALL.len() => pick::<OpKind>(n),
        n if n % 2 == 0 => OpKind::Switch,
        _ => OpKind::Touch,
    };
    kind.with(&Operands {
        space,
        other: Space((place & 15) % machine.spaces),
        va,
        to: self::va(place ^ place >> 4),
        prot: if flag { Prot::Rw } else { Prot::Ro },
        access: if flag { Access::Write } else { Access::Read },
    })
}

fn slot(u: &mut Unstructured<'_>, machine: &Config) -> Slot {
    let (kind, detail) = (byte(u), byte(u));
    let cpu = (kind >> 6) % machine.cpus;
    match kind & 15 {
        7..10 if kind & 0x20 != 0 && machine.memory.buffers() => Slot::Drain {
            cpu,
            last: detail & 1 != 0,
        },
        10 if kind & 0x20 != 0 && machine.memory.stale_reads() => Slot::Stale {
            cpu,
            by: if detail & 0x80 == 0 {
                1
            } else {
                (detail >> 4 & 7) + 2
            },
        },
        0..11 => Slot::Run {
            cpu,
            stop: Stop::Steps(u16::from(detail & 31) + 1),
        },
        11 | 12 => Slot::Walk {
            cpu,
            va: va(detail),
            old: kind & 0x10 != 0,
            steps: if detail & 0x80 == 0 {
                None
            } else {
                Some((detail >> 4 & 3) + 1)
            },
        },
        13 => Slot::Evict {
            cpu,
            va: if detail & 0x80 == 0 {
                Some(va(detail))
            } else {
                None
            },
        },
        14 => match detail {
            0xff => Slot::Ipi { cpu },
            0xfe => Slot::Preempt { cpu },
            0xfc | 0xfd => Slot::Resume { cpu },
            _ => Slot::Deliver {
                cpu,
                last: detail & 1 != 0,
            },
        },
        _ => Slot::Resolve {
            cpu,
            pick: pick::<Pick>(detail),
        },
    }
}
