// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random scenarios.
//!
//! Swarm testing: each run turns most kinds of operation and of hardware action off
//! and gives the rest wild weights, so that runs differ from each other far more than
//! a single distribution would let them.

mod duel;
mod march;
mod programs;
mod schedule;
mod sketch;

use super::words::Word;
use super::{MAX_STALE, Scenario};
use duel::Kinds;
use fastrand::Rng;
use shootdown_machine::arm64::Granule;
use shootdown_machine::{Access, Bbm, Config, Domain, Memory, Op, OpKind, OpSet};
use shootdown_machine::{BLOCK_PAGES, PAGE, PAGES, Switches, Va};

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

/// Gives a scenario's programs another random schedule.
pub fn reschedule(rng: &mut Rng, scenario: &mut Scenario, ops: OpSet) {
    scenario.schedule = Swarm::like(rng, scenario, ops).schedule(rng);
    scenario.repair();
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
pub(crate) fn weighted(rng: &mut Rng, weights: &[u32]) -> usize {
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
            any(rng, &[1, 2, 2])
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

/// Programs about tables, in percent, that are a duel.
const DUELS: u32 = 50;

/// What one run is fond of.
pub(super) struct Swarm {
    cpus: u8,
    spaces: u8,
    /// The addresses that nearly everything is about.
    hot: [Va; 3],
    /// Where pages are moved to.
    to: Va,
    /// The kinds that there are.
    kinds: OpSet,
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
    /// Whether programs begin with the end of what a space has at first: nothing is in the way of
    /// what they make.
    empty: bool,
    /// Whether programs are about few tables and not about tags: short ones, whose operations,
    /// of few kinds, mostly have something to do.
    tables: bool,
    /// Whether these are one or two operations for each CPU, between users that touch what the
    /// operations are about.
    users: bool,
    /// Whether spaces have the areas of an mm.
    areas: bool,
    /// What these are a duel of, if they are one.
    duel: Option<Kinds>,
    /// Whether one CPU goes through all spaces while the others do little; and how many of the
    /// spaces that are loaded are used then, in percent.
    entries: Option<u32>,
}

impl Swarm {
    /// Half are about tables, and more where most kinds are; the others are about tags as well.
    pub(super) fn new(rng: &mut Rng, machine: &Config, kinds: OpSet) -> Swarm {
        let swarm = Swarm::any(rng, machine, kinds);
        let many = kinds.len() > OpKind::BASIC.len() + 4;
        if percent(rng, if many { 80 } else { 50 }) {
            swarm.about_tables(rng)
        } else if machine.spaces > 2 && kinds.has(OpKind::Switch) && percent(rng, 40) {
            swarm.marching(rng)
        } else {
            swarm
        }
    }

    /// One in which a CPU marches, which is mostly about one page.
    fn marching(self, rng: &mut Rng) -> Swarm {
        let first = match percent(rng, 30) {
            true => page(rng, BLOCK),
            false => self.hot[0],
        };
        Swarm {
            hot: match percent(rng, 60) {
                true => [first; 3],
                false => self.hot,
            },
            entries: Some(any(rng, &[0, 50, 90, 100])),
            ..self
        }
    }

    /// One that is about tables.
    fn about_tables(self, rng: &mut Rng) -> Swarm {
        let mut ops = [0; OpKind::ALL.len()];
        let others = |kind: &OpKind| !matches!(kind, OpKind::Switch | OpKind::Touch);
        let mut others: Vec<_> = OpKind::ALL.iter().filter(|kind| others(kind)).collect();
        // A copy goes to another space.
        let lacks = |kind: OpKind| kind == OpKind::Fork && self.spaces < 2;
        others.retain(|kind| self.kinds.has(**kind) && !lacks(**kind));
        rng.shuffle(&mut others);
        let duel = percent(rng, DUELS).then(|| self.duel(rng, &others));
        let taken = match &duel {
            Some(duel) => 2 + duel.before.len(),
            None => any(rng, &[1, 2, 2, 3, 4, 6]),
        };
        for kind in others.iter().take(taken) {
            ops[**kind as usize] = rng.u32(10..=60);
        }
        // Where an access meets something, others have used the page before.
        let accessed = duel
            .as_ref()
            .is_some_and(|duel| duel.meet[0] == OpKind::Touch);
        let users = percent(rng, if accessed { 80 } else { 50 })
            && self.kinds.has(OpKind::Switch)
            && self.kinds.has(OpKind::Touch);
        if self.kinds.has(OpKind::Touch) {
            ops[OpKind::Touch as usize] =
                any(rng, if users { &[3, 10, 20] } else { &[10, 30, 60] });
        }
        if self.kinds.has(OpKind::Switch) && !users {
            ops[OpKind::Switch as usize] = any(rng, &[1, 5, 15]);
        }
        // Other kernels may be tried together with one of mms.
        let areas = self.kinds.has(OpKind::Move) && percent(rng, 90);
        let has = |kinds: &[OpKind]| kinds.iter().any(|kind| ops[*kind as usize] > 0);
        // Tables move from where one begins.
        let tables_move = has(&[OpKind::Move]) && percent(rng, 35);
        let fork = duel.as_ref().is_some_and(|duel| duel.forked) || has(&[OpKind::Fork]);
        let mut first = match has(&[OpKind::Split, OpKind::Collapse]) {
            _ if tables_move => table(rng, areas),
            // Where blocks are made and broken, it is about one.
            true if percent(rng, 85) => page(rng, BLOCK),
            // A page by itself comes and goes with its table, whose first is worth more.
            _ if percent(rng, 15) => page(rng, 8..PAGES),
            _ if percent(rng, if fork { 50 } else { 20 }) => any(rng, &[8, 12, 12]) * PAGE,
            _ => self.hot[0],
        };
        if areas && first == 0 && has(&[OpKind::Move, OpKind::Gup, OpKind::Hint]) {
            first = PAGE;
        }
        let to = match tables_move {
            true => table(rng, areas),
            false if areas => page(rng, 2..12),
            // Mostly where nothing is.
            false if percent(rng, 60) => page(rng, 8..PAGES),
            false => page(rng, 0..PAGES),
        };
        let near = first ^ any(rng, &[PAGE, 2 * PAGE]);
        let spaces = any(
            rng,
            match users {
                _ if fork => &[2],
                true => &[1, 1, 1, 1, 2],
                false => &[1, 1, 1, 2, 2],
            },
        );
        Swarm {
            spaces: self.spaces.min(spaces),
            hot: match rng.u32(..4) {
                0 | 1 => [first; 3],
                _ if users && percent(rng, 60) => [first; 3],
                2 => [first, first, near],
                _ => [first, self.hot[1], near],
            },
            to,
            ops,
            most: any(rng, &[2, 3, 4, 6]),
            // Tables move to where none is.
            empty: percent(rng, if tables_move { 60 } else { 10 }),
            tables: true,
            users,
            duel,
            areas,
            ..self
        }
    }

    /// A duel of the first of these kinds.
    fn duel(&self, rng: &mut Rng, kinds: &[&OpKind]) -> Kinds {
        let mut kinds = kinds.iter().map(|kind| **kind);
        let mut meet = [(); 2].map(|()| kinds.next().unwrap_or(OpKind::Touch));
        if self.kinds.has(OpKind::Touch) && percent(rng, 35) {
            meet[0] = OpKind::Touch;
        }
        let mut before: Vec<_> = kinds.take(any(rng, &[0, 0, 1, 1, 2])).collect();
        // Pages that others work with, and spaces that are copies, are ordinary ones.
        if self.kinds.has(OpKind::Gup) && percent(rng, 30) {
            before.push(OpKind::Gup);
        }
        let forked = self.kinds.has(OpKind::Fork) && self.spaces > 1 && percent(rng, 35);
        Kinds {
            meet,
            before,
            forked,
        }
    }

    /// One that is about anything.
    fn any(rng: &mut Rng, machine: &Config, kinds: OpSet) -> Swarm {
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
            kinds,
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
            empty: false,
            tables: false,
            users: false,
            duel: None,
            areas: false,
            entries: None,
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
        if self.ops[OpKind::Move as usize] > 0 && percent(rng, 35) {
            self.to
        } else if percent(rng, 88) {
            any(rng, &self.hot)
        } else {
            page(rng, 0..PAGES)
        }
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

/// Where a table begins; with areas, one that may move.
fn table(rng: &mut Rng, areas: bool) -> Va {
    let tables = if areas { 1..3 } else { 0..PAGES / BLOCK_PAGES };
    let at = rng.usize(tables) * BLOCK_PAGES;
    page(rng, at..at + 1)
}

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
    // What is lost of a mapping, writes show best.
    if percent(rng, 70) {
        Access::Write
    } else {
        Access::Read
    }
}
