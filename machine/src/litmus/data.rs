// SPDX-License-Identifier: MIT OR Apache-2.0
//! The loads and stores of a thread: their translation, and what they give.

use super::access::{Fault, Request, Target, ways};
use super::explore::World;
use super::thread::{Cause, Program};
use super::{Instr, Loc, Value};
use crate::Word;
use crate::act::Order;
use crate::arm64::Stage;
use crate::order::Time;
use crate::tlb::Entry;
use core::panic::Location;

impl Program<'_> {
    /// A load or a store: its translation, and what it gives.
    pub(super) fn access(&self, world: &World, t: usize, instr: &Instr, out: &mut Vec<World>) {
        let running = &world.threads[t];
        let (loc, addr_dep, write, data) = match instr {
            Instr::Read { loc, addr_dep, .. } => (*loc, addr_dep, false, 0),
            Instr::Write {
                loc,
                addr_dep,
                value,
                data_dep,
                ..
            } => {
                let own = match value {
                    Value::Reg(reg) => running.view(&[*reg]),
                    _ => 0,
                };
                (*loc, addr_dep, true, running.view(data_dep).max(own))
            }
            _ => return,
        };
        let addr = running.view(addr_dep);
        let (page, offset) = match loc {
            Loc::Pte(pte) => {
                let Some(word) = self.layout.pte(pte) else {
                    return;
                };
                self.finish(
                    world.clone(),
                    t,
                    instr,
                    (word, 0, None),
                    (addr, data),
                    None,
                    out,
                );
                return;
            }
            Loc::Va(page, offset) => (page, offset),
        };
        let request = Request {
            cpu: t as u8,
            va: self.layout.addr_of(page) + u64::from(offset),
            write,
            user: running.el == 0,
            addr,
            data,
        };
        for (state, way) in ways(&world.state, &self.contexts(world, t), request) {
            let mut next = world.clone();
            next.state = state;
            match way {
                Ok(Target {
                    word,
                    view,
                    before,
                    entry,
                }) => {
                    let to = (word, view, before);
                    self.finish(next, t, instr, to, (addr, data), Some(entry), out);
                }
                Err(fault) => {
                    self.fault(&mut next, t, addr, fault);
                    out.push(next);
                }
            }
        }
    }

    fn fault(&self, world: &mut World, t: usize, addr: Time, fault: Fault) {
        let views = &mut world.state.cpus[t].views;
        views.control = views.control.max(addr).max(fault.view);
        views.seen = views.seen.max(fault.view);
        let from = world.threads[t].el;
        let el = match fault.stage {
            Stage::Two => 2,
            Stage::One => from.max(1),
        };
        world.threads[t].pc += 1;
        let cause = Cause::Fault {
            level: fault.level,
            permission: fault.permission,
            input: fault.input,
        };
        self.except(world, t, el, cause);
    }

    /// The data part of an access whose translation is known: `to` is a word, the view of its
    /// translation, and the moment that it was made before.
    #[allow(clippy::too_many_arguments)]
    fn finish(
        &self,
        mut world: World,
        t: usize,
        instr: &Instr,
        (word, led, before): (Word, Time, Option<Time>),
        (addr, data): (Time, Time),
        user: Option<Entry>,
        out: &mut Vec<World>,
    ) {
        let views = &mut world.state.cpus[t].views;
        // What follows is speculative until the address and the translation are known.
        views.control = views.control.max(addr).max(led);
        views.seen = views.seen.max(led);
        world.threads[t].pc += 1;
        match instr {
            Instr::Write {
                loc, value, order, ..
            } => {
                let value = match (value, loc) {
                    (Value::Imm(value), _) => *value,
                    (Value::Reg(reg), _) => world.threads[t].reg(*reg),
                    (Value::Desc(desc), Loc::Pte(at)) => self.layout.desc(self.test, *at, *desc),
                    _ => 0,
                };
                let view = addr.max(data).max(led);
                let site = Location::caller();
                let state = &mut world.state;
                state.store_later(t as u8, word, value, *order, view, user, site);
                out.push(world);
            }
            Instr::Read { dst, order, .. } => {
                for (value, time) in self.reads(&world, t, word, addr.max(led), before) {
                    let mut next = world.clone();
                    let views = &mut next.state.cpus[t].views;
                    let view = views.load.max(addr).max(led).max(time);
                    views.seen = views.seen.max(view);
                    views.observe(word, time);
                    if matches!(order, Order::Acquire | Order::Full) {
                        views.load = views.load.max(view);
                    }
                    next.threads[t].set(*dst, value, view);
                    out.push(next);
                }
            }
            _ => {}
        }
    }

    /// The values that a load may give, with their times.
    fn reads(
        &self,
        world: &World,
        t: usize,
        word: Word,
        floor: Time,
        before: Option<Time>,
    ) -> Vec<(u64, Time)> {
        let views = &world.state.cpus[t].views;
        if let Some(own) = views.buffer.iter().rev().find(|w| w.word == word) {
            return vec![(own.value, own.view)];
        }
        let floor = floor.max(views.load).max(views.coherence(word));
        let now = world.state.mem.get(word);
        let values = world.state.history.values(word, now, floor);
        values
            .filter(|(_, time)| before.is_none_or(|b| *time < b))
            .collect()
    }
}
