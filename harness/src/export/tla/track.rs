// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a model's variables hold after each event of a run.

use super::model::Model;
use super::snap::{Pte, Snap};
use crate::export::Refusal;
use crate::export::before::{Before, site};
use crate::names::{after, change, full, value};
use shootdown_machine::arm64::{Desc, Reg, ttbr};
use shootdown_machine::{
    Act, Decoded, Drop, Entry, Event, Op, Outcome, Space, State, Va, Word, slot_pa,
};
use std::collections::BTreeMap;

/// The run so far.
pub struct Track<'a> {
    state: &'a State,
    model: &'a Model,
    /// The bits of a tag that mean the space.
    mask: u16,
    page: Option<Va>,
    words: Vec<u64>,
    descs: BTreeMap<u64, u64>,
    roots: Vec<u64>,
    entries: BTreeMap<u32, Entry>,
    /// The space whose tables each CPU has loaded, and the tag.
    loaded: Vec<(Option<u8>, u16)>,
    /// The space that each CPU runs.
    current: Vec<Option<u8>>,
    settled: Vec<bool>,
    /// The operation that each CPU is in.
    ops: Vec<Option<Op>>,
    /// CPUs in a fault handler.
    faulting: Vec<bool>,
    /// CPUs share entries.
    pub cnp: bool,
    /// What the last store to a variable was.
    said: String,
}

impl<'a> Track<'a> {
    pub fn new(
        state: &'a State,
        before: &Before,
        model: &'a Model,
        mask: u16,
        page: Option<Va>,
    ) -> Track<'a> {
        let cpus = state.config.cpus as usize;
        let descs = before.tables.iter().flat_map(|t| {
            let slots = (0..).zip(t.descs);
            slots.map(|(i, desc): (u64, u64)| (t.pa + i * 8, desc))
        });
        Track {
            state,
            model,
            mask,
            page,
            words: before.words.clone(),
            descs: descs.collect(),
            roots: before.roots.clone(),
            entries: BTreeMap::new(),
            loaded: vec![(None, 0); cpus],
            current: vec![None; cpus],
            settled: vec![true; cpus],
            ops: vec![None; cpus],
            faulting: vec![false; cpus],
            cnp: false,
            said: String::new(),
        }
    }

    /// Takes in an event. What is the same for events that are one to the model: a TLBI that
    /// removes several entries.
    pub fn event(&mut self, step: u32, event: &Event) -> Result<Option<(u8, u32)>, Refusal> {
        let buffers = self.state.config.memory.buffers();
        match *event {
            Event::Did {
                cpu, act, value, ..
            } => match act {
                Act::Store(word, new, _) if !buffers => self.set(word, new),
                Act::Rmw(word, rmw, _) => self.set(word, after(rmw, value)),
                Act::Lock(word) => self.set(word, cpu as u64 + 1),
                Act::Unlock(word) => self.set(word, 0),
                Act::Msr(reg, value) => self.register(cpu, reg, value),
                Act::EnterGuest => self.settled[cpu as usize] = true,
                Act::ExitGuest => self.settled[cpu as usize] = self.model.has_pte,
                _ => {}
            },
            Event::Drained { word, value, .. } => self.set(word, value),
            Event::Pte { pa, new, .. } | Event::Marked { pa, new, .. } => {
                self.descs.insert(pa, new.0);
            }
            Event::Fill { entry, .. } => {
                self.entries.insert(entry.id, entry);
            }
            Event::Dropped { cpu, entry, why } => {
                self.entries.remove(&entry);
                if let Drop::Tlbi(_, number) = why {
                    return Ok(Some((cpu, number)));
                }
            }
            Event::Begin { cpu, op, .. } => {
                self.ops[cpu as usize] = Some(op);
                self.settled[cpu as usize] &= self.model.has_pte;
            }
            Event::Accessed { cpu, outcome, .. } => {
                self.faulting[cpu as usize] = outcome != Outcome::Done;
            }
            Event::End { cpu, .. } => {
                self.ops[cpu as usize] = None;
                self.faulting[cpu as usize] = false;
                self.settled[cpu as usize] = true;
                self.put(cpu);
            }
            Event::Settled {
                cpu,
                space,
                switching,
            } => {
                self.settled[cpu as usize] = !switching;
                if !switching {
                    self.current[cpu as usize] = space.map(|life| life.space.0);
                    self.put(cpu);
                }
            }
            Event::Root { space, .. } => {
                return Err(Refusal::new(format!(
                    "step {step}: {space} ends, and tasks of kernel-tla do not"
                )));
            }
            _ => {}
        }
        Ok(None)
    }

    /// Outside of the guest, VTTBR may have what it had for a VM whose vCPU is put by now, or for a
    /// TLB operation.
    fn put(&mut self, cpu: u8) {
        let c = cpu as usize;
        if !self.model.has_pte && self.loaded[c].0 != self.current[c] {
            self.loaded[c].0 = None;
        }
    }

    fn set(&mut self, word: Word, new: u64) {
        if let Some(slot) = self.words.get_mut(word as usize) {
            let old = core::mem::replace(slot, new);
            let name = self.state.mem.name(word).map_or("", |n| n.name);
            let said = if old == new {
                value(name, new)
            } else {
                change(name, old, new)
            };
            self.said = format!("{}: {said}", full(self.state, word));
        }
    }

    fn register(&mut self, cpu: u8, reg: Reg, value: u64) {
        let (tables, tag) = self.model.regs;
        let loaded = &mut self.loaded[cpu as usize];
        if reg == tables {
            let table = ttbr::table(value);
            let space = self.roots.iter().position(|root| *root == table);
            loaded.0 = space.map(|s| s as u8);
            self.cnp |= value & ttbr::CNP != 0;
        }
        if reg == tag {
            loaded.1 = ttbr::tag(value) & self.mask;
        }
    }

    /// What an event was, in words.
    pub fn how(&self, step: u32, event: &Event) -> String {
        let what = match *event {
            Event::Did {
                cpu, act, site: s, ..
            } => {
                let act = match act {
                    Act::Store(..) | Act::Rmw(..) => self.said.clone(),
                    Act::Lock(word) => format!("lock {}", full(self.state, word)),
                    Act::Unlock(word) => format!("unlock {}", full(self.state, word)),
                    Act::Msr(reg, _) => format!("write of {}", reg.name()),
                    _ => act.word().into(),
                };
                format!("cpu{cpu} {act} ({})", site(s))
            }
            Event::Drained { cpu, site: s, .. } => {
                format!("cpu{cpu} {}, in memory ({})", self.said, site(s))
            }
            Event::Pte { cpu, site: s, .. } => format!("cpu{cpu} descriptor ({})", site(s)),
            Event::Marked { cpu, .. } => format!("cpu{cpu} walker marks a descriptor"),
            Event::Fill { cpu, entry, .. } => {
                let kind = if entry.leaf { "" } else { " of its walk cache" };
                format!("cpu{cpu} walk makes an entry{kind}, {:#x}", entry.va)
            }
            Event::Dropped { cpu, why, .. } => match why {
                Drop::Tlbi(from, _) => format!("cpu{cpu} TLBI of cpu{from} arrives"),
                Drop::Replaced => format!("cpu{cpu} entry replaced"),
                Drop::Evicted => format!("cpu{cpu} entry evicted"),
            },
            Event::Accessed {
                cpu, va, outcome, ..
            } => format!("cpu{cpu} access to {va:#x}: {}", outcome.name()),
            Event::Begin { cpu, op, .. } => format!("cpu{cpu} begins {op}"),
            Event::End { cpu, op, .. } => format!("cpu{cpu} is done with {op}"),
            Event::Settled { cpu, switching, .. } if switching => {
                format!("cpu{cpu} enters the switch code")
            }
            Event::Settled { cpu, .. } => format!("cpu{cpu} leaves the switch code"),
            _ => String::new(),
        };
        format!("step {step}, {what}")
    }

    /// The state now.
    pub fn snap(&self) -> Snap {
        let Model { words, bits, .. } = self.model;
        let get = |word: Word| self.words[word as usize];
        let each = |words: &[Word]| words.iter().map(|w| get(*w)).collect();
        Snap {
            tlb: self
                .entries
                .values()
                .flat_map(|e| self.of_entry(e))
                .collect(),
            pte: (0..self.state.config.spaces).map(|s| self.pte(s)).collect(),
            loaded: self.loaded.clone(),
            locked: get(words.lock) != 0,
            generation: get(words.generation) >> bits,
            map: get(words.map) & ((1 << self.state.config.tags) - 1),
            active: each(&words.active),
            reserved: each(&words.reserved),
            pending: words.pending.map_or(0, get),
            cur_idx: get(words.cur_idx),
            ids: each(&words.id),
            settled: self.settled.clone(),
        }
    }

    /// What an entry is to the model: one for each CPU that can use it.
    fn of_entry(&self, e: &Entry) -> Vec<(u8, u16, u8)> {
        let owner = e.owner.filter(|_| self.page.is_none_or(|va| e.covers(va)));
        let Some(owner) = owner else {
            return Vec::new();
        };
        let tag = if self.model.has_pte { e.asid } else { e.vmid };
        let domain = |cpu: u8| self.state.config.tlb_of(cpu);
        let cpus = 0..self.state.config.cpus;
        let uses = |cpu: &u8| *cpu == e.cpu || (e.cnp && domain(*cpu) == domain(e.cpu));
        let entry = |cpu| (owner.space.0, tag & self.mask, cpu);
        cpus.filter(uses).map(entry).collect()
    }

    /// What the page is in a space.
    fn pte(&self, space: u8) -> Pte {
        let Some(va) = self.page else {
            return Pte::Mapped;
        };
        let mut table = self.roots[space as usize];
        for level in self.state.config.first_level()..=3 {
            let desc = self.descs.get(&slot_pa(table, level, va)).copied();
            match self.state.decode(level, Desc(desc.unwrap_or_default())) {
                Decoded::Table(next) => table = next,
                Decoded::Leaf(_) => return Pte::Mapped,
                Decoded::Invalid => break,
            }
        }
        let busy = |op: &Option<Op>| op.is_some_and(|op| op.space() == Some(Space(space)));
        let faults =
            |(cpu, faulting): (usize, &bool)| *faulting && self.loaded[cpu].0 == Some(space);
        if self.ops.iter().any(busy) || self.faulting.iter().enumerate().any(faults) {
            Pte::Unmapped
        } else {
            Pte::Inval
        }
    }
}
