// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine's state, and what hardware does to it on its own.

mod delivery;
mod ipi;

use crate::act::Act;
use crate::arch::Decoded;
use crate::arm64::{Desc, HCR_VM, Reg, Regs, Stage, Tlbi};
use crate::config::{Arch, Config, Pick, Switch};
use crate::context::{Context, El, level_size, slot_pa};
use crate::event::{Drop, Event, Site};
use crate::mem::{Memory, SLOTS, Use};
use crate::op::{Space, Va};
use crate::order::{History, Time, Views};
use crate::tlb::{Entry, Life, Tlb};
use crate::walk::{Progress, Walk};
use crate::x86::Host;
use crate::{riscv, x86};

/// What a CPU will do next.
#[derive(Clone, Copy, Debug)]
pub struct Announced {
    /// The step.
    pub act: Act,
    /// Where in the port.
    pub site: Site,
}

/// A TLBI on its way to a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Pending {
    op: Tlbi,
    vmid: u16,
    from: u8,
    number: u32,
}

/// A TLBI that took effect on a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Flush {
    /// When.
    pub time: Time,
    /// The CPU issued it itself.
    pub own: bool,
    /// A DSB of its issuer has completed it.
    pub complete: bool,
    /// And the CPU's own context was synchronized since.
    pub synced: bool,
}

/// An inter-processor interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ipi {
    /// Who sent it.
    pub from: u8,
    /// What it says.
    pub message: u64,
    /// When: its handler sees what was stored before.
    pub sent: Time,
}

/// One CPU.
#[derive(Clone, Debug, Default)]
pub struct CpuState {
    /// Registers as the last context synchronization left them.
    pub regs: Regs,
    /// Writes since, oldest first: a walk may see none or all of them.
    pub unsynced: Vec<(Reg, u64)>,
    /// Exception level.
    pub el: El,
    /// The announced step; `None` when there is no operation.
    pub next: Option<Announced>,
    /// How many steps have been announced: a step that takes several turns counts once.
    pub announcements: u32,
    /// The speculative walk in flight.
    pub walk: Option<Walk>,
    /// What it has seen of memory, and its stores that others have not.
    pub views: Views,
    /// How often a load of its program gave an older value than memory has.
    pub(crate) old_values: u32,
    /// How often others took entries from it: by TLBIs that took effect here, or by IPIs.
    pub(crate) lost_to_others: u32,
    /// The walk of the access that is being made.
    pub(crate) demand: Option<Walk>,
    pub(crate) inbox: Vec<Pending>,
    pub(crate) irqs_off: bool,
    pub(crate) in_transit: Vec<Ipi>,
    pub(crate) raised: Vec<Ipi>,
    pub(crate) unacked: u32,
    /// TLBIs that took effect here; kept only if [`State::remember`].
    pub(crate) flushes: Vec<Flush>,
    /// Entries that they took away, with the time of that; kept only if [`State::remember`].
    pub(crate) dead: Vec<(Entry, Time)>,
    /// Which of several entries answers.
    pub pick: Pick,
    /// A virtual CPU that its host has taken off its core.
    pub preempted: bool,
    /// Its host has looked for a flush to do, and not yet cleared the word.
    pub(crate) resuming: bool,
    /// A hart that no fence reaches.
    pub(crate) offline: bool,
    /// A remote fence is on its way.
    pub(crate) fencing: bool,
    /// Ghost: what the port says it is in the middle of.
    pub phase: &'static str,
}

/// What a run cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cost {
    /// Steps of CPUs and of hardware.
    pub steps: u64,
    /// TLBIs for the issuing CPU only.
    pub tlbi_local: u64,
    /// TLBIs for the domain.
    pub tlbi_broadcast: u64,
    /// DSBs.
    pub dsb: u64,
    /// IPIs.
    pub ipi: u64,
    /// Entries that TLBIs removed.
    pub entries_lost: u64,
    /// Entries inserted.
    pub fills: u64,
    /// Walks that an access had to wait for.
    pub refills: u64,
    /// Fault handlers run.
    pub faults: u64,
    /// Slow paths that ports name.
    pub slow_paths: u64,
}

impl Cost {
    /// TLBIs of either scope.
    pub fn tlbis(&self) -> u64 {
        self.tlbi_local + self.tlbi_broadcast
    }
}

/// Maintenance that the machine ignores: TLBIs, barriers, locks, IPIs and plain stores only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sabotage {
    /// Whatever a call site does.
    Site {
        /// Source file, as the compiler names it.
        file: &'static str,
        /// Line.
        line: u32,
        /// Column.
        column: u32,
    },
    /// The step of this number.
    Step(u32),
}

/// Everything.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The machine line.
    pub config: Config,
    /// Memory.
    pub mem: Memory,
    /// The stores that have reached memory.
    pub history: History,
    /// CPUs.
    pub cpus: Vec<CpuState>,
    /// What is under them.
    pub(crate) host: Host,
    tlbs: Vec<Tlb>,
    /// Events since they were last taken.
    pub events: Vec<Event>,
    /// Steps so far.
    pub step: u32,
    /// Root table of each space.
    pub roots: [u64; 8],
    /// Incarnation of each space.
    pub lives: [u8; 8],
    /// Tables that say what a space maps, where those that walkers read are only filled from
    /// them (as the host's are, for a VM's stage 2); 0: there are none. The
    /// root is one of level 2.
    pub primary: [u64; 8],
    /// Tables that are freed when the CPUs of a mask have been quiescent; who freed them.
    pub(crate) deferred: Vec<(u64, u8, u8, Site)>,
    next_entry: u32,
    next_tlbi: u32,
    /// How often a descriptor has changed.
    pub pte_changes: u32,
    /// Ghost: for each space, pins that somebody has and may give back.
    pub pins: [u8; 8],
    /// Record every step.
    pub tracing: bool,
    /// Remember what TLBIs took away, for accesses that were made before and are only looked at
    /// later: user programs of several accesses (litmus tests).
    pub remember: bool,
    /// Maintenance to ignore.
    pub sabotage: Option<Sabotage>,
    /// Goals reached.
    pub goals: Vec<&'static str>,
    /// Counters.
    pub cost: Cost,
}

impl State {
    /// Back to power-on, under another configuration.
    pub fn reset(&mut self, config: Config) {
        self.config = config;
        self.mem.reset();
        self.cpus.truncate(config.cpus as usize);
        for cpu in &mut self.cpus {
            let CpuState {
                unsynced,
                inbox,
                in_transit,
                raised,
                views,
                ..
            } = core::mem::take(cpu);
            *cpu = CpuState {
                unsynced,
                inbox,
                in_transit,
                raised,
                views,
                ..CpuState::default()
            };
            cpu.unsynced.clear();
            cpu.inbox.clear();
            cpu.in_transit.clear();
            cpu.raised.clear();
        }
        self.cpus
            .resize_with(config.cpus as usize, CpuState::default);
        let words = self.mem.words();
        self.history.reset(words);
        for cpu in &mut self.cpus {
            cpu.views.reset(words);
        }
        let tlbs = config.tlb_of(config.cpus - 1) + 1;
        self.tlbs
            .resize_with(tlbs.max(self.tlbs.len()), Tlb::default);
        self.host = Host::default();
        for tlb in &mut self.tlbs {
            tlb.entries.clear();
            tlb.absent.clear();
        }
        self.events.clear();
        self.step = 0;
        self.roots = [0; 8];
        self.lives = [0; 8];
        self.primary = [0; 8];
        self.deferred.clear();
        self.next_entry = 0;
        self.next_tlbi = 0;
        self.pte_changes = 0;
        self.pins = [0; 8];
        self.tracing = false;
        self.sabotage = None;
        self.goals.clear();
        self.cost = Cost::default();
    }

    /// The TLB that a CPU uses.
    pub fn tlb(&self, cpu: u8) -> &Tlb {
        &self.tlbs[self.config.tlb_of(cpu)]
    }

    /// The TLBs that exist.
    pub fn tlbs(&self) -> &[Tlb] {
        &self.tlbs[..=self.config.tlb_of(self.config.cpus - 1)]
    }

    /// The current incarnation of a space.
    pub fn life(&self, space: Space) -> Life {
        Life {
            space,
            nth: self.lives[space.0 as usize],
        }
    }

    /// A CPU's registers: as synchronized, or with all later writes.
    pub fn regs(&self, cpu: u8, old: bool) -> Regs {
        let c = &self.cpus[cpu as usize];
        let mut regs = c.regs;
        if !old {
            for (reg, value) in &c.unsynced {
                regs.set(*reg, *value);
            }
        }
        regs
    }

    /// The context that a CPU's walks begin under.
    pub fn context(&self, cpu: u8, old: bool) -> Option<Context> {
        let regs = self.regs(cpu, old);
        let el = self.cpus[cpu as usize].el;
        match self.config.arch {
            Arch::Arm64 => Context::of(&regs, el, self.config.switches.on(Switch::OutOfContext)),
            Arch::X86 => x86::context(&regs),
            Arch::Riscv => riscv::context(&regs),
        }
    }

    /// The context that a CPU's accesses go through: no out-of-context walk is one.
    pub fn used(&self, cpu: u8) -> Option<Context> {
        match self.config.arch {
            Arch::Arm64 => Context::of(&self.regs(cpu, false), self.cpus[cpu as usize].el, false),
            _ => self.context(cpu, false),
        }
    }

    /// The context in a CPU's registers, whether or not its exception level uses it now.
    pub fn loaded(&self, cpu: u8) -> Option<Context> {
        match self.config.arch {
            Arch::Arm64 => Context::of(&self.regs(cpu, false), El::Guest, false),
            _ => self.context(cpu, false),
        }
    }

    /// The stage whose tables belong to the spaces.
    pub fn stage(&self) -> Stage {
        let virtualized = self.cpus[0].regs.hcr & HCR_VM != 0;
        if virtualized { Stage::Two } else { Stage::One }
    }

    /// Whether the table at `pa` has been freed, and waits for a grace period.
    pub fn waits_for_grace(&self, pa: u64) -> bool {
        self.deferred.iter().any(|(table, ..)| *table == pa)
    }

    /// What a descriptor of the spaces' tables means at a level.
    pub fn decode(&self, level: u8, desc: Desc) -> Decoded {
        self.config.arch.decode(self.stage(), level, desc)
    }

    /// Where a space's own tables map `va` now: level, address of the descriptor, descriptor.
    pub fn translate(&self, space: Space, va: Va) -> Option<(u8, u64, Desc)> {
        self.look_up(self.roots[space.0 as usize], self.config.first_level(), va)
    }

    /// Where a space's mapping of `va` is kept: as [`translate`](Self::translate), but in its
    /// [`primary`](Self::primary) tables if it has any.
    pub fn mapping(&self, space: Space, va: Va) -> Option<(u8, u64, Desc)> {
        match self.primary[space.0 as usize] {
            0 => self.translate(space, va),
            root => self.look_up(root, 2, va),
        }
    }

    fn look_up(&self, mut table: u64, first: u8, va: Va) -> Option<(u8, u64, Desc)> {
        for level in first..=3 {
            let at = slot_pa(table, level, va);
            let desc = self.mem.desc(at);
            match self.decode(level, desc) {
                Decoded::Leaf(_) => return Some((level, at, desc)),
                Decoded::Table(pa) => table = pa,
                Decoded::Invalid => return None,
            }
        }
        None
    }

    /// The first address and the level that the descriptor at `pa` translates in a space's
    /// tables; `None`: it is not part of them.
    pub fn locate(&self, space: Space, pa: u64) -> Option<(Va, u8)> {
        self.locate_in(
            self.roots[space.0 as usize],
            self.config.first_level(),
            0,
            pa,
        )
    }

    fn locate_in(&self, table: u64, level: u8, base: Va, pa: u64) -> Option<(Va, u8)> {
        if pa.wrapping_sub(table) < SLOTS as u64 * 8 {
            return Some((base + (pa - table) / 8 * level_size(level), level));
        }
        (0..SLOTS as u64).find_map(|i| {
            let Decoded::Table(next) = self.decode(level, self.mem.desc(table + i * 8)) else {
                return None;
            };
            let below = base + i * level_size(level);
            self.locate_in(next, level + 1, below, pa)
        })
    }

    /// A descriptor of a table is about to be changed. A table that spaces have shared, and that
    /// one reference is left of, is from now on that of the space that still has it.
    pub(crate) fn claim_table(&mut self, pa: u64) {
        let frame = self.mem.frame(pa);
        if frame.shared && frame.references == 1 && matches!(frame.usage, Use::Table(_)) {
            let mut spaces = (0..self.config.spaces).map(Space);
            let left = spaces.find(|s| self.locate(*s, pa).is_some());
            self.mem.claim(pa, left.map(|space| self.life(space)));
        }
    }

    /// Whose context that is.
    pub fn context_owner(&self, ctx: &Context) -> Option<Life> {
        match self.mem.frame(ctx.root()).usage {
            Use::Table(life) => life,
            _ => None,
        }
    }

    /// A root table of the kernel's own becomes a space's, or nobody's.
    pub(crate) fn lend_root(&mut self, cpu: u8, pa: u64, space: Option<Space>) {
        for root in self.roots.iter_mut().filter(|root| **root == pa) {
            *root = 0;
        }
        let to = space.map(|space| self.life(space));
        self.mem.set_owner(pa, to);
        if let Some(life) = to {
            self.roots[life.space.0 as usize] = pa;
            if self.tracing {
                self.events.push(Event::Lent { cpu, pa, to: life });
            }
        }
    }

    /// Context synchronization: an ISB, an exception entry or return (machine rule 8).
    pub(crate) fn synchronize(&mut self, cpu: u8) {
        let regs = self.regs(cpu, false);
        let c = &mut self.cpus[cpu as usize];
        c.regs = regs;
        c.views.synchronize();
        for flush in &mut c.flushes {
            flush.synced |= flush.own && flush.complete;
        }
        if !c.unsynced.is_empty() {
            c.unsynced.clear();
            self.events.push(Event::Context { cpu });
        }
        if !self.config.switches.on(Switch::Inflight) {
            self.end_foreign_walks(cpu);
        }
    }

    /// Exception entry or return.
    pub(crate) fn exception(&mut self, cpu: u8) {
        if !self.config.switches.on(Switch::ExS) {
            self.synchronize(cpu);
        }
    }

    /// Ends walks that began under a context which is loaded no more.
    pub(crate) fn end_foreign_walks(&mut self, cpu: u8) {
        let now = self.context(cpu, false);
        let c = &mut self.cpus[cpu as usize];
        if c.walk.is_some_and(|w| Some(w.ctx) != now) {
            c.walk = None;
        }
    }

    /// Inserts an entry into the TLB of `cpu`.
    pub(crate) fn insert(&mut self, cpu: u8, mut entry: Entry, demand: bool) {
        self.next_entry += 1;
        entry.id = self.next_entry;
        self.cost.fills += 1;
        let tlb = self.config.tlb_of(cpu);
        let (events, tracing) = (&mut self.events, self.tracing);
        self.tlbs[tlb].insert(entry, |entry, why| {
            if tracing {
                events.push(Event::Dropped { cpu, entry, why });
            }
        });
        self.events.push(Event::Fill { cpu, entry, demand });
    }

    /// An entry leaves the TLB of `cpu`, to be made again.
    pub(crate) fn forget(&mut self, cpu: u8, entry: u32) {
        let tlb = self.config.tlb_of(cpu);
        if self.tlbs[tlb].remove(entry) && self.tracing {
            let why = Drop::Replaced;
            self.events.push(Event::Dropped { cpu, entry, why });
        }
    }

    /// Whether walkers may cache that nothing is mapped.
    pub(crate) fn remembers_absence(&self) -> bool {
        self.config.arch == Arch::Riscv && !self.config.switches.on(Switch::Svvptc)
    }

    /// Has a walker remember that nothing is mapped.
    pub(crate) fn insert_absent(&mut self, cpu: u8, mut entry: Entry, demand: bool) {
        self.next_entry += 1;
        entry.id = self.next_entry;
        let tlb = self.config.tlb_of(cpu);
        self.tlbs[tlb].insert_absent(entry);
        if self.tracing {
            self.events.push(Event::Absent { cpu, entry, demand });
        }
    }

    /// One step of the walker of `cpu`, or a whole new walk if `steps` is `None`.
    /// Whether anything happened.
    pub fn walk(&mut self, cpu: u8, va: Va, old: bool, steps: Option<u8>) -> bool {
        let i = cpu as usize;
        if steps == Some(0) || self.cpus[i].preempted {
            return false;
        }
        let mut left = steps.map_or(u32::MAX, u32::from);
        let mut walk = match (steps, self.cpus[i].walk.take()) {
            (Some(_), Some(walk)) => walk,
            (_, abandoned) => {
                let Some(ctx) = self.context(cpu, old) else {
                    self.cpus[i].walk = abandoned;
                    return false;
                };
                left -= 1;
                Walk::begin(self, cpu, ctx, va, None)
            }
        };
        while left > 0 {
            self.step += 1;
            self.cost.steps += 1;
            match walk.step(self, cpu) {
                Progress::More => left -= 1,
                _ => return true,
            }
        }
        self.cpus[i].walk = Some(walk);
        true
    }

    /// Evicts the leaf and table entries for an address, or the oldest entry.
    pub fn evict(&mut self, cpu: u8, va: Option<Va>) -> bool {
        self.step += 1;
        let entries = &mut self.tlbs[self.config.tlb_of(cpu)].entries;
        let before = entries.len();
        let (events, tracing) = (&mut self.events, self.tracing);
        let mut oldest = true;
        entries.retain(|e| {
            let gone = match va {
                Some(va) => e.covers(va),
                None => core::mem::take(&mut oldest),
            };
            if gone && tracing {
                events.push(Event::Dropped {
                    cpu,
                    entry: e.id,
                    why: Drop::Evicted,
                });
            }
            !gone
        });
        let mut evicted = before != entries.len();
        let absent = &mut self.tlbs[self.config.tlb_of(cpu)].absent;
        let before = absent.len();
        absent.retain(|e| !va.is_some_and(|va| e.covers(va)));
        evicted |= before != absent.len();
        evicted
    }

    /// Whether the announced step cannot be taken now.
    pub fn blocked(&self, cpu: u8) -> bool {
        let c = &self.cpus[cpu as usize];
        match &c.next {
            _ if c.preempted => true,
            None => false,
            Some(a) => match a.act {
                Act::Lock(word) => self.mem.get(word) != 0 && !self.is_sabotaged(a, self.step + 1),
                // A writer's number is in the low byte.
                Act::ReadLock(word) => {
                    self.mem.get(word) & 0xff != 0 && !self.is_sabotaged(a, self.step + 1)
                }
                Act::AwaitChange(since) => self.changes_for(cpu) == since,
                Act::AwaitOthers => {
                    (0..self.config.cpus).any(|other| other != cpu && self.goes_on(other))
                }
                Act::WaitIpi => c.unacked != 0,
                _ => false,
            },
        }
    }

    /// Whether a CPU is in the middle of an operation and goes on sooner or later, whatever the
    /// CPUs do that wait for it.
    fn goes_on(&self, cpu: u8) -> bool {
        let c = &self.cpus[cpu as usize];
        c.next.as_ref().is_some_and(|a| match a.act {
            Act::AwaitOthers => false,
            // IPIs are handled, and hosts give a CPU back.
            Act::WaitIpi => true,
            _ => c.preempted || !self.blocked(cpu),
        })
    }

    /// How often a CPU that looks at descriptors once more may find something else: they have
    /// changed, or what it read was old. A loop that looks again and again sees the newest value
    /// at last: every store becomes visible in finite time (Arm ARM, B2.3).
    pub(crate) fn changes_for(&self, cpu: u8) -> u32 {
        self.pte_changes + self.cpus[cpu as usize].old_values
    }

    /// Ghost: somebody gives back what it has pinned of a space; `false`: nobody has anything.
    pub fn unpin(&mut self, space: Space) -> bool {
        let pins = &mut self.pins[space.0 as usize];
        let has = *pins > 0;
        *pins -= u8::from(has);
        has
    }

    /// How often an access of this CPU that faults might have come out otherwise: descriptors have
    /// changed, or others took entries from it.
    pub fn changes_for_access(&self, cpu: u8) -> u32 {
        self.pte_changes + self.cpus[cpu as usize].lost_to_others
    }

    /// Whether what was announced is to be ignored as the step of this number.
    pub(crate) fn is_sabotaged(&self, a: &Announced, step: u32) -> bool {
        let here = match self.sabotage {
            None => false,
            Some(Sabotage::Step(ignored)) => step == ignored,
            Some(Sabotage::Site { file, line, column }) => {
                a.site.line() == line && a.site.column() == column && a.site.file() == file
            }
        };
        here && a.act.is_maintenance()
    }
}
