// SPDX-License-Identifier: MIT OR Apache-2.0
//! Execution of one variant: programs as futures, slots as their schedule.

use crate::coverage::Coverage;
use crate::names::is_named;
use crate::program::{Lives, run_op};
use crate::scenario::{MAX_STEPS, Slot, Stop};
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use shootdown_machine::{Announced, Config, Cpu, Event, Ipi, Machine, Op, Sabotage};
use shootdown_oracle::Oracle;
use shootdown_variants::Variant;

/// Steps after the schedule's end by which every run is over, unless it never ends.
const MOST_STEPS: u32 = 40_000;
/// The name that a turn until the end of an operation bears: no step has it.
pub(crate) const DONE: &str = "done";
/// Steps that a CPU takes at a time after the schedule's end.
const TURN: u32 = 400;

/// A run under way, whatever its variant.
pub trait Exec {
    /// Acts on a slot. `false`: nothing more can happen.
    fn apply(&mut self, slot: &Slot) -> bool;
    /// Whether a CPU has something to do and is not blocked, or waits for an IPI on its way.
    fn ready(&self, cpu: u8) -> bool;
    /// Whether the run is over: all programs done, or a rule broken.
    fn over(&self) -> bool;
    /// What the CPU will do next, if it is in the middle of an operation.
    fn next(&self, cpu: u8) -> Option<Announced>;
    /// Whether the CPU is in the middle of one.
    fn within(&self, cpu: u8) -> bool {
        self.next(cpu).is_some()
    }
    /// Brings a CPU to its next step, beginning an operation if it must, and tells what that
    /// is; `None`: its program is done, or the run is over.
    fn come_to(&mut self, cpu: u8) -> Option<Announced>;
    /// The machine.
    fn machine(&self) -> &Machine;
}

/// An event and the step it belongs to.
pub type Traced = (u32, Event);

/// What a run needs to be given.
pub struct Input<'a> {
    /// The machine line.
    pub config: Config,
    /// The defect to build in.
    pub defect: Option<&'static str>,
    /// The programs.
    pub programs: &'a [Vec<Op>],
    /// Maintenance to ignore.
    pub sabotage: Option<Sabotage>,
    /// Record every event.
    pub trace: bool,
}

/// What a run is done with; kept between runs, so that nothing is allocated anew.
#[derive(Default)]
pub struct Bench {
    /// The machine.
    pub machine: Machine,
    /// The judge.
    pub oracle: Oracle,
    /// Hand-overs and goals seen since it was cleared.
    pub coverage: Coverage,
    /// The events of the last run, if they were asked for.
    pub trace: Vec<Traced>,
    events: Vec<Event>,
}

/// The interrupt that a CPU is handling.
struct Handler<F> {
    ipi: Ipi,
    future: Pin<Box<F>>,
    /// What it interrupted.
    next: Option<Announced>,
}

struct Slots<F> {
    /// The operation in flight, in a place that is used again for the next.
    op: Pin<Box<Option<F>>>,
    handler: Option<Handler<F>>,
    index: usize,
}

/// What a future is to do.
#[derive(Clone, Copy)]
pub enum Work {
    /// The operation at an index of the CPU's program.
    Op(u8, Op),
    /// Handle an IPI.
    Ipi(u64),
}

struct Core<'m, F, S> {
    machine: &'m Machine,
    oracle: &'m mut Oracle,
    coverage: &'m mut Coverage,
    trace: &'m mut Vec<Traced>,
    events: &'m mut Vec<Event>,
    programs: &'m [Vec<Op>],
    cpus: Vec<Slots<F>>,
    start: S,
    tracing: bool,
    last: u8,
    /// An interrupt has been handled, which need not have taken a step.
    handled: bool,
    over: bool,
}

impl<'m, F: Future<Output = ()>, S: Fn(Cpu<'m>, Work) -> F> Core<'m, F, S> {
    /// Polls what is on top of a CPU's stack. `true`: it has finished.
    fn poll(&mut self, cpu: u8) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        let slots = &mut self.cpus[cpu as usize];
        if let Some(handler) = &mut slots.handler {
            if handler.future.as_mut().poll(&mut context) == Poll::Pending {
                return false;
            }
            let mut state = self.machine.state_mut();
            let c = cpu as usize;
            state.acknowledge(cpu, handler.ipi);
            state.set_irqs_off(cpu, false);
            state.cpus[c].next = handler.next;
            slots.handler = None;
            self.handled = true;
            return true;
        }
        let Some(op) = slots.op.as_mut().as_pin_mut() else {
            return true;
        };
        if op.poll(&mut context) == Poll::Pending {
            return false;
        }
        slots.op.as_mut().set(None);
        self.machine.state_mut().cpus[cpu as usize].next = None;
        true
    }

    /// Brings a CPU to where its next step is announced. `false`: its program is done.
    fn announce(&mut self, cpu: u8) -> bool {
        let c = cpu as usize;
        let ipi = match self.cpus[c].handler {
            Some(_) => None,
            None => self.machine.state_mut().take_ipi(cpu),
        };
        if let Some(ipi) = ipi {
            let next = self.machine.state_mut().cpus[c].next.take();
            self.machine.state_mut().set_irqs_off(cpu, true);
            let future = (self.start)(self.machine.cpu(cpu), Work::Ipi(ipi.message));
            self.cpus[c].handler = Some(Handler {
                ipi,
                future: Box::pin(future),
                next,
            });
            self.poll(cpu); // a handler without a step is done at once
        }
        while self.machine.state().cpus[c].next.is_none() {
            let index = self.cpus[c].index;
            let Some(op) = self.programs[c].get(index) else {
                return false;
            };
            self.cpus[c].index += 1;
            let future = (self.start)(self.machine.cpu(cpu), Work::Op(index as u8, *op));
            self.cpus[c].op.as_mut().set(Some(future));
            self.poll(cpu); // an operation that does nothing is done at once
            self.judge();
        }
        true
    }

    /// One step of a CPU. `false`: it is done, or blocked.
    fn step(&mut self, cpu: u8) -> bool {
        if self.over || !self.announce(cpu) {
            return false;
        }
        if self.machine.state().blocked(cpu) {
            // The turn of one that waits for its IPIs goes to their way.
            return self.machine.state_mut().deliver_ipi_of(cpu);
        }
        if self.last != cpu {
            let state = self.machine.state();
            let site = |c: u8| state.cpus[c as usize].next.map_or(0, |a| a.site.line());
            self.coverage.hand_over(site(self.last), site(cpu));
            drop(state);
            self.last = cpu;
        }
        self.poll(cpu);
        self.judge();
        true
    }

    /// Shows the judge what has happened.
    fn judge(&mut self) {
        let mut state = self.machine.state_mut();
        if state.events.is_empty() {
            return;
        }
        core::mem::swap(&mut state.events, self.events);
        drop(state);
        let state = self.machine.state();
        for event in self.events.iter() {
            if self.tracing {
                self.trace.push((state.step, *event));
            }
            if !self.over && !self.oracle.event(&state, event) {
                self.over = true;
            }
        }
        self.events.clear();
    }

    fn emit(&mut self, event: Event) {
        self.machine.state_mut().events.push(event);
        self.judge();
    }

    fn run_slot(&mut self, cpu: u8, stop: &Stop) {
        match stop {
            Stop::Steps(steps) => {
                for _ in 0..*steps {
                    if !self.step(cpu) {
                        break;
                    }
                }
            }
            Stop::Until { name, nth } if name == DONE => {
                let mut left = *nth;
                for _ in 0..MAX_STEPS {
                    if left == 0 || !self.step(cpu) {
                        break;
                    }
                    left -= u16::from(!self.within(cpu));
                }
            }
            Stop::Until { name, nth } => {
                let (mut left, mut counted) = (*nth, None);
                // A CPU that spins may never get there.
                for _ in 0..MAX_STEPS {
                    if self.over || !self.announce(cpu) {
                        break;
                    }
                    let state = self.machine.state();
                    let c = &state.cpus[cpu as usize];
                    let here = c.next.is_some_and(|a| is_named(&state, &a.act, name));
                    if here && counted != Some(c.announcements) {
                        counted = Some(c.announcements);
                        left -= 1;
                    }
                    drop(state);
                    if left == 0 || !self.step(cpu) {
                        break;
                    }
                }
            }
        }
    }

    /// No store waits for ever: others may be waiting for what this CPU has stored.
    fn drain(&mut self, cpu: u8) {
        while !self.over && self.machine.state_mut().drain(cpu, false) {
            self.judge();
        }
    }

    /// After the schedule, all CPUs run on to the end, lowest first.
    fn finish(&mut self) {
        let limit = self.machine.state().step + MOST_STEPS;
        while !self.over {
            let mut progress = false;
            let mut waiting = None;
            for cpu in 0..self.cpus.len() as u8 {
                let mut turn = 0;
                while turn < TURN && self.step(cpu) {
                    turn += 1;
                }
                self.drain(cpu);
                progress |= turn > 0;
                if turn > 0 && turn < TURN {
                    break; // it stopped, done or blocked: the lowest may go on now
                }
                if self.announce(cpu) && waiting.is_none() {
                    waiting = self.next(cpu).map(|a| (cpu, a.act));
                }
            }
            if progress || core::mem::take(&mut self.handled) {
                if self.machine.state().step > limit {
                    self.emit(Event::Livelock);
                }
                continue;
            }
            let arrived =
                (0..self.cpus.len() as u8).any(|cpu| self.machine.state_mut().deliver_ipi(cpu));
            // A host that has taken a CPU away gives it back.
            let cpus = 0..self.cpus.len() as u8;
            if arrived || { cpus }.any(|cpu| self.machine.state_mut().resume(cpu)) {
                self.judge();
                continue;
            }
            // The handler of an IPI may have had no step of its own, and yet be waited for.
            let mut cpus = 0..self.cpus.len() as u8;
            if cpus.any(|cpu| self.ready(cpu)) {
                continue;
            }
            match waiting {
                Some((cpu, act)) => self.emit(Event::Deadlock { cpu, act }),
                None => return,
            }
            return;
        }
    }
}

impl<'m, F: Future<Output = ()>, S: Fn(Cpu<'m>, Work) -> F> Exec for Core<'m, F, S> {
    fn apply(&mut self, slot: &Slot) -> bool {
        if self.over {
            return false;
        }
        let known = |cpu: u8| (cpu as usize) < self.cpus.len();
        match slot {
            Slot::Run { cpu, stop } if known(*cpu) => self.run_slot(*cpu, stop),
            Slot::Walk {
                cpu,
                va,
                old,
                steps,
            } if known(*cpu) => {
                self.machine.state_mut().walk(*cpu, *va, *old, *steps);
                self.judge();
            }
            Slot::Evict { cpu, va } if known(*cpu) => {
                self.machine.state_mut().evict(*cpu, *va);
                self.judge();
            }
            Slot::Deliver { cpu, last } if known(*cpu) => {
                self.machine.state_mut().deliver(*cpu, *last);
                self.judge();
            }
            Slot::Ipi { cpu } if known(*cpu) => {
                self.machine.state_mut().deliver_ipi(*cpu);
            }
            Slot::Resolve { cpu, pick } if known(*cpu) => {
                self.machine.state_mut().cpus[*cpu as usize].pick = *pick;
            }
            Slot::Drain { cpu, last } if known(*cpu) => {
                self.machine.state_mut().drain(*cpu, *last);
                self.judge();
            }
            Slot::Preempt { cpu } if known(*cpu) => {
                self.machine.state_mut().preempt(*cpu);
                self.judge();
            }
            Slot::Resume { cpu } if known(*cpu) => {
                self.machine.state_mut().resume(*cpu);
                self.judge();
            }
            Slot::Stale { cpu, by } if known(*cpu) => {
                self.machine.state_mut().stale(*cpu, *by);
            }
            _ => {}
        }
        !self.over
    }

    fn ready(&self, cpu: u8) -> bool {
        // To look must not change anything, or what was found does not replay: an operation that
        // has not begun may turn out to be blocked, and a handler to have no step.
        let c = cpu as usize;
        let state = self.machine.state();
        if self.over || state.cpus[c].preempted {
            return false;
        }
        let can = match state.cpus[c].next {
            Some(_) => !state.blocked(cpu) || state.ipi_of(cpu).is_some(),
            None => self.cpus[c].index < self.programs[c].len(),
        };
        can || self.cpus[c].handler.is_none() && state.ipi_waits(cpu)
    }

    fn over(&self) -> bool {
        self.over
    }

    fn next(&self, cpu: u8) -> Option<Announced> {
        self.machine.state().cpus[cpu as usize].next
    }

    fn come_to(&mut self, cpu: u8) -> Option<Announced> {
        let there = !self.over && self.announce(cpu);
        self.next(cpu).filter(|_| there && !self.over)
    }

    fn machine(&self) -> &Machine {
        self.machine
    }
}

/// Runs `V` under whatever slots `schedule` applies, and then to the end.
pub fn execute<V: Variant>(
    bench: &mut Bench,
    input: &Input<'_>,
    schedule: impl FnOnce(&mut dyn Exec),
) {
    let mut schedule = Some(schedule);
    execute_under::<V>(bench, input, &mut |exec| {
        if let Some(schedule) = schedule.take() {
            schedule(exec);
        }
    });
}

/// The same. All of a variant's code is compiled anew for each way to run it, so this is the one.
pub(crate) fn execute_under<V: Variant>(
    bench: &mut Bench,
    input: &Input<'_>,
    schedule: &mut dyn FnMut(&mut dyn Exec),
) {
    let config = V::machine(input.config).clamp();
    let Bench {
        machine,
        oracle,
        coverage,
        trace,
        events,
    } = bench;
    let machine = &*machine;
    machine.reset(config);
    let variant = V::boot(&shootdown_machine::Boot::new(machine, input.defect));
    {
        let mut state = machine.state_mut();
        state.sabotage = input.sabotage;
        state.tracing = input.trace;
        state.events.clear();
    }
    oracle.reset(&config, V::TAGGING.mask());
    trace.clear();
    events.clear();
    let lives = Lives::default();
    let start = |cpu, work| run_op(&variant, &lives, cpu, work);
    let slots = || Slots {
        op: Box::pin(None),
        handler: None,
        index: 0,
    };
    let mut core = Core {
        machine,
        oracle,
        coverage,
        trace,
        events,
        programs: &input.programs[..config.cpus as usize],
        cpus: core::iter::repeat_with(slots)
            .take(config.cpus as usize)
            .collect(),
        start,
        tracing: input.trace,
        last: 0,
        handled: false,
        over: false,
    };
    schedule(&mut core);
    core.finish();
    let whole = !core.over;
    drop(core);
    let state = machine.state();
    for goal in &state.goals {
        coverage.goal(V::NAME, goal);
    }
    if whole {
        oracle.facts.summary.finish(&state);
    }
}
