// SPDX-License-Identifier: MIT OR Apache-2.0
//! A thread of a test: registers with their views, and what each instruction does.

use super::explore::World;
use super::layout::Layout;
use super::{Base, Elr, Instr, REGS, Reg, Root, Syndrome, Test};
use crate::act::Fence;
use crate::arm64::{Reg as Sysreg, Scope, Tlbi, Ttl, ttbr};
use crate::context::{Context, El};
use crate::order::Time;
use crate::tlb::{HOST_REGIME, Tags};
use core::panic::Location;

/// Which code a thread is in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Code {
    Main,
    Handler(usize),
}

/// Where an exception came from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Frame {
    code: Code,
    /// Where ERET goes.
    elr: usize,
    /// The instruction that took it.
    at: usize,
    el: u8,
    cause: Cause,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Cause {
    Call(u8),
    Fault {
        level: u8,
        permission: bool,
        input: u64,
    },
}

/// A thread.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Running {
    pub code: Code,
    pub pc: usize,
    pub el: u8,
    regs: [u64; REGS],
    views: [Time; REGS],
    frames: Vec<Frame>,
    el2: Option<Root>,
    pub done: bool,
}

impl Running {
    pub(super) fn new(thread: &super::Thread) -> Running {
        let mut regs = [0; REGS];
        for (reg, value) in &thread.regs {
            if let Some(r) = regs.get_mut(usize::from(*reg)) {
                *r = *value;
            }
        }
        Running {
            code: Code::Main,
            pc: 0,
            el: thread.el,
            regs,
            views: [0; REGS],
            frames: Vec::new(),
            el2: thread.ttbr0_el2,
            done: false,
        }
    }

    pub(super) fn reg(&self, reg: Reg) -> u64 {
        self.regs.get(usize::from(reg)).copied().unwrap_or(0)
    }

    pub(super) fn view(&self, regs: &[Reg]) -> Time {
        let view = |r: &Reg| self.views.get(usize::from(*r)).copied().unwrap_or(0);
        regs.iter().map(view).max().unwrap_or(0)
    }

    pub(super) fn set(&mut self, reg: Reg, value: u64, view: Time) {
        if let (Some(r), Some(v)) = (
            self.regs.get_mut(usize::from(reg)),
            self.views.get_mut(usize::from(reg)),
        ) {
            (*r, *v) = (value, view);
        }
    }
}

/// What a thread needs to know to go on.
#[derive(Clone, Copy)]
pub(super) struct Program<'a> {
    pub test: &'a Test,
    pub layout: &'a Layout,
}

impl<'a> Program<'a> {
    /// The next instruction of a thread; `None`: it has ended.
    pub(super) fn next(&self, world: &World, t: usize) -> Option<&'a Instr> {
        let (thread, running) = (&self.test.threads[t], &world.threads[t]);
        let code = match running.code {
            Code::Main => &thread.code,
            Code::Handler(h) => &thread.handlers.get(h)?.code,
        };
        code.get(running.pc).filter(|_| !running.done)
    }

    /// Contexts that a thread's access may be translated under: before a synchronization, the
    /// old one and the new.
    pub(super) fn contexts(&self, world: &World, t: usize) -> Vec<Context> {
        let running = &world.threads[t];
        if running.el == 2 {
            let Some(root) = running.el2 else {
                return Vec::new();
            };
            let tags = Tags {
                asid: root.tag,
                vmid: HOST_REGIME,
                cnp: false,
            };
            return vec![Context {
                stage1: self.layout.root(root.table),
                stage2: 0,
                tags,
            }];
        }
        let both = [true, false].map(|old| world.state.context(t as u8, old));
        let mut contexts: Vec<Context> = both.into_iter().flatten().collect();
        contexts.dedup();
        contexts
    }

    /// Takes a thread through everything that only it sees, until it is about to do something
    /// that others may see, or that they may have done first.
    pub(super) fn settle(&self, world: &mut World, t: usize) {
        loop {
            let Some(instr) = self.next(world, t) else {
                world.threads[t].done = true;
                return;
            };
            if !self.quiet(world, t, instr) {
                return;
            }
        }
    }

    /// Executes an instruction that only its own thread sees. `false`: it is not one.
    fn quiet(&self, world: &mut World, t: usize, instr: &Instr) -> bool {
        let cpu = t as u8;
        let buffered = !world.state.cpus[t].views.buffer.is_empty();
        let running = &mut world.threads[t];
        match *instr {
            Instr::Set(dst, value) => running.set(dst, value, 0),
            Instr::Mov(dst, src) => running.set(dst, running.reg(src), running.view(&[src])),
            Instr::Add { dst, src, imm } => {
                let sum = running.reg(src).wrapping_add(imm);
                running.set(dst, sum, running.view(&[src]));
            }
            Instr::Syndrome { dst, is, yes, no } => {
                let hit = match (is, running.frames.last().map(|f| f.cause)) {
                    (Syndrome::Hvc, Some(Cause::Call(el))) => el == 2,
                    (Syndrome::Level(n), Some(Cause::Fault { level, .. })) => level == n,
                    (
                        Syndrome::Permission(n),
                        Some(Cause::Fault {
                            level, permission, ..
                        }),
                    ) => permission && level == n,
                    _ => false,
                };
                running.set(dst, if hit { yes } else { no }, 0);
            }
            Instr::FaultIpa(dst) => {
                let ipa = match running.frames.last().map(|f| f.cause) {
                    Some(Cause::Fault { input, .. }) => input,
                    _ => 0,
                };
                running.set(dst, ipa, 0);
            }
            Instr::SetElr(elr) => {
                if let (Elr::Next, Some(frame)) = (elr, running.frames.last_mut()) {
                    frame.elr = frame.at + 1;
                }
            }
            Instr::Branch { reg, zero, to } => {
                let (taken, view) = ((running.reg(reg) == 0) == zero, running.view(&[reg]));
                let views = &mut world.state.cpus[t].views;
                views.control = views.control.max(view);
                if taken {
                    running.pc = to;
                    return true;
                }
            }
            Instr::Isb => world.state.synchronize(cpu),
            Instr::Dmb(kind) => {
                let fence = match (kind.stores_only(), kind.loads_only()) {
                    (true, _) => Fence::Stores,
                    (_, true) => Fence::Loads,
                    _ if buffered => return false,
                    _ => Fence::Full,
                };
                world.state.fence(cpu, fence);
            }
            Instr::Dsb(kind) => {
                let all = !kind.stores_only();
                let waits = all && world.state.incomplete(cpu, !kind.local());
                if buffered || waits {
                    return false;
                }
                world.state.synchronize_data(cpu, all);
                if all && !kind.loads_only() {
                    world.state.complete(cpu, !kind.local());
                }
            }
            _ => return false,
        }
        world.threads[t].pc += 1;
        true
    }

    /// Whether a thread waits for its stores or TLBIs to be done.
    fn waits(instr: &Instr) -> bool {
        matches!(instr, Instr::Dmb(_) | Instr::Dsb(_))
    }

    /// Every way in which a thread's next instruction may go.
    pub(super) fn step(&self, world: &World, t: usize, out: &mut Vec<World>) {
        let Some(instr) = self.next(world, t).filter(|i| !Self::waits(i)) else {
            return;
        };
        match instr {
            Instr::Read { .. } | Instr::Write { .. } => self.access(world, t, instr, out),
            _ => {
                let mut next = world.clone();
                self.system(&mut next, t, instr);
                out.push(next);
            }
        }
    }

    /// Registers, exceptions and TLBIs.
    fn system(&self, world: &mut World, t: usize, instr: &Instr) {
        let cpu = t as u8;
        world.threads[t].pc += 1;
        match *instr {
            Instr::Tlbi { kind, page, asid } => {
                let (addr, asid) = (
                    page.map_or(0, |p| self.layout.addr_of(p)),
                    asid.unwrap_or(0),
                );
                let op = match kind.row().scope {
                    Scope::Asid => Tlbi::asid(kind, asid),
                    _ if kind.row().range || !Tlbi::all(kind).by_addr() => Tlbi::all(kind),
                    _ => Tlbi::addr(kind, addr, asid, Ttl::Unknown),
                };
                world.state.issue(cpu, op, Location::caller());
            }
            Instr::Msr(base, root) => {
                let table = self.layout.root(root.table);
                let unsynced = &mut world.state.cpus[t].unsynced;
                match base {
                    Base::Ttbr0El1 => {
                        unsynced.push((Sysreg::Ttbr0, ttbr::new(table, root.tag, false)));
                        unsynced.push((Sysreg::Ttbr1, ttbr::new(0, root.tag, false)));
                    }
                    Base::VttbrEl2 => {
                        unsynced.push((Sysreg::Vttbr, ttbr::new(table, root.tag, false)));
                    }
                    Base::Ttbr0El2 => world.threads[t].el2 = Some(root),
                }
            }
            Instr::Svc => self.except(world, t, 1, Cause::Call(1)),
            Instr::Hvc => self.except(world, t, 2, Cause::Call(2)),
            Instr::Eret => match world.threads[t].frames.pop() {
                Some(frame) => {
                    let running = &mut world.threads[t];
                    (running.code, running.pc) = (frame.code, frame.elr);
                    self.go_to(world, t, frame.el);
                }
                None => world.threads[t].done = true,
            },
            Instr::Drop(el) => self.go_to(world, t, el),
            _ => {}
        }
    }

    /// Changes the exception level, which synchronizes the context.
    fn go_to(&self, world: &mut World, t: usize, el: u8) {
        world.threads[t].el = el;
        world.state.cpus[t].el = if el == 2 { El::Host } else { El::Guest };
        world.state.synchronize(t as u8);
    }

    /// Takes an exception to a level, behind whose cause `pc` already is.
    pub(super) fn except(&self, world: &mut World, t: usize, el: u8, cause: Cause) {
        let running = &mut world.threads[t];
        let lower = running.el < el;
        // One for just this case goes before one for both.
        let find = |only| {
            let mut handlers = self.test.threads[t].handlers.iter();
            handlers.position(|h| h.el == el && h.lower == only)
        };
        let Some(handler) = find(Some(lower)).or_else(|| find(None)) else {
            running.done = true;
            return;
        };
        let at = running.pc - 1;
        let elr = match cause {
            Cause::Call(_) => running.pc,
            Cause::Fault { .. } => at,
        };
        running.frames.push(Frame {
            code: running.code,
            elr,
            at,
            el: running.el,
            cause,
        });
        (running.code, running.pc) = (Code::Handler(handler), 0);
        self.go_to(world, t, el);
    }
}
