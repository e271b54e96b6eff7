// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine at a step, and what happens to one thing, as text.

use super::{Change, Entry, Kind, Line, Story};
use crate::report::text::{ascii, hang, heading, paragraph};
use std::collections::BTreeMap;

/// What to watch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Watch {
    /// A page, by its address.
    Va(u64),
    /// A tag: an ASID, VMID or PCID.
    Tag(u16),
    /// A CPU.
    Cpu(u8),
}

impl Watch {
    /// From `va=0x1000`, `asid=1` (or `vmid=1`, `pcid=1`) or `cpu=0`.
    ///
    /// # Errors
    /// A sentence, if it is none of these.
    pub fn parse(text: &str) -> Result<Watch, String> {
        let other =
            || format!("expected va=0x..., asid=N, vmid=N, pcid=N or cpu=N, not \"{text}\"");
        let (key, value) = text.split_once('=').ok_or_else(other)?;
        let number = match value.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16),
            None => value.parse(),
        };
        let number = number.map_err(|_| other())?;
        match key {
            "va" => Ok(Watch::Va(number)),
            "asid" | "vmid" | "pcid" => number.try_into().map(Watch::Tag).map_err(|_| other()),
            "cpu" => number.try_into().map(Watch::Cpu).map_err(|_| other()),
            _ => Err(other()),
        }
    }

    /// Whether a text speaks of it.
    fn named(&self, text: &str) -> bool {
        let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
        match self {
            Watch::Va(va) => words.any(|word| word == format!("{va:#x}")),
            Watch::Tag(tag) => {
                let words: Vec<&str> = words.collect();
                let tags = |two: &[&str]| {
                    matches!(two[0], "asid" | "vmid" | "pcid") && two[1] == tag.to_string()
                };
                words.windows(2).any(tags)
            }
            Watch::Cpu(_) => false,
        }
    }

    fn line(&self, line: &Line) -> bool {
        match self {
            Watch::Cpu(cpu) => line.cpu == Some(*cpu),
            _ => {
                let operation = line
                    .operation
                    .as_deref()
                    .filter(|_| line.kind == Kind::Begin);
                [&line.head, &line.detail]
                    .into_iter()
                    .any(|text| self.named(text))
                    || operation.is_some_and(|text| self.named(text))
            }
        }
    }

    fn entry(&self, entry: &Entry) -> bool {
        match self {
            Watch::Cpu(cpu) => entry.cpu == *cpu,
            Watch::Tag(_) => self.named(&entry.tag),
            Watch::Va(va) => {
                let [first, size] = [&entry.va, &entry.size].map(|hex| number(hex));
                (first..first.saturating_add(size)).contains(va)
            }
        }
    }
}

fn name(story: &Story) -> String {
    match &story.defect {
        None => story.variant.name.clone(),
        Some(defect) => format!("{}/{}", story.variant.name, defect.name),
    }
}

fn number(hex: &str) -> u64 {
    u64::from_str_radix(hex.trim_start_matches("0x"), 16).unwrap_or(u64::MAX)
}

fn whole(line: &Line) -> String {
    let site = line.site.as_ref().map_or(String::new(), |site| {
        let file = site.file.rsplit(['/', '\\']).next().unwrap_or(&site.file);
        format!(" ({file}:{})", site.line)
    });
    let cpu = line.cpu.map_or(String::new(), |cpu| format!("cpu{cpu} "));
    let what = format!("{cpu}{} {}", line.head, line.detail);
    format!("{}{site}", what.trim_end())
}

fn entry(entry: &Entry) -> String {
    let kind = if entry.leaf { "" } else { ", walk cache" };
    let (cpu, tag, va) = (entry.cpu, &entry.tag, &entry.va);
    format!(
        "cpu{cpu}  {tag}, {va} size {}{kind}: {}",
        entry.size, entry.target
    )
}

/// Everything that happens to one thing.
pub fn watch(story: &Story, what: &Watch) -> String {
    let mut out = String::new();
    heading(&mut out, &format!("{}: what happens to it", name(story)));
    let mut mine: BTreeMap<u32, &Entry> = BTreeMap::new();
    let mut nothing = true;
    for step in &story.steps {
        let mut said: Vec<String> = Vec::new();
        let lines = step.lines.iter().filter(|line| what.line(line));
        said.extend(lines.map(whole));
        for change in &step.changes {
            match change {
                Change::Made { entry: e } if what.entry(e) => {
                    mine.insert(e.id, e);
                    said.push(format!("+ entry {}", entry(e)));
                }
                Change::Gone { id, why } => {
                    if let Some(e) = mine.remove(id) {
                        said.push(format!("- entry {} ({why})", entry(e)));
                    }
                }
                _ => {}
            }
        }
        for text in said {
            nothing = false;
            hang(&mut out, &format!("  step {:>4}  ", step.number), &text);
        }
    }
    if nothing {
        paragraph(&mut out, 2, "Nothing.");
    }
    ascii(&out)
}

/// The machine after a step.
#[derive(Default)]
struct At<'a> {
    entries: BTreeMap<u32, &'a Entry>,
    registers: BTreeMap<(u8, &'a str), String>,
    descriptors: BTreeMap<(&'a str, u8, u64, &'a str), &'a str>,
    variables: BTreeMap<&'a str, &'a str>,
    sent: BTreeMap<u32, (u8, &'a str, Vec<u8>)>,
}

impl<'a> At<'a> {
    fn change(&mut self, change: &'a Change) {
        match change {
            Change::Made { entry } => drop(self.entries.insert(entry.id, entry)),
            Change::Gone { id, .. } => drop(self.entries.remove(id)),
            Change::Register {
                cpu,
                name,
                value,
                synchronized,
                ..
            } => {
                let late = if *synchronized { "" } else { " (no ISB yet)" };
                self.registers
                    .insert((*cpu, name), format!("{value}{late}"));
            }
            Change::Descriptor {
                space,
                pa,
                va,
                level,
                value,
            } => {
                let place = (&**space, *level, number(va), &**pa);
                match value {
                    Some(value) => drop(self.descriptors.insert(place, value)),
                    None => drop(self.descriptors.remove(&place)),
                }
            }
            Change::Variable { name, value } => drop(self.variables.insert(name, value)),
            Change::Sent {
                number,
                cpu,
                tlbi,
                to,
            } => drop(self.sent.insert(*number, (*cpu, tlbi, to.clone()))),
            Change::Arrived { number, cpu } => {
                if let Some((_, _, to)) = self.sent.get_mut(number) {
                    to.retain(|c| c != cpu);
                }
            }
            Change::Runs { .. } => {}
        }
    }
}

/// What the CPUs do, and what registers, TLBs, tables and variables hold, after a step.
pub fn at(story: &Story, number: u32) -> String {
    let mut at = At::default();
    story.boot.iter().for_each(|change| at.change(change));
    let (past, to_come): (Vec<_>, Vec<_>) = story.steps.iter().partition(|s| s.number <= number);
    past.iter()
        .flat_map(|s| &s.changes)
        .for_each(|change| at.change(change));
    let mut out = String::new();
    heading(&mut out, &format!("{} after step {number}", name(story)));
    for line in past
        .iter()
        .filter(|s| s.number == number)
        .flat_map(|s| &s.lines)
    {
        hang(&mut out, "  this step  ", &whole(line));
    }
    for cpu in 0..story.machine.cpus {
        let mut later = to_come.iter().flat_map(|s| &s.lines);
        let next = later.find(|line| line.cpu == Some(cpu) && line.kind != Kind::Hardware);
        let next = next.map_or("nothing, before the run ends".into(), |line| {
            let of = line
                .operation
                .as_ref()
                .map_or(String::new(), |op| format!(", in \"{op}\""));
            format!("{}{of}", whole(line))
        });
        hang(&mut out, &format!("  cpu{cpu} next  "), &next);
    }
    let mut list = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            heading(&mut out, title);
            lines.iter().for_each(|line| hang(&mut out, "  ", line));
        }
    };
    let registers = at.registers.iter();
    list(
        "Registers",
        registers
            .map(|((cpu, name), v)| format!("cpu{cpu}  {name} = {v}"))
            .collect(),
    );
    list("TLBs", at.entries.values().map(|e| entry(e)).collect());
    let sent = at.sent.values().filter(|(_, _, to)| !to.is_empty());
    let on_its_way = |(from, tlbi, to): &(u8, &str, Vec<u8>)| {
        let to: Vec<String> = to.iter().map(|cpu| format!("cpu{cpu}")).collect();
        format!("{tlbi} from cpu{from}, not yet at {}", to.join(", "))
    };
    list("TLBIs on their way", sent.map(on_its_way).collect());
    let descriptors = at.descriptors.iter();
    let descriptor = |((space, level, va, _), value): (&(&str, u8, u64, &str), &&str)| {
        format!("{space} {va:#x} level {level}: {value}")
    };
    list("Page tables", descriptors.map(descriptor).collect());
    // What holds nothing is left out.
    let empty = |value: &str| matches!(value, "0" | "free" | "{}");
    let variables = at.variables.iter().filter(|(_, value)| !empty(value));
    list(
        "Variables and locks",
        variables.map(|(name, v)| format!("{name} = {v}")).collect(),
    );
    ascii(&out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_watch_is_read_or_refused() {
        assert_eq!(Watch::parse("va=0x1000"), Ok(Watch::Va(0x1000)));
        assert_eq!(Watch::parse("vmid=3"), Ok(Watch::Tag(3)));
        assert_eq!(Watch::parse("cpu=1"), Ok(Watch::Cpu(1)));
        for bad in ["", "va", "va=x", "cpu=300", "asid=70000", "frame=1"] {
            assert!(Watch::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_number_is_no_part_of_another() {
        assert!(Watch::Tag(1).named("tlbi vae1is 0x1000 asid 1 ttl 3"));
        assert!(!Watch::Tag(1).named("tlbi vae1is 0x1000 asid 12"));
        assert!(Watch::Va(0x1000).named("pte A 0x1000"));
        assert!(!Watch::Va(0x1000).named("pte A 0x10000"));
    }
}
