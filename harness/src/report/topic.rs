// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a finding is about: the entry at its root, the spaces and the tags concerned.

use super::run::Run;
use crate::names::{self, Role};
use shootdown_machine::{Entry, Event, Life, Op, Space, Va};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// The subject of a report.
pub struct Topic {
    /// The entry that should not have been there, or not any more.
    pub entry: Option<Entry>,
    /// Entries made with its help, oldest first; the last is the one that the rule names.
    pub derived: Vec<Entry>,
    /// Who uses it.
    pub user: Option<Life>,
    /// Spaces concerned.
    pub spaces: Vec<Space>,
    /// Tag numbers concerned.
    pub tags: Vec<u16>,
    /// The allocator of tags matters: two spaces came to one tag, or one to two.
    pub tagging: bool,
    /// The address.
    pub va: Option<Va>,
    /// The CPU.
    pub cpu: Option<u8>,
    /// Events that a history tells: the interleaving must not leave them out.
    pub key: RefCell<BTreeSet<usize>>,
}

impl Topic {
    /// Of a run.
    pub fn of(run: &Run<'_>) -> Topic {
        let breach = &run.finding.breach;
        let mut topic = Topic {
            entry: None,
            derived: Vec::new(),
            user: None,
            spaces: Vec::new(),
            tags: Vec::new(),
            tagging: false,
            va: breach.va,
            cpu: breach.cpu,
            key: RefCell::default(),
        };
        let mut entry = breach
            .entry
            .map(|e| misplaced(run, e))
            .or_else(|| begun_from(run));
        while let Some(e) = entry {
            topic.derived.insert(0, e);
            entry = run
                .fill(e.id)
                .and_then(|(at, cpu, demand)| origin(run, at, cpu, &e, demand));
        }
        if !topic.derived.is_empty() {
            topic.entry = Some(topic.derived.remove(0));
        }
        topic.user = user(run, &topic);
        match topic.entry {
            Some(e) => topic.about_entry(&e),
            None => topic.about_rule(run),
        }
        topic.spaces.sort();
        topic.spaces.dedup();
        topic.tags.sort_unstable();
        topic.tags.dedup();
        topic
    }

    /// Of a run of which everything is of interest.
    pub fn everything(run: &Run<'_>) -> Topic {
        Topic {
            spaces: (0..run.state.config.spaces).map(Space).collect(),
            entry: None,
            derived: Vec::new(),
            user: None,
            tags: Vec::new(),
            tagging: false,
            va: None,
            cpu: None,
            key: RefCell::default(),
        }
    }

    fn about_entry(&mut self, e: &Entry) {
        self.spaces
            .extend(e.owner.iter().chain(&self.user).map(|l| l.space));
        self.tagging = self.user.is_some() && self.user != e.owner;
        if self.tagging {
            self.tags.push(if e.vmid != 0 { e.vmid } else { e.asid });
        }
    }

    /// Without an entry: what runs on the CPUs, and what the operation works on.
    fn about_rule(&mut self, run: &Run<'_>) {
        let rule = run.finding.rule.name;
        self.tagging =
            rule.contains("ASID") || rule.contains("VMID") || rule == "allocator-exhaustion";
        if self.tagging {
            let contexts = contexts(run);
            for (a, x, tag) in &contexts {
                let clash = |(b, y, other): &(u8, Life, u16)| {
                    a != b
                        && if rule.starts_with("Same") {
                            x == y
                        } else {
                            x != y && tag == other
                        }
                };
                if contexts.iter().any(clash) {
                    self.spaces.push(x.space);
                    self.tags.push(*tag);
                }
            }
        }
        let last = run.trace.len().saturating_sub(1);
        if let Some(cpu) = self.cpu
            && self.spaces.is_empty()
        {
            let op = run.span(cpu, last).map(|s| s.op);
            self.spaces.extend(op.and_then(Op::space));
            if let Some(Op::Touch(..)) | None = op {
                self.spaces
                    .extend(run.facts.cpus[cpu as usize].life.map(|l| l.space));
            }
        }
    }

    /// Marks an event as told.
    pub fn tell(&self, at: usize) {
        self.key.borrow_mut().insert(at);
    }

    /// Whether an event is told.
    pub fn told(&self, at: usize) -> bool {
        self.key.borrow().contains(&at)
    }

    /// Whether a stored id is one of those concerned.
    pub fn has_tag(&self, name: &str, value: u64) -> bool {
        let id = matches!(names::role(name), Role::Active | Role::Reserved | Role::Id);
        id && value != 0 && self.tags.contains(&names::id(name, value).1)
    }
}

/// The CPUs that have a space's tables loaded, with the number of the tag.
pub fn contexts(run: &Run<'_>) -> Vec<(u8, Life, u16)> {
    let of = |cpu: u8| {
        let ctx = run.state.context(cpu, false)?;
        let tag = if ctx.tags.vmid != 0 {
            ctx.tags.vmid
        } else {
            ctx.tags.asid
        };
        Some((cpu, run.state.context_owner(&ctx)?, tag))
    };
    (0..run.state.config.cpus).filter_map(of).collect()
}

/// Of two entries of different spaces under one tag, the one of a space that does not run
/// under it: the rule names either.
fn misplaced(run: &Run<'_>, e: Entry) -> Entry {
    let tag = if e.vmid != 0 { e.vmid } else { e.asid };
    let at_home = contexts(run)
        .iter()
        .any(|(_, life, t)| Some(*life) == e.owner && *t == tag);
    if !run.finding.rule.name.starts_with("Unique") || !at_home {
        return e;
    }
    let other = |o: &&Entry| {
        o.owner.is_some() && o.owner != e.owner && o.vmid == e.vmid && o.asid == e.asid
    };
    run.state
        .tlb(e.cpu)
        .entries
        .iter()
        .find(other)
        .copied()
        .unwrap_or(e)
}

/// Who comes to use the entry.
fn user(run: &Run<'_>, topic: &Topic) -> Option<Life> {
    let entry = topic.entry?;
    let cpu = run.finding.breach.cpu?;
    let running = run.facts.cpus[cpu as usize].life;
    // Two entries under one tag: the other one's owner.
    if run.finding.rule.name.starts_with("Unique") {
        let mut others = run.state.tlb(cpu).entries.iter();
        let other = others.find(|o| {
            o.owner.is_some()
                && o.owner != entry.owner
                && o.vmid == entry.vmid
                && o.asid == entry.asid
        });
        return other.and_then(|o| o.owner).or(running);
    }
    running
}

/// For a finding about a walk's read: the walk-cache entry that it began from.
fn begun_from(run: &Run<'_>) -> Option<Entry> {
    let step = run.finding.step;
    if run.finding.rule.name != "no-walk-of-freed-table" {
        return None;
    }
    let at = run
        .trace
        .iter()
        .rposition(|(s, e)| *s == step && matches!(e, Event::WalkRead { .. }))?;
    cached(run, at)
}

/// The walk-cache entry from which the walk began that made an entry.
fn origin(run: &Run<'_>, fill: usize, cpu: u8, e: &Entry, demand: bool) -> Option<Entry> {
    cached(run, read(run, fill, cpu, e, demand)?)
}

/// When the descriptor of an entry was read by the walk that made it.
pub fn read(run: &Run<'_>, fill: usize, cpu: u8, e: &Entry, demand: bool) -> Option<usize> {
    (0..fill).rev().find(|i| {
        matches!(run.trace[*i].1, Event::WalkRead { cpu: c, desc_pa, demand: d, .. }
            if c == cpu && desc_pa == e.desc_pa && d == demand)
    })
}

/// The walk-cache entry that led a walk to the table it reads at an event, if it did not
/// come by there on its own.
fn cached(run: &Run<'_>, at: usize) -> Option<Entry> {
    let Event::WalkRead {
        cpu,
        va,
        stage,
        level,
        desc_pa,
        demand,
        ..
    } = *run.event(at)
    else {
        return None;
    };
    if level == run.tables.first_level() {
        return None;
    }
    let table = desc_pa / shootdown_machine::PAGE * shootdown_machine::PAGE;
    for i in (0..at).rev() {
        match *run.event(i) {
            Event::WalkRead {
                cpu: c,
                va: v,
                stage: s,
                level: l,
                desc,
                demand: d,
                ..
            } if c == cpu && d == demand && s == stage => {
                if v == va && l + 1 == level && run.state.decode(l, desc).pa() == Some(table) {
                    return None; // read on the way, by the same walk
                }
                break;
            }
            _ => {}
        }
    }
    (0..at).rev().find_map(|i| match *run.event(i) {
        Event::Fill { entry, .. }
            if !entry.leaf
                && entry.level + 1 == level
                && entry.pa == table
                && entry.stage == stage
                && run.holders(&entry).contains(&cpu) =>
        {
            Some(entry)
        }
        _ => None,
    })
}
