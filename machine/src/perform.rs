// SPDX-License-Identifier: MIT OR Apache-2.0
//! What each step of a CPU does to the machine.

use crate::act::{Act, Dsb, Note, Outcome};
use crate::arm64::Stage;
use crate::config::Arch;
use crate::context::El;
use crate::event::{Event, Site};
use crate::machine::{Announced, CpuState, Ipi, State};
use crate::mem::{Memory, SLOTS, Use};
use crate::op::{Access, BLOCK_PAGES, PAGE, Va};
use crate::tlb::{Entry, Found};
use crate::walk::{Progress, Walk, permitted};

impl State {
    /// Performs the announced step of `cpu`. `None`: it is not finished, and takes another.
    pub(crate) fn perform(&mut self, cpu: u8, a: Announced) -> Option<u64> {
        self.step += 1;
        self.cost.steps += 1;
        let ignored = self.is_sabotaged(&a, self.step);
        let value = if ignored {
            Some(matches!(a.act, Act::RemoteFence(..)) as u64) // it does not fail
        } else {
            self.execute(cpu, a)
        };
        if self.tracing
            && let Some(value) = value
        {
            self.events.push(Event::Did {
                cpu,
                act: a.act,
                value,
                site: a.site,
                ignored,
            });
        }
        value
    }

    fn execute(&mut self, cpu: u8, a: Announced) -> Option<u64> {
        let c = cpu as usize;
        Some(match a.act {
            Act::Load(word, order) => self.load(cpu, word, order),
            Act::Store(word, value, order) => {
                self.store(cpu, word, value, order, a.site);
                0
            }
            Act::Rmw(word, rmw, order) => self.rmw(cpu, word, rmw, order, a.site),
            Act::Lock(word) => {
                self.lock_word(cpu, word, cpu as u64 + 1, true, a.site);
                0
            }
            Act::Unlock(word) => {
                self.lock_word(cpu, word, 0, false, a.site);
                0
            }
            Act::ReadLock(word) | Act::ReadUnlock(word) => {
                let (had, mine) = (self.mem.get(word), reader(cpu));
                let taken = matches!(a.act, Act::ReadLock(_));
                let value = if taken { had | mine } else { had & !mine };
                self.lock_word(cpu, word, value, taken, a.site);
                0
            }
            Act::AwaitChange(_) | Act::AwaitOthers => 0,
            Act::Fence(fence) => {
                self.fence(cpu, fence);
                0
            }
            Act::IrqOff | Act::IrqOn => {
                let was = self.cpus[c].irqs_off;
                self.set_irqs_off(cpu, a.act == Act::IrqOff);
                was as u64
            }
            Act::Tlbi(op) => {
                self.issue(cpu, op, a.site);
                0
            }
            Act::Dsb(kind) => {
                self.cost.dsb += 1;
                self.synchronize_data(cpu, matches!(kind, Dsb::Ish | Dsb::Nsh));
                match kind {
                    Dsb::Ish => self.complete(cpu, true),
                    Dsb::Nsh => self.complete(cpu, false),
                    Dsb::Ishst | Dsb::Nshst => {}
                }
                self.events.push(Event::Dsb { cpu, kind });
                0
            }
            Act::Isb => {
                self.synchronize(cpu);
                0
            }
            Act::Msr(reg, value) => {
                match self.config.arch {
                    Arch::Arm64 => {
                        self.cpus[c].unsynced.push((reg, value));
                        self.events.push(Event::Context { cpu });
                    }
                    Arch::X86 => self.mov_cr(cpu, reg, value, a.site),
                    Arch::Riscv => self.set_satp(cpu, value),
                }
                0
            }
            Act::TlbSync => {
                self.memory_barrier(cpu);
                self.complete(cpu, true);
                0
            }
            Act::SfenceWInval => {
                self.drain_all(cpu);
                0
            }
            Act::SfenceInvalIr => {
                self.complete(cpu, false);
                0
            }
            Act::HartStop(stop) => {
                self.set_offline(cpu, stop);
                0
            }
            Act::RemoteFence(harts, op) => return self.remote_fence(cpu, harts, op, a.site),
            Act::EnterGuest | Act::ExitGuest => {
                let guest = a.act == Act::EnterGuest;
                self.cpus[c].el = if guest { El::Guest } else { El::Host };
                if guest {
                    self.quiescent(cpu);
                }
                self.exception(cpu);
                self.events.push(Event::Context { cpu });
                0
            }
            Act::Access(va, access) => {
                let outcome = self.access(cpu, va, access);
                let fault = outcome.is_some_and(|outcome| outcome != Outcome::Done as u64);
                if fault && self.config.arch == Arch::X86 {
                    self.x86_page_fault(cpu, va, a.site);
                }
                return outcome;
            }
            Act::SendIpi(target, message) => {
                self.cost.ipi += 1;
                self.cpus[c].unacked += 1;
                self.memory_barrier(cpu);
                let sent = self.history.now();
                self.cpus[target as usize].in_transit.push(Ipi {
                    from: cpu,
                    message,
                    sent,
                });
                0
            }
            Act::WaitIpi => 0,
            _ => self.manage(cpu, a),
        })
    }

    /// Frames and spaces.
    fn manage(&mut self, cpu: u8, a: Announced) -> u64 {
        let to = match a.act {
            Act::Free(pa) => {
                self.counted(cpu, pa);
                self.free(cpu, pa, a.site);
                return 0;
            }
            Act::FreeRcu(pa) => {
                let waits = |(_, c): &(u8, &CpuState)| c.irqs_off && c.el == El::Host;
                let cpus = (0..).zip(&self.cpus).filter(waits);
                let waiting = cpus.fold(0u8, |mask, (i, _)| mask | 1 << i) & !(1 << cpu);
                // A grace period is a full barrier on every CPU.
                for other in (0..self.config.cpus).filter(|c| waiting >> c & 1 == 0) {
                    self.memory_barrier(other);
                }
                self.deferred.push((pa, waiting, cpu, a.site));
                self.quiescent(cpu);
                return 0;
            }
            Act::Copy(from, to) => {
                self.mem.set_moved(from, true);
                self.events.push(Event::Copied { cpu, from, to });
                return 0;
            }
            Act::Note(pa, note) => return self.note_page(cpu, pa, note),
            Act::NewRoot(space) => {
                self.lives[space.0 as usize] += 1;
                space
            }
            Act::AllocTable(space) | Act::AllocPage(space, _) | Act::AllocBlock(space, _) => space,
            _ => return 0,
        };
        let life = self.life(to);
        let pa = match a.act {
            Act::AllocPage(_, page) => self.mem.alloc(Use::Page(life, page)),
            Act::AllocBlock(_, page) => self.mem.alloc_block(life, page),
            _ => self.mem.alloc(Use::Table(Some(life))),
        }
        .unwrap_or(0);
        let frames = match a.act {
            _ if pa == 0 => 0,
            Act::AllocBlock(..) => BLOCK_PAGES as u64,
            _ => 1,
        };
        for i in 0..frames {
            self.counted(cpu, pa + i * PAGE);
        }
        if pa != 0 && matches!(a.act, Act::AllocTable(_) | Act::NewRoot(_)) {
            for slot in 0..SLOTS as u64 {
                if let Some(word) = Memory::desc_word(pa + slot * 8) {
                    self.initialize(cpu, word, 0);
                }
            }
        }
        if self.tracing {
            for i in 0..frames {
                self.events.push(Event::Frame {
                    cpu,
                    pa: pa + i * PAGE,
                    to: Some(life),
                });
            }
        }
        if let Act::NewRoot(space) = a.act {
            self.roots[space.0 as usize] = pa;
            self.events.push(Event::Root { space, life, pa });
        }
        pa
    }

    /// A CPU has changed the count of a frame's references, by an atomic operation that is fully
    /// ordered, or has got the frame from the allocator: what was before the last such change is
    /// before what it does from now on (Linux, Documentation/core-api/refcount-vs-atomic.rst;
    /// `folio_try_get` and `put_page_testzero` are RMW operations that return a value).
    fn counted(&mut self, cpu: u8, pa: u64) {
        self.memory_barrier(cpu);
        let now = self.history.now();
        let before = self.mem.counted(pa, now);
        self.catch_up(cpu, before);
    }

    /// What software notes of a page; atomic, and seen by all at once.
    fn note_page(&mut self, cpu: u8, pa: u64, note: Note) -> u64 {
        match note {
            Note::Get => {
                let got = self.mem.get_page(pa);
                // One that fails orders nothing.
                if got {
                    self.counted(cpu, pa);
                }
                got as u64
            }
            Note::Count => self.mem.frame(pa).references as u64,
            Note::Dirty | Note::WriteBack => {
                self.mem.set_moved(pa, note == Note::WriteBack);
                0
            }
        }
    }

    fn free(&mut self, cpu: u8, pa: u64, site: Site) {
        if !self.mem.free(pa) {
            self.events.push(Event::DoubleFree { cpu, pa, site });
        } else if self.tracing {
            self.events.push(Event::Frame { cpu, pa, to: None });
        }
    }

    /// A CPU is in a quiescent state: tables that have waited for nobody else are freed.
    pub(crate) fn quiescent(&mut self, cpu: u8) {
        let mut i = 0;
        if !self.deferred.is_empty() {
            self.memory_barrier(cpu);
        }
        while let Some(deferred) = self.deferred.get_mut(i) {
            deferred.1 &= !(1 << cpu);
            if deferred.1 == 0 {
                let (pa, _, by, site) = self.deferred.remove(i);
                let now = self.history.now();
                for cpu in 0..self.config.cpus {
                    self.catch_up(cpu, now);
                }
                self.free(by, pa, site);
            } else {
                i += 1;
            }
        }
    }

    /// One step of an access: a look-up, or a step of its walk. User code runs after an
    /// exception return, which synchronizes the context; where it does not, the access is one
    /// of the old context.
    fn access(&mut self, cpu: u8, va: Va, access: Access) -> Option<u64> {
        let c = cpu as usize;
        if let Some(mut walk) = self.cpus[c].demand.take() {
            return match walk.step(self, cpu) {
                Progress::More => {
                    self.cpus[c].demand = Some(walk);
                    None
                }
                Progress::Filled => None, // the look-up is the next step
                Progress::Uncached(entry) => Some(self.reached(cpu, va, access, entry)),
                Progress::Fault(why) => Some(self.end_access(cpu, va, access, why)),
            };
        }
        self.exception(cpu);
        let Some(ctx) = self.context(cpu, true) else {
            return Some(self.end_access(cpu, va, access, Outcome::Translation));
        };
        let pick = self.cpus[c].pick;
        let found =
            self.tlb(cpu)
                .lookup(cpu, ctx.tags, Stage::One, va, self.config.answers(), pick);
        if self.remembers_absence() && self.answers_absent(cpu, ctx.tags, va, &found) {
            return Some(self.end_access(cpu, va, access, Outcome::Translation));
        }
        match found {
            // To mark the page as dirty, hardware reads the descriptor again.
            Found::Hit(entry) if entry.must_mark(access) => self.forget(cpu, entry.id),
            Found::Hit(entry) => return Some(self.reached(cpu, va, access, entry)),
            Found::Conflict => {
                return Some(self.end_access(cpu, va, access, Outcome::Conflict));
            }
            Found::Miss => {}
        }
        self.cost.refills += 1;
        self.cpus[c].demand = Some(Walk::begin(self, cpu, ctx, va, Some(access)));
        None
    }

    fn reached(&mut self, cpu: u8, va: Va, access: Access, entry: Entry) -> u64 {
        let outcome = permitted(&entry, access == Access::Write);
        let via = Some(entry);
        self.events.push(Event::Accessed {
            cpu,
            va,
            access,
            outcome,
            via,
        });
        outcome as u64
    }

    fn end_access(&mut self, cpu: u8, va: Va, access: Access, outcome: Outcome) -> u64 {
        self.events.push(Event::Accessed {
            cpu,
            va,
            access,
            outcome,
            via: None,
        });
        outcome as u64
    }
}

/// What a reader adds to the word of a reader/writer lock; a writer is its number and 1, alone.
fn reader(cpu: u8) -> u64 {
    1 << (8 + cpu)
}
