// SPDX-License-Identifier: MIT OR Apache-2.0
//! A traced run, digested: which operation each CPU was in, what each variable and register
//! held, and where each TLBI went, at every event.

use super::digest::{drains, flushes, spans, writes};
use super::tables::Tables;
use crate::exec::Traced;
use shootdown_machine::arm64::{Desc, HCR_VM, Reg, Regs, Share, Tlbi};
use shootdown_machine::{Act, Done, Entry, Event, Op, PAGE, Site, State, Word};
use shootdown_oracle::{Facts, Finding};

/// One operation of a CPU.
pub struct Span {
    pub cpu: u8,
    pub index: u8,
    pub op: Op,
    pub begin: usize,
    pub end: Option<usize>,
    pub done: Option<Done>,
}

/// One TLBI.
pub struct Flush {
    pub number: u32,
    pub cpu: u8,
    pub op: Tlbi,
    pub vmid: u16,
    pub site: Site,
    pub issued: usize,
    /// When it took effect on each CPU, and how many entries it removed there.
    pub arrived: [Option<(usize, u8)>; 4],
}

impl Flush {
    /// Whether it goes to a CPU at all.
    pub fn reaches(&self, cpu: u8) -> bool {
        self.op.kind.row().share == Share::Inner || self.cpu == cpu
    }
}

/// One store to a kernel variable.
pub struct Write {
    /// When it was in memory.
    pub at: usize,
    /// The event of its step, which under `memory=sc` is the same.
    pub issued: usize,
    pub cpu: u8,
    pub word: Word,
    pub old: u64,
    pub new: u64,
    pub site: Site,
}

/// A run.
pub struct Run<'a> {
    pub state: &'a State,
    pub facts: &'a Facts,
    pub finding: &'a Finding,
    pub trace: &'a [Traced],
    pub tables: Tables,
    pub spans: Vec<Span>,
    pub flushes: Vec<Flush>,
    pub writes: Vec<Write>,
    /// Stores that waited in a buffer: the event of the step, and when it was in memory.
    pub drains: Vec<(usize, usize)>,
    pub boot: Boot,
}

/// What there is before the first step.
pub struct Boot {
    pub tables: Tables,
    pub words: Vec<u64>,
    pub regs: Regs,
    /// The machine then.
    #[cfg(feature = "cli")]
    pub state: State,
}

impl Boot {
    /// From a machine whose CPUs have done nothing.
    pub fn of(state: &State) -> Boot {
        let words = (0..state.mem.names.len() as Word)
            .map(|w| state.mem.get(w))
            .collect();
        Boot {
            tables: Tables::boot(state),
            words,
            regs: state.cpus[0].regs,
            #[cfg(feature = "cli")]
            state: state.clone(),
        }
    }
}

impl<'a> Run<'a> {
    /// Digests a trace.
    pub fn new(
        boot: Boot,
        state: &'a State,
        facts: &'a Facts,
        finding: &'a Finding,
        trace: &'a [Traced],
    ) -> Run<'a> {
        let mut tables = boot.tables.clone();
        tables.follow(state, trace);
        let (spans, flushes) = (spans(trace), flushes(trace));
        let drains = drains(trace);
        let writes = writes(trace, &boot.words, &drains, state.config.memory.buffers());
        Run {
            state,
            facts,
            finding,
            trace,
            tables,
            spans,
            flushes,
            writes,
            drains,
            boot,
        }
    }

    /// Whether the spaces are guests behind stage 2.
    pub fn virtualized(&self) -> bool {
        self.boot.regs.hcr & HCR_VM != 0
    }

    /// The step of an event.
    pub fn step(&self, at: usize) -> u32 {
        self.trace.get(at).map_or(self.finding.step, |t| t.0)
    }

    /// The event.
    pub fn event(&self, at: usize) -> &Event {
        &self.trace[at].1
    }

    /// The operation that a CPU is in at an event.
    pub fn span(&self, cpu: u8, at: usize) -> Option<&Span> {
        let inside = |s: &&Span| s.cpu == cpu && s.begin <= at && s.end.is_none_or(|end| at <= end);
        self.spans.iter().rev().find(inside)
    }

    /// The last step before an event, or the first after it, of a CPU.
    pub fn did(&self, cpu: u8, at: usize, after: bool) -> Option<usize> {
        let mine = |i: &usize| matches!(self.trace[*i].1, Event::Did { cpu: c, .. } if c == cpu);
        if after {
            (at + 1..self.trace.len()).find(mine)
        } else {
            (0..at.min(self.trace.len())).rev().find(mine)
        }
    }

    /// What a variable holds after an event.
    pub fn value(&self, word: Word, at: usize) -> u64 {
        let last = self
            .writes
            .iter()
            .rev()
            .find(|w| w.word == word && w.at <= at);
        last.map_or(self.boot.words[word as usize], |w| w.new)
    }

    /// The event of the step whose store reached memory at `at`, if others could notice that
    /// it came late: a CPU took a step meanwhile, or a walker did.
    pub fn waited(&self, at: usize) -> Option<usize> {
        let (issued, _) = *self.drains.iter().find(|(_, drained)| *drained == at)?;
        let Event::Drained { cpu: mine, .. } = *self.event(at) else {
            return None;
        };
        let notices = |event: &Event| match event {
            Event::Did { cpu, .. } => *cpu != mine,
            Event::WalkRead { .. } => true,
            _ => false,
        };
        let meanwhile = self.trace.get(issued..at).unwrap_or_default();
        meanwhile.iter().any(|t| notices(&t.1)).then_some(issued)
    }

    /// Whether the load that is an event gave a value that was no longer in memory.
    pub fn loads_old(&self, word: Word, at: usize) -> bool {
        let step = self.step(at);
        let before = self.trace.get(..at).unwrap_or_default().iter().rev();
        let mut same = before.take_while(|t| t.0 == step);
        same.any(|t| matches!(t.1, Event::Stale { word: w, .. } if w == word))
    }

    /// Whether a walker's read of a descriptor did.
    pub fn walks_old(&self, desc_pa: u64, desc: Desc, at: usize) -> bool {
        let newest = |event: &Event| match *event {
            Event::Pte { pa, new, .. } if pa == desc_pa => Some(Some(new)),
            // A new table is zeroed, which no event tells.
            Event::Frame { pa, .. } if pa / PAGE == desc_pa / PAGE => Some(None),
            _ => None,
        };
        let before = self.trace[..at].iter().rev();
        let newest = before.map(|t| &t.1).find_map(newest).flatten();
        newest.is_some_and(|new| new != desc) && self.state.config.memory.stale_reads()
    }

    /// A CPU's registers after an event, with the writes that no ISB has followed.
    pub fn regs(&self, cpu: u8, at: usize) -> Regs {
        let mut regs = self.boot.regs;
        for (_, event) in &self.trace[..self.trace.len().min(at + 1)] {
            if let Event::Did {
                cpu: c,
                act: Act::Msr(reg, value),
                ignored: false,
                ..
            } = *event
                && c == cpu
            {
                regs.set(reg, value);
            }
        }
        regs
    }

    /// The last write of one of these registers by a CPU, up to an event.
    pub fn msr(&self, cpu: u8, regs: &[Reg], at: usize) -> Option<usize> {
        (0..self.trace.len().min(at + 1)).rev().find(|i| {
            matches!(self.trace[*i].1, Event::Did { cpu: c, act: Act::Msr(reg, _), .. }
                if c == cpu && regs.contains(&reg))
        })
    }

    /// When an entry was made, by its number; whether by an access.
    pub fn fill(&self, id: u32) -> Option<(usize, u8, bool)> {
        self.trace
            .iter()
            .enumerate()
            .find_map(|(i, (_, event))| match *event {
                Event::Fill { cpu, entry, demand } if entry.id == id => Some((i, cpu, demand)),
                _ => None,
            })
    }

    /// The CPUs that an entry can be seen by, so that a TLBI that arrives there removes it.
    pub fn holders(&self, e: &Entry) -> Vec<u8> {
        let config = &self.state.config;
        let cpus = 0..config.cpus;
        cpus.filter(|c| config.tlb_of(*c) == config.tlb_of(e.cpu) && e.visible(*c, e.cnp))
            .collect()
    }
}
