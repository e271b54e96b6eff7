// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine's state through a run, rebuilt from the events: what each changed.

use super::trees::Trees;
use super::{Change, Entry};
use crate::names::{self, Role};
use crate::report::run::Run;
use crate::report::words;
use shootdown_machine::arm64::{Reg, Regs, Share, Stage};
use shootdown_machine::{Act, Arch, Drop, Entry as Cached, Event, State, Switch, Word, x86};
use std::collections::{BTreeMap, BTreeSet};

/// A lock: who has it to write, and a bit for each who has it to read.
#[derive(Clone, Copy, Default)]
struct Holders {
    writer: Option<u8>,
    readers: u8,
}

/// What is followed.
pub struct Machine<'r> {
    run: &'r Run<'r>,
    pub trees: Trees,
    pub tlb: BTreeMap<u32, Cached>,
    pub regs: Vec<Regs>,
    /// Registers written since the context was last synchronized, by CPU.
    pub unsynced: Vec<BTreeSet<&'static str>>,
    /// TLBIs on their way: number and CPU.
    pub pending: BTreeSet<(u32, u8)>,
    locks: BTreeMap<Word, Holders>,
    used: Vec<Reg>,
}

/// Registers in the order of showing.
const REGS: &[Reg] = &[
    Reg::Ttbr0,
    Reg::Ttbr1,
    Reg::Vttbr,
    Reg::Hcr,
    Reg::Tcr,
    Reg::Cr3,
    Reg::Cr4,
    Reg::Satp,
];

/// What a step leaves in a register, if that is what it does.
fn written(act: Act) -> Option<(Reg, u64)> {
    match act {
        Act::Msr(reg @ (Reg::Cr3 | Reg::Cr4), value) => Some((reg, value & !x86::NOFLUSH)),
        Act::Msr(reg, value) => Some((reg, value)),
        // A hart starts and stops in mode Bare.
        Act::HartStop(_) => Some((Reg::Satp, 0)),
        _ => None,
    }
}

impl<'r> Machine<'r> {
    /// As the boot leaves it, and the changes that make it so.
    pub fn boot(run: &'r Run<'r>) -> (Machine<'r>, Vec<Change>) {
        let state: &State = &run.boot.state;
        let cpus = 0..state.config.cpus;
        let regs: Vec<Regs> = cpus.clone().map(|c| state.regs(c, false)).collect();
        let mut used: BTreeSet<usize> = BTreeSet::new();
        let index = |reg: Reg| REGS.iter().position(|r| *r == reg);
        for regs in &regs {
            used.extend((0..REGS.len()).filter(|i| regs.get(REGS[*i]) != 0));
        }
        for (_, event) in run.trace {
            if let Event::Did { act, .. } = event {
                used.extend(written(*act).and_then(|(reg, _)| index(reg)));
            }
        }
        let mut machine = Machine {
            run,
            trees: Trees::boot(state),
            tlb: BTreeMap::new(),
            unsynced: vec![BTreeSet::new(); regs.len()],
            regs,
            pending: BTreeSet::new(),
            locks: BTreeMap::new(),
            used: used.into_iter().map(|i| REGS[i]).collect(),
        };
        let mut changes = machine.trees.changes(run, 0);
        for cpu in cpus {
            for reg in machine.used.clone() {
                changes.push(machine.register(cpu, reg, 0));
            }
            if run.virtualized() {
                changes.push(mode(cpu, "host"));
            }
        }
        machine.variables(&mut changes);
        (machine, changes)
    }

    /// Variables that a tag's life is told by, or that the run stores to.
    fn variables(&self, changes: &mut Vec<Change>) {
        let state = &self.run.boot.state;
        for (word, name) in (0..).zip(&state.mem.names) {
            let stored = || self.run.writes.iter().any(|w| w.word == word);
            if names::role(name.name) != Role::Other || stored() {
                changes.push(self.variable(word, state.mem.get(word), 0));
            }
        }
    }

    fn variable(&self, word: Word, value: u64, at: usize) -> Change {
        Change::Variable {
            name: names::full(self.run.state, word),
            value: self.run.value_in(word, value, at),
        }
    }

    fn register(&self, cpu: u8, reg: Reg, at: usize) -> Change {
        let value = self.regs[cpu as usize].get(reg);
        let none = reg.table(value) == 0 && Reg::ROOTS.contains(&reg);
        let said = if none {
            "no table".into()
        } else {
            self.run.register(reg, value, at)
        };
        Change::Register {
            cpu,
            name: reg.name().into(),
            value: said,
            raw: format!("{value:#x}"),
            synchronized: !self.unsynced[cpu as usize].contains(reg.name()),
        }
    }

    /// Takes in an event: what it changes, but for the tables.
    pub fn event(&mut self, at: usize) -> Vec<Change> {
        let run = self.run;
        let event = *run.event(at);
        self.trees.event(&event);
        let mut changes = Vec::new();
        for write in run.writes.iter().filter(|w| w.at == at) {
            changes.push(self.variable(write.word, write.new, at));
        }
        match event {
            Event::Fill { entry, .. } => {
                self.tlb.insert(entry.id, entry);
                let entry = told(run, &entry, at);
                changes.push(Change::Made { entry });
            }
            Event::Dropped { entry, why, .. } => {
                self.tlb.remove(&entry);
                let why = self.why(why);
                changes.push(Change::Gone { id: entry, why });
            }
            Event::Tlbi { .. } => changes.extend(self.sent(at)),
            Event::Delivered { cpu, number, .. } => {
                self.pending.remove(&(number, cpu));
                changes.push(Change::Arrived { number, cpu });
            }
            Event::Context { cpu } => self.synchronize(cpu, at, &mut changes),
            Event::Settled {
                cpu,
                space,
                switching,
            } => changes.push(Change::Runs {
                cpu,
                space: space.map(|life| words::space(Some(life))),
                switching,
            }),
            Event::Did {
                cpu,
                act,
                ignored: false,
                ..
            } => self.did(cpu, act, at, &mut changes),
            _ => {}
        }
        changes
    }

    fn why(&self, why: Drop) -> String {
        let flushes = &self.run.flushes;
        match why {
            Drop::Tlbi(cpu, number) => match flushes.iter().find(|f| f.number == number) {
                Some(flush) => format!("{} of cpu{cpu}", flush.op),
                None => format!("a TLBI of cpu{cpu}"),
            },
            Drop::Replaced => "replaced".into(),
            Drop::Evicted => "evicted".into(),
        }
    }

    /// Where a TLBI goes. One that takes effect at once is not on its way.
    fn sent(&mut self, at: usize) -> Option<Change> {
        let Event::Tlbi {
            cpu, op, number, ..
        } = *self.run.event(at)
        else {
            return None;
        };
        let to: Vec<u8> = match op.kind.row().share {
            Share::Now => return None,
            Share::Local => vec![cpu],
            Share::Inner => {
                let mask = self.mask(cpu, at);
                let cpus = 0..self.run.state.config.cpus;
                cpus.filter(|c| mask >> c & 1 != 0).collect()
            }
        };
        self.pending.extend(to.iter().map(|c| (number, *c)));
        Some(Change::Sent {
            number,
            cpu,
            tlbi: op.to_string(),
            to,
        })
    }

    /// The CPUs that a remote fence is for: RISC-V's have a mask.
    fn mask(&self, cpu: u8, at: usize) -> u8 {
        if self.run.state.config.arch != Arch::Riscv {
            return u8::MAX;
        }
        let done = self.run.did(cpu, at, true).map(|i| *self.run.event(i));
        let act = match done {
            Some(Event::Did { act, .. }) => Some(act),
            _ => self.run.state.cpus[cpu as usize].next.map(|a| a.act),
        };
        match act {
            Some(Act::RemoteFence(harts, _)) => harts,
            _ => u8::MAX,
        }
    }

    /// The event of a register's write comes before it is told of; any other is that of a
    /// synchronization, but for the exception levels that FEAT_ExS spares one.
    fn synchronize(&mut self, cpu: u8, at: usize, changes: &mut Vec<Change>) {
        let run = self.run;
        let next = run
            .did(cpu, at, true)
            .filter(|i| run.step(*i) == run.step(at));
        let act = next.map(|i| *run.event(i));
        let spared = run.state.config.switches.on(Switch::ExS);
        match act {
            Some(Event::Did {
                act: Act::Msr(..), ..
            }) => return,
            Some(Event::Did {
                act: Act::EnterGuest | Act::ExitGuest,
                ..
            }) if spared => return,
            _ => {}
        }
        let written = core::mem::take(&mut self.unsynced[cpu as usize]);
        for reg in REGS.iter().filter(|r| written.contains(r.name())) {
            changes.push(self.register(cpu, *reg, at));
        }
    }

    fn did(&mut self, cpu: u8, act: Act, at: usize, changes: &mut Vec<Change>) {
        if let Some((reg, value)) = written(act) {
            self.regs[cpu as usize].set(reg, value);
            if self.run.state.config.arch == Arch::Arm64 {
                self.unsynced[cpu as usize].insert(reg.name());
            }
            changes.push(self.register(cpu, reg, at));
        }
        let (word, lock): (Word, fn(Holders, u8) -> Holders) = match act {
            Act::EnterGuest => return changes.push(mode(cpu, "guest")),
            Act::ExitGuest => return changes.push(mode(cpu, "host")),
            Act::Lock(word) => (word, |h, cpu| Holders {
                writer: Some(cpu),
                ..h
            }),
            Act::Unlock(word) => (word, |h, _| Holders { writer: None, ..h }),
            Act::ReadLock(word) => (word, |h, cpu| Holders {
                readers: h.readers | 1 << cpu,
                ..h
            }),
            Act::ReadUnlock(word) => (word, |h, cpu| Holders {
                readers: h.readers & !(1 << cpu),
                ..h
            }),
            _ => return,
        };
        let holders = self.locks.entry(word).or_default();
        *holders = lock(*holders, cpu);
        let readers = (0..8).filter(|c| holders.readers >> c & 1 != 0);
        let readers: Vec<u8> = readers.collect();
        let value = match holders.writer {
            Some(cpu) => format!("held by cpu{cpu}"),
            None if readers.is_empty() => "free".into(),
            None => format!("read by {}", words::cpus(&readers)),
        };
        let name = self.run.word(word, at);
        changes.push(Change::Variable { name, value });
    }
}

/// Where a CPU of a virtualized machine is.
fn mode(cpu: u8, value: &str) -> Change {
    Change::Register {
        cpu,
        name: "EL".into(),
        value: value.into(),
        raw: String::new(),
        synchronized: true,
    }
}

/// An entry as it is told.
fn told(run: &Run<'_>, e: &Cached, at: usize) -> Entry {
    Entry {
        id: e.id,
        cpu: e.cpu,
        tlb: run.state.config.tlb_of(e.cpu),
        shared: e.cnp,
        tag: words::tag(run, e),
        stage: if e.stage == Stage::Two { 2 } else { 1 },
        level: e.level,
        leaf: e.leaf,
        global: e.global,
        va: format!("{:#x}", e.va),
        size: format!("{:#x}", e.size),
        pa: format!("{:#x}", e.pa),
        writable: e.writable,
        target: run.target(e, at),
        owner: e.owner.map(|life| words::space(Some(life))),
        descriptor: format!("{:#x}", e.desc_pa),
    }
}
