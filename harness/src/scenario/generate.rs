// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random scenarios.
//!
//! Swarm testing: each run turns most kinds of operation and of hardware action off
//! and gives the rest wild weights, so that runs differ from each other far more than
//! a single distribution would let them.

use super::words::Word;
use super::{MAX_OPS, MAX_STALE, Scenario, Slot, Stop};
use fastrand::Rng;
use shootdown_machine::arm64::Granule;
use shootdown_machine::{
    Access, Bbm, Config, Domain, Memory, Op, OpKind, OpSet, Operands, PAGE, PAGES,
};
use shootdown_machine::{Pick, Prot, Space, Switches, Va};

/// A random scenario, of these kinds of operation.
pub fn generate(rng: &mut Rng, ops: OpSet) -> Scenario {
    let machine = machine(rng, ops);
    let swarm = Swarm::new(rng, &machine, ops);
    let mut scenario = Scenario {
        machine,
        programs: swarm.programs(rng),
        schedule: swarm.schedule(rng),
        ..Scenario::default()
    };
    scenario.repair();
    scenario
}

/// Random programs for a machine, for a scheduler that decides as it goes.
pub fn programs(rng: &mut Rng, machine: &Config, ops: OpSet) -> Vec<Vec<Op>> {
    Swarm::new(rng, machine, ops).programs(rng)
}

/// Whether something of this probability happens.
pub(super) fn percent(rng: &mut Rng, probability: u32) -> bool {
    rng.u32(..100) < probability
}

/// Any of these.
pub(crate) fn any<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.usize(..from.len())]
}

/// An index, each as probable as its weight.
pub(super) fn weighted(rng: &mut Rng, weights: &[u32]) -> usize {
    let mut left = rng.u32(..weights.iter().sum::<u32>().max(1));
    for (index, weight) in weights.iter().enumerate() {
        match left.checked_sub(*weight) {
            Some(rest) => left = rest,
            None => return index,
        }
    }
    0
}

/// A random machine. Switches stay off: a finding must be one that the architecture
/// allows.
pub(super) fn machine(rng: &mut Rng, ops: OpSet) -> Config {
    // Where two CPUs work on one space's tables at a time, it takes a third to use them.
    let crowded = ops.has(OpKind::Zap);
    let weights = if crowded {
        [55, 37, 3, 5]
    } else {
        [84, 10, 3, 3]
    };
    let cpus = [2, 3, 1, 4][weighted(rng, &weights)];
    // With few tags they roll over early, which is where allocators are interesting.
    let tags = cpus + 2 + if percent(rng, 85) { 0 } else { rng.u8(1..=4) };
    Config {
        cpus,
        // A rollover needs more spaces than there are tags to hand out.
        spaces: if crowded && percent(rng, 50) {
            rng.u8(1..=2)
        } else {
            // With one, everything is about that one's tables.
            any(rng, &[1, 1, 2, 3, 4, 4, 4, 5, 5])
        },
        tags,
        memory: [Memory::Sc, Memory::Arm, Memory::Tso][weighted(rng, &[50, 35, 15])],
        domain: if percent(rng, 75) {
            Domain::Smt
        } else {
            Domain::Private
        },
        bbm: any(rng, Bbm::ALL),
        levels: if percent(rng, 85) { 2 } else { 3 },
        granule: Granule::ALL[weighted(rng, &[88, 6, 6])],
        switches: Switches::default(),
        ..Config::default()
    }
    .clamp()
}

/// The hardware actions that a swarm weighs.
const AGENTS: usize = 8;

/// What one run is fond of.
pub(super) struct Swarm {
    cpus: u8,
    spaces: u8,
    /// The addresses that nearly everything is about.
    hot: [Va; 3],
    /// Where pages are moved to.
    to: Va,
    /// By kind of operation.
    ops: [u32; OpKind::ALL.len()],
    /// Walk, evict, deliver, resolve, ipi, drain, stale, the host of a guest.
    agents: [u32; AGENTS],
    /// Slots that are no CPU's turn, in percent.
    agency: u32,
    /// Mean steps of a burst.
    burst: u32,
    /// Turns of a single step, in percent.
    single: u32,
    /// Whether CPUs take few turns, and long ones.
    long: bool,
    /// Operations of a program beside its first switch, at most.
    most: usize,
    /// Whether programs walk through the spaces in order, which uses up tags fastest.
    march: bool,
    /// Whether programs are rounds of a switch and a touch: the run loop of a VM, which
    /// has no tag before it is entered.
    rounds: bool,
}

impl Swarm {
    pub(super) fn new(rng: &mut Rng, machine: &Config, kinds: OpSet) -> Swarm {
        let mut ops = [0; OpKind::ALL.len()];
        // Of many kinds, the few that do not get along are seldom among themselves.
        let many = kinds.len() > OpKind::BASIC.len() + 4;
        let keep = rng.u32(if many { 8..=60 } else { 30..=70 });
        let mine = |(_, kind): &(_, &OpKind)| kinds.has(**kind);
        for (weight, kind) in ops.iter_mut().zip(OpKind::ALL).filter(mine) {
            let kept = match kind {
                OpKind::Switch => 100,
                OpKind::Touch => 90,
                _ => keep,
            };
            if percent(rng, kept) {
                *weight = rng.u32(1..=60);
            }
            match kind {
                // Nothing happens on a CPU that has no space loaded.
                OpKind::Switch if machine.spaces > 1 => *weight += 60,
                // Ending a space ends most of what is interesting about it.
                OpKind::Exit => *weight /= 3,
                _ => {}
            }
        }
        let mut agents = [0; AGENTS];
        for (weight, kept) in agents.iter_mut().zip([75, 45, 45, 40, 40, 90, 60, 25]) {
            if percent(rng, kept) {
                *weight = rng.u32(1..=40);
            }
        }
        // Few variants have IPIs.
        agents[4] /= 4;
        // Few variants are guests.
        agents[7] /= 2;
        // Buffers and old values are most of what a weak model adds.
        agents[5] *= 2 * u32::from(machine.memory.buffers());
        agents[6] *= u32::from(machine.memory.stale_reads());
        let any_agent = agents.iter().any(|w| *w > 0);
        let least = if machine.memory.buffers() { 15 } else { 5 };
        Swarm {
            cpus: machine.cpus,
            spaces: machine.spaces,
            hot: if many && percent(rng, 40) {
                [hot(rng)[0]; 3]
            } else {
                hot(rng)
            },
            to: page(rng, 0..PAGES),
            ops,
            agents,
            agency: if any_agent {
                rng.u32(least..=least + 35)
            } else {
                0
            },
            burst: rng.u32(1..=20),
            single: any(rng, &[0, 10, 30, 60]),
            long: any_agent && percent(rng, 50),
            // Where little happens, what was set up is seldom undone by the next operation.
            // Allocators come round after many switches, though.
            most: any(rng, &[4, 7, 11, 11]),
            march: percent(rng, 30),
            rounds: percent(rng, 40),
        }
    }

    /// One that is fond of the addresses of this scenario.
    pub(super) fn like(rng: &mut Rng, scenario: &Scenario, ops: OpSet) -> Swarm {
        let mut swarm = Swarm::new(rng, &scenario.machine, ops);
        for hot in &mut swarm.hot {
            let program = &scenario.programs[rng.usize(..scenario.programs.len())];
            if program.is_empty() || percent(rng, 20) {
                continue;
            }
            if let Some(va) = program[rng.usize(..program.len())].va() {
                *hot = va;
            }
        }
        swarm
    }

    /// An address, mostly a hot one.
    pub(super) fn va(&self, rng: &mut Rng) -> Va {
        if self.ops[OpKind::Move as usize] > 0 && percent(rng, 25) {
            self.to
        } else if percent(rng, 88) {
            any(rng, &self.hot)
        } else {
            page(rng, 0..PAGES)
        }
    }

    fn programs(&self, rng: &mut Rng) -> Vec<Vec<Op>> {
        (0..self.cpus).map(|_| self.program(rng)).collect()
    }

    fn program(&self, rng: &mut Rng) -> Vec<Op> {
        let mut loaded = Space(rng.u8(..self.spaces));
        let mut program = Vec::with_capacity(12);
        if percent(rng, 90) {
            program.push(Op::Switch(loaded));
        }
        let length = program.len() + rng.usize(1..=self.most);
        while program.len() < length {
            let mut op = self.op(rng, loaded);
            if self.rounds && percent(rng, 85) {
                op = match program.last() {
                    Some(Op::Switch(_)) => Op::Touch(self.va(rng), access(rng)),
                    _ => self.switch(rng, loaded),
                };
            }
            if let Op::Switch(space) = &mut op {
                // From the idle task, mostly back to where it came from.
                if matches!(program.last(), Some(Op::SchedOut)) && percent(rng, 60) {
                    *space = loaded;
                }
                loaded = *space;
            }
            // A copy goes to an empty space.
            if let Op::Fork(_, child) = op
                && program.len() + 1 < length
                && percent(rng, 70)
            {
                program.push(Op::Exit(child));
            }
            program.push(op);
        }
        debug_assert!(program.len() <= MAX_OPS);
        program
    }

    /// An operation for a CPU that has probably loaded this space.
    pub(super) fn op(&self, rng: &mut Rng, loaded: Space) -> Op {
        let kind = OpKind::ALL[weighted(rng, &self.ops)];
        let other = Space(rng.u8(..self.spaces));
        let space = if percent(rng, 60) { loaded } else { other };
        let va = match kind {
            OpKind::Switch => return self.switch(rng, loaded),
            // A hot page can be mapped once it was unmapped, others at once.
            OpKind::Map if percent(rng, 50) => page(rng, 0..PAGES),
            OpKind::Split | OpKind::Collapse => self.block_va(rng),
            _ => self.va(rng),
        };
        kind.with(&Operands {
            space,
            other: Space(rng.u8(..self.spaces)),
            va,
            to: match rng.u32(..10) {
                0..6 => self.to,
                6..8 => self.va(rng),
                _ => page(rng, 0..PAGES),
            },
            // Pages begin writable, so read-only is the change to make first.
            prot: if percent(rng, 65) { Prot::Ro } else { Prot::Rw },
            access: access(rng),
        })
    }

    /// A switch to another space than the loaded one.
    fn switch(&self, rng: &mut Rng, loaded: Space) -> Op {
        let by = if self.march || self.spaces < 3 {
            1
        } else {
            rng.u8(1..self.spaces)
        };
        Op::Switch(Space((loaded.0 + by) % self.spaces))
    }

    /// An address within the one block, mostly.
    fn block_va(&self, rng: &mut Rng) -> Va {
        if percent(rng, 70) {
            page(rng, BLOCK)
        } else {
            self.va(rng)
        }
    }

    pub(super) fn schedule(&self, rng: &mut Rng) -> Vec<Slot> {
        if self.long {
            return self.long_turns(rng);
        }
        let mut schedule = Vec::with_capacity(60);
        for _ in 0..rng.usize(8..=60) {
            schedule.push(self.slot(rng, schedule.last()));
        }
        schedule
    }

    /// What PCT does: few hand-overs, since most bugs need no more than two or three, at places
    /// that are anywhere; hardware acts within turns as well as between them.
    fn long_turns(&self, rng: &mut Rng) -> Vec<Slot> {
        let mut schedule = Vec::with_capacity(60);
        let gap = any(rng, &[4, 10, 30]);
        let most = any(rng, &[30, 60, 120]);
        let mut cpu = rng.u8(..self.cpus);
        for _ in 0..rng.usize(2..=6) {
            let mut left = rng.u16(1..=most);
            while left > 0 && schedule.len() < 60 {
                let steps = rng.u16(1..=2 * gap).min(left);
                left -= steps;
                let stop = Stop::Steps(steps);
                schedule.push(Slot::Run { cpu, stop });
                schedule.push(self.act(rng, schedule.last()));
            }
            if self.cpus > 1 {
                cpu = (cpu + rng.u8(1..self.cpus)) % self.cpus;
            }
        }
        schedule
    }

    /// A slot to follow this one.
    pub(super) fn slot(&self, rng: &mut Rng, after: Option<&Slot>) -> Slot {
        if !percent(rng, self.agency) {
            let mut cpu = rng.u8(..self.cpus);
            // Two turns of one CPU in a row are only a longer turn.
            if matches!(after, Some(Slot::Run { cpu: last, .. }) if *last == cpu) {
                cpu = (cpu + 1) % self.cpus;
            }
            return Slot::Run {
                cpu,
                stop: Stop::Steps(self.steps(rng)),
            };
        }
        self.act(rng, after)
    }

    /// A slot of hardware to follow this one: mostly on the CPU that has just run, where the
    /// window is.
    fn act(&self, rng: &mut Rng, after: Option<&Slot>) -> Slot {
        let cpu = match after {
            Some(slot) if self.long && percent(rng, 50) => slot.cpu(),
            _ => rng.u8(..self.cpus),
        };
        match weighted(rng, &self.agents) {
            0 => Slot::Walk {
                cpu,
                va: self.va(rng),
                old: percent(rng, 15),
                steps: if percent(rng, 60) {
                    None
                } else {
                    Some(rng.u8(1..=4))
                },
            },
            1 => Slot::Evict {
                cpu,
                va: if percent(rng, 40) {
                    None
                } else {
                    Some(self.va(rng))
                },
            },
            2 => Slot::Deliver {
                cpu,
                last: percent(rng, 30),
            },
            3 => Slot::Resolve {
                cpu,
                pick: any(rng, Pick::ALL),
            },
            4 => Slot::Ipi { cpu },
            // A buffer has something in it after a turn of its CPU. In order is how stores
            // reach memory anyway, at the next barrier.
            5 => Slot::Drain {
                cpu: match after {
                    Some(slot) if percent(rng, 75) => slot.cpu(),
                    _ => cpu,
                },
                last: percent(rng, 70),
            },
            6 => Slot::Stale {
                cpu,
                by: stale(rng),
            },
            _ if percent(rng, 40) => Slot::Preempt { cpu },
            _ => Slot::Resume { cpu },
        }
    }

    /// Steps of a turn: one, or a burst of geometric length.
    pub(super) fn steps(&self, rng: &mut Rng) -> u16 {
        let mut steps = 1;
        if !percent(rng, self.single) {
            while steps < 4 * self.burst && rng.u32(..self.burst) != 0 {
                steps += 1;
            }
        }
        steps as u16
    }
}

/// How many stores a read goes back: mostly one, sometimes as far as it may.
pub(crate) fn stale(rng: &mut Rng) -> u8 {
    match rng.u32(..10) {
        0..6 => 1,
        6..9 => rng.u8(2..=4),
        _ => MAX_STALE,
    }
}

/// The pages of the block that every space begins with.
const BLOCK: core::ops::Range<usize> = 4..8;

/// The pages that every space begins with.
const MAPPED: core::ops::Range<usize> = 0..2;

fn page(rng: &mut Rng, of: core::ops::Range<usize>) -> Va {
    rng.usize(of) as Va * PAGE
}

/// Two or three pages: mapped ones, some of the block, rarely others.
fn hot(rng: &mut Rng) -> [Va; 3] {
    let first = page(rng, MAPPED);
    let second = match rng.u32(..10) {
        0..4 => page(rng, BLOCK),
        4..8 => page(rng, MAPPED),
        _ => page(rng, 0..PAGES),
    };
    let third = if percent(rng, 50) {
        first
    } else {
        page(rng, 0..PAGES)
    };
    [first, second, third]
}

pub(super) fn access(rng: &mut Rng) -> Access {
    if rng.bool() {
        Access::Write
    } else {
        Access::Read
    }
}
