// SPDX-License-Identifier: MIT OR Apache-2.0
//! From scenario to text. Written by hand, since the fuzzer prints as often as it
//! runs and `core::fmt` would take most of that time.

use super::words::{KEYS, Word};
use super::{COLUMNS, Choice, Expect, Scenario, Slot, Stop};
use core::fmt;
use shootdown_machine::arm64::Granule;
use shootdown_machine::{Access, Op, Va};

/// The canonical text of a valid scenario.
pub fn print(scenario: &Scenario) -> String {
    let mut out = Vec::with_capacity(768);
    print_into(scenario, &mut out);
    String::from_utf8(out).unwrap_or_default() // whole strings and ASCII are UTF-8
}

/// Appends the canonical text of a valid scenario.
pub fn print_into(scenario: &Scenario, out: &mut Vec<u8>) {
    out.extend_from_slice(b"scenario 1\n");
    if !scenario.variants.is_empty() {
        let mut line = Line::begin(out, b"variants", b"");
        for by in &scenario.variants {
            line.item(|out| choice(out, by));
        }
        line.end();
    }
    machine(scenario, out);
    for (cpu, program) in scenario.programs.iter().enumerate() {
        if program.is_empty() {
            continue;
        }
        let label = [b'c', b'p', b'u', b'0' + cpu as u8, b':'];
        let mut line = Line::begin(out, &label, b";");
        for operation in program {
            line.item(|out| op(out, *operation));
        }
        line.end();
    }
    if !scenario.schedule.is_empty() {
        let mut line = Line::begin(out, b"schedule:", b",");
        for entry in &scenario.schedule {
            line.item(|out| slot(out, entry));
        }
        line.end();
    }
    match &scenario.expect {
        None => {}
        Some(Expect::Pass) => out.extend_from_slice(b"expect: pass\n"),
        Some(Expect::Breach { rule, by }) => {
            out.extend_from_slice(b"expect: breach ");
            out.extend_from_slice(rule.as_bytes());
            out.extend_from_slice(b" in ");
            choice(out, by);
            out.push(b'\n');
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print(self))
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        slot(&mut text, self);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

/// A line of items, continued on another one with the same label when it is full.
struct Line<'a> {
    out: &'a mut Vec<u8>,
    label: &'a [u8],
    delimiter: &'static [u8],
    start: usize,
    empty: bool,
}

impl<'a> Line<'a> {
    fn begin(out: &'a mut Vec<u8>, label: &'a [u8], delimiter: &'static [u8]) -> Self {
        let start = out.len();
        out.extend_from_slice(label);
        Line {
            out,
            label,
            delimiter,
            start,
            empty: true,
        }
    }

    fn item(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let end = self.out.len();
        if !self.empty {
            self.out.extend_from_slice(self.delimiter);
        }
        self.out.push(b' ');
        let item = self.out.len();
        write(self.out);
        if self.out.len() - self.start > COLUMNS && !self.empty {
            self.carry(end, item);
        }
        self.empty = false;
    }

    /// Moves the item to a line of its own. Rare enough to be done by moving bytes.
    #[cold]
    fn carry(&mut self, end: usize, item: usize) {
        let mut lead = [0; 16];
        let len = self.label.len() + 2;
        lead[0] = b'\n';
        lead[1..len - 1].copy_from_slice(self.label);
        lead[len - 1] = b' ';
        self.out.splice(end..item, lead[..len].iter().copied());
        self.start = end + 1;
    }

    fn end(self) {
        self.out.push(b'\n');
    }
}

fn machine(scenario: &Scenario, out: &mut Vec<u8>) {
    let machine = &scenario.machine;
    let mut line = Line::begin(out, b"machine", b"");
    for (index, key) in KEYS.iter().enumerate() {
        if index == 7 && machine.granule == Granule::default() {
            continue; // it matters to few
        }
        let word = match index {
            3 => machine.memory.word(),
            4 => machine.domain.word(),
            5 => machine.bbm.word(),
            7 => machine.granule.word(),
            _ => "",
        };
        line.item(|out| {
            out.extend_from_slice(key.as_bytes());
            out.push(b'=');
            out.extend_from_slice(word.as_bytes());
            match index {
                0 => decimal(out, machine.cpus.into()),
                1 => decimal(out, machine.spaces.into()),
                2 => decimal(out, machine.tags.into()),
                6 => decimal(out, machine.levels.into()),
                _ => {}
            }
        });
    }
    for switch in machine.switches.iter() {
        line.item(|out| {
            out.extend_from_slice(switch.word().as_bytes());
            out.extend_from_slice(b"=on");
        });
    }
    line.end();
}

fn choice(out: &mut Vec<u8>, choice: &Choice) {
    out.extend_from_slice(choice.variant.as_bytes());
    if let Some(defect) = &choice.defect {
        out.push(b'/');
        out.extend_from_slice(defect.as_bytes());
    }
}

fn op(out: &mut Vec<u8>, op: Op) {
    out.extend_from_slice(op.kind().name().as_bytes());
    for space in [op.space(), op.other_space()].into_iter().flatten() {
        out.extend_from_slice(&[b' ', b'A' + space.0]);
    }
    for va in [op.va(), op.to()].into_iter().flatten() {
        address(out, va);
    }
    match op {
        Op::Protect(_, _, prot) => {
            out.push(b' ');
            out.extend_from_slice(prot.word().as_bytes());
        }
        Op::Touch(_, Access::Write) => out.extend_from_slice(b" write"),
        _ => {}
    }
}

fn slot(out: &mut Vec<u8>, slot: &Slot) {
    let word = match slot {
        Slot::Run { .. } => "",
        Slot::Walk { .. } => "walk ",
        Slot::Evict { .. } => "evict ",
        Slot::Deliver { .. } => "deliver ",
        Slot::Ipi { .. } => "ipi ",
        Slot::Resolve { .. } => "resolve ",
        Slot::Drain { .. } => "drain ",
        Slot::Stale { .. } => "stale ",
        Slot::Preempt { .. } => "preempt ",
        Slot::Resume { .. } => "resume ",
    };
    out.extend_from_slice(word.as_bytes());
    out.extend_from_slice(&[b'c', b'p', b'u', b'0' + slot.cpu()]);
    match slot {
        Slot::Run { stop, .. } => stop_at(out, stop),
        Slot::Walk { va, old, steps, .. } => {
            address(out, *va);
            if *old {
                out.extend_from_slice(b" old");
            }
            if let Some(steps) = steps {
                times(out, (*steps).into());
            }
        }
        Slot::Evict { va: Some(va), .. } => address(out, *va),
        Slot::Deliver { last: true, .. } | Slot::Drain { last: true, .. } => {
            out.extend_from_slice(b" last");
        }
        Slot::Stale { by: by @ 2.., .. } => times(out, (*by).into()),
        Slot::Evict { va: None, .. }
        | Slot::Deliver { .. }
        | Slot::Ipi { .. }
        | Slot::Drain { .. }
        | Slot::Stale { .. }
        | Slot::Preempt { .. }
        | Slot::Resume { .. } => {}
        Slot::Resolve { pick, .. } => {
            out.push(b' ');
            out.extend_from_slice(pick.word().as_bytes());
        }
    }
}

fn stop_at(out: &mut Vec<u8>, stop: &Stop) {
    match stop {
        Stop::Steps(1) => {}
        Stop::Steps(steps) => times(out, *steps),
        Stop::Until { name, nth } => {
            out.extend_from_slice(b" until ");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b" #");
            decimal(out, *nth);
        }
    }
}

fn times(out: &mut Vec<u8>, count: u16) {
    out.extend_from_slice(b" x");
    decimal(out, count);
}

fn decimal(out: &mut Vec<u8>, value: u16) {
    let mut digits = [0; 5];
    let mut at = digits.len();
    let mut rest = value;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// A blank and a page address.
fn address(out: &mut Vec<u8>, va: Va) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b" 0x");
    let nibbles = (u64::BITS - va.leading_zeros()).div_ceil(4).max(1);
    for n in (0..nibbles).rev() {
        out.push(HEX[(va >> (4 * n)) as usize & 15]);
    }
}
