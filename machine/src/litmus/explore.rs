// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exhaustive exploration of a test: every order in which threads take their steps, stores
//! reach memory, TLBIs take effect and walkers walk, and every value that a read may give.
//!
//! Two reductions keep that small, and lose no outcome. What only its own thread sees is
//! done at once. And a walk is a single step as far as it reads descriptors that nobody
//! writes.

use super::layout::{Layout, instructions};
use super::thread::{Code, Program, Running};
use super::{Base, Instr, Loc, Pte, Test};
use crate::arm64::{Reg as Sysreg, ttbr};
use crate::config::{Switch, Switches};
use crate::context::{Context, level_size};
use crate::machine::State;
use crate::mem::{Memory, Word};
use crate::op::{PAGE, Va};
use crate::walk::{Progress, Walk};
use std::collections::HashSet;
use std::rc::Rc;

/// How to explore.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// With FEAT_ETS2.
    pub ets: bool,
    /// Give up after so many states.
    pub max_states: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            ets: false,
            max_states: 5_000_000,
        }
    }
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Explored {
    /// Distinct values of what the test asks about, at the end.
    pub outcomes: u64,
    /// Whether the asked outcome was among them.
    pub asked: bool,
    /// Distinct states.
    pub states: u64,
    /// Whether there was nothing left to explore.
    pub complete: bool,
    /// Steps that lead to the asked outcome, in words.
    pub witness: Vec<String>,
}

/// A state of a test under way.
#[derive(Clone)]
pub(super) struct World {
    pub state: State,
    pub threads: Vec<Running>,
    /// Nothing has happened yet but walks.
    pub fresh: bool,
    pub trail: Option<Rc<Trail>>,
}

/// How a state was reached, last step first.
pub(super) struct Trail {
    pub did: Did,
    pub before: Option<Rc<Trail>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Did {
    Step(usize, Code, usize),
    Drain(usize, Word, u64),
    Deliver(usize),
    Walk(usize, Va),
    Insert(usize, Va),
}

pub(super) struct Explorer<'a> {
    pub program: Program<'a>,
    /// Descriptors that some thread writes.
    pub hot: Vec<Word>,
    /// Whether there is a TLBI, which waits for stores.
    pub flushes: bool,
    /// By thread: pages that it accesses through such descriptors.
    pub walks: Vec<Vec<Va>>,
    /// By thread: a context that it loads later, and may have run under before the test.
    pub past: Vec<Option<Context>>,
    pub seen: HashSet<u64>,
    pub outcomes: HashSet<Vec<u64>>,
    pub found: Explored,
}

/// Explores a test.
///
/// # Errors
/// A sentence, if the machine has no room for its threads, pages or tables.
pub fn explore(test: &Test, options: &Options) -> Result<Explored, String> {
    let layout = Layout::new(test)?;
    let program = Program {
        test,
        layout: &layout,
    };
    let mut state = layout.boot(test);
    state.config.switches = Switches::default().with(Switch::Ets, options.ets);
    for (cpu, thread) in (0..).zip(&test.threads) {
        let guest = thread.el < 2;
        state.cpus[cpu].el = if guest {
            crate::El::Guest
        } else {
            crate::El::Host
        };
    }
    let mut first = World {
        state,
        threads: test.threads.iter().map(Running::new).collect(),
        fresh: true,
        trail: None,
    };
    let mut explorer = Explorer::new(program, &first);
    for t in 0..test.threads.len() {
        program.settle(&mut first, t);
    }
    explorer.run(first, options.max_states);
    Ok(explorer.found)
}

impl<'a> Explorer<'a> {
    fn new(program: Program<'a>, first: &World) -> Explorer<'a> {
        let Program { test, layout } = program;
        let code = || test.threads.iter().flat_map(instructions);
        let written: Vec<Pte> = code()
            .filter_map(|i| match i {
                Instr::Write {
                    loc: Loc::Pte(pte), ..
                } => Some(*pte),
                _ => None,
            })
            .collect();
        let mut hot: Vec<Word> = written.iter().filter_map(|p| layout.pte(*p)).collect();
        hot.sort_unstable();
        hot.dedup();
        let moves = code().any(|i| matches!(i, Instr::Msr(..)));
        let staged = |p: &Pte| {
            test.table(p.table)
                .is_some_and(|t| t.stage == crate::arm64::Stage::Two)
        };
        let second = written.iter().any(staged);
        let is_hot = |va: Va| {
            let block = |p: &Pte| layout.addr_of(p.input) / level_size(2) == va / level_size(2);
            let page = |p: &Pte| layout.addr_of(p.input) / PAGE == va / PAGE;
            let any = |p: &Pte| if p.level == 2 { block(p) } else { page(p) };
            moves || second || written.iter().any(any)
        };
        let walks = test.threads.iter().map(|thread| {
            let accessed = instructions(thread).filter_map(|i| match i {
                Instr::Read { loc, .. } | Instr::Write { loc, .. } => match loc {
                    Loc::Va(page, offset) => Some(layout.addr_of(*page) + u64::from(*offset)),
                    Loc::Pte(_) => None,
                },
                _ => None,
            });
            let mut pages: Vec<Va> = accessed.filter(|va| is_hot(*va)).collect();
            pages.sort_unstable();
            pages.dedup();
            pages
        });
        let mut explorer = Explorer {
            program,
            hot,
            flushes: code().any(|i| matches!(i, Instr::Tlbi { .. })),
            walks: walks.collect(),
            past: Vec::new(),
            seen: HashSet::new(),
            outcomes: HashSet::new(),
            found: Explored::default(),
        };
        explorer.past = (0..test.threads.len())
            .map(|t| explorer.past_of(first, t))
            .collect();
        explorer
    }

    /// The context that all of a thread's MSRs make: it may have run under it before.
    fn past_of(&self, first: &World, t: usize) -> Option<Context> {
        let Program { test, layout } = self.program;
        let mut regs = first.state.cpus[t].regs;
        let mut moves = false;
        for instr in instructions(&test.threads[t]) {
            let Instr::Msr(base, root) = instr else {
                continue;
            };
            let value = ttbr::new(layout.root(root.table), root.tag, false);
            moves = true;
            match base {
                Base::Ttbr0El1 => {
                    regs.set(Sysreg::Ttbr0, value);
                    regs.set(Sysreg::Ttbr1, ttbr::new(0, root.tag, false));
                }
                Base::VttbrEl2 => regs.set(Sysreg::Vttbr, value),
                Base::Ttbr0El2 => {}
            }
        }
        Context::of(&regs, crate::El::Guest, false).filter(|_| moves)
    }

    fn run(&mut self, first: World, max_states: u64) {
        let mut open = vec![first];
        let mut next = Vec::new();
        while let Some(world) = open.pop() {
            if !self.seen.insert(self.fingerprint(&world)) {
                continue;
            }
            self.found.states += 1;
            if self.found.states > max_states {
                return;
            }
            self.successors(&world, &mut next);
            if next.is_empty() {
                self.end(&world);
            }
            open.append(&mut next);
        }
        self.found.complete = true;
    }

    fn push(&self, mut world: World, before: &World, t: usize, did: Did, out: &mut Vec<World>) {
        world.state.events.clear();
        world.trail = Some(Rc::new(Trail {
            did,
            before: before.trail.clone(),
        }));
        world.fresh &= matches!(did, Did::Walk(..) | Did::Insert(..));
        for t in [t].into_iter().chain(0..world.threads.len()) {
            self.program.settle(&mut world, t);
        }
        out.push(world);
    }

    fn successors(&self, world: &World, out: &mut Vec<World>) {
        let mut ways = Vec::new();
        for t in 0..world.threads.len() {
            if self.is_private(world, t, &mut ways) {
                let Some(next) = ways.pop() else { continue };
                let (code, pc) = (world.threads[t].code, world.threads[t].pc);
                out.clear();
                self.push(next, world, t, Did::Step(t, code, pc), out);
                return;
            }
            ways.clear();
        }
        for t in 0..world.threads.len() {
            self.program.step(world, t, &mut ways);
            let (code, pc) = (world.threads[t].code, world.threads[t].pc);
            for next in ways.drain(..) {
                self.push(next, world, t, Did::Step(t, code, pc), out);
            }
            self.hardware(world, t, out);
        }
    }

    /// Whether a thread's next step commutes with all that others may do: a store into its own
    /// buffer, translated by descriptors that nobody writes.
    fn is_private(&self, world: &World, t: usize, ways: &mut Vec<World>) -> bool {
        let Some(instr) = self.program.next(world, t) else {
            return false;
        };
        let quiet = match instr {
            Instr::Write { loc, .. } => match loc {
                Loc::Pte(_) => true,
                Loc::Va(page, offset) => {
                    let va = self.program.layout.addr_of(*page) + u64::from(*offset);
                    !self.flushes && !self.walks[t].contains(&va)
                }
            },
            _ => false,
        };
        let room = world.state.cpus[t].views.buffer.len() < crate::order::BUFFER;
        // What happened before the test comes first.
        let past = world.fresh && self.past[t].is_some();
        if !quiet || !room || past {
            return false;
        }
        self.program.access(world, t, instr, ways);
        ways.len() == 1
    }

    /// What the hardware of a thread's CPU may do.
    fn hardware(&self, world: &World, t: usize, out: &mut Vec<World>) {
        let cpu = t as u8;
        let c = &world.state.cpus[t];
        for i in c.views.drainable(world.state.config.memory) {
            let mut next = world.clone();
            let store = c.views.buffer[i];
            next.state.drain_at(cpu, i);
            let did = Did::Drain(t, store.word, store.value);
            self.push(next, world, t, did, out);
        }
        for i in 0..world.state.pending(cpu) {
            let mut next = world.clone();
            next.state.deliver_at(cpu, i);
            self.push(next, world, t, Did::Deliver(t), out);
        }
        if world.threads[t].done {
            return;
        }
        if let Some(walk) = c.walk {
            let did = match walk.reading() {
                None => Did::Insert(t, walk.va),
                Some(_) => Did::Walk(t, walk.va),
            };
            let mut next = world.clone();
            next.state.cpus[t].walk = None;
            self.walk_on(&mut next.state, cpu, walk);
            self.push(next, world, t, did, out);
            return;
        }
        let context = world.state.context(cpu, false);
        let old = world
            .state
            .context(cpu, true)
            .filter(|o| Some(*o) != context);
        let past = self.past[t].filter(|_| world.fresh);
        let live = (world.threads[t].el < 2).then_some([context, old]);
        let contexts = live.into_iter().flatten().flatten().chain(past);
        for context in contexts {
            for va in &self.walks[t] {
                let mut next = world.clone();
                let walk = Walk::begin(&next.state, cpu, context, *va, None);
                self.walk_on(&mut next.state, cpu, walk);
                if past.is_some() {
                    // It ended before the test began, if it did.
                    if let Some(walk) = next.state.cpus[t].walk.take() {
                        self.walk_on(&mut next.state, cpu, walk);
                    }
                }
                self.push(next, world, t, Did::Walk(t, *va), out);
            }
        }
    }

    /// Whether some thread writes the descriptor at a physical address.
    pub fn is_hot(&self, pa: u64) -> bool {
        Memory::desc_word(pa).is_some_and(|word| self.hot.binary_search(&word).is_ok())
    }

    /// Takes a walk up to and including its next read of a descriptor that somebody writes, or
    /// its end.
    fn walk_on(&self, state: &mut State, cpu: u8, mut walk: Walk) {
        loop {
            let reading = walk.reading();
            match walk.step(state, cpu) {
                Progress::More => {}
                _ => return,
            }
            if reading.is_some_and(|r| self.is_hot(r.pa)) {
                state.cpus[cpu as usize].walk = Some(walk);
                return;
            }
        }
    }
}
