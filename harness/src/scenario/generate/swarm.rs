// SPDX-License-Identifier: MIT OR Apache-2.0
//! What one run is fond of.

use super::duel::Kinds;
use super::{Scenario, any, page, percent};
use fastrand::Rng;
use shootdown_machine::{BLOCK_PAGES, Config, OpKind, OpSet, PAGE, PAGES, Va};

/// The pages of the block that every space begins with.
pub(super) const BLOCK: core::ops::Range<usize> = 4..8;

/// The pages that every space begins with.
const MAPPED: core::ops::Range<usize> = 0..2;

/// The hardware actions that a swarm weighs.
const AGENTS: usize = 8;

/// Programs about tables, in percent, that are a duel.
const DUELS: u32 = 50;

/// What one run is fond of.
pub(in crate::scenario) struct Swarm {
    pub(super) cpus: u8,
    pub(super) spaces: u8,
    /// The addresses that nearly everything is about.
    pub(super) hot: [Va; 3],
    /// Where pages are moved to.
    pub(super) to: Va,
    /// The kinds that there are.
    pub(super) kinds: OpSet,
    /// By kind of operation.
    pub(super) ops: [u32; OpKind::ALL.len()],
    /// Walk, evict, deliver, resolve, ipi, drain, stale, the host of a guest.
    pub(super) agents: [u32; AGENTS],
    /// Slots that are no CPU's turn, in percent.
    pub(super) agency: u32,
    /// Mean steps of a burst.
    pub(super) burst: u32,
    /// Turns of a single step, in percent.
    pub(super) single: u32,
    /// Whether CPUs take few turns, and long ones.
    pub(super) long: bool,
    /// Operations of a program beside its first switch, at most.
    pub(super) most: usize,
    /// Whether programs walk through the spaces in order, which uses up tags fastest.
    pub(super) in_order: bool,
    /// Whether programs are rounds of a switch and a touch: the run loop of a VM, which
    /// has no tag before it is entered.
    pub(super) rounds: bool,
    /// Whether programs begin with the end of what a space has at first: nothing is in the way of
    /// what they make.
    pub(super) empty: bool,
    /// Whether programs are about few tables and not about tags: short ones, whose operations,
    /// of few kinds, mostly have something to do.
    pub(super) tables: bool,
    /// Whether these are one or two operations for each CPU, between users that touch what the
    /// operations are about.
    pub(super) users: bool,
    /// Whether spaces have the areas of an mm.
    pub(super) areas: bool,
    /// What these are a duel of, if they are one.
    pub(super) duel: Option<Kinds>,
    /// Whether one CPU goes through all spaces while the others do little; and how many of the
    /// spaces that are loaded are used then, in percent.
    pub(super) entries: Option<u32>,
}

impl Swarm {
    /// Half are about tables, and more where most kinds are; the others are about tags as well, and
    /// two in five of those are marches, if there are spaces for it.
    pub(in crate::scenario) fn new(rng: &mut Rng, machine: &Config, kinds: OpSet) -> Swarm {
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

    /// The kinds that there are, but for loading a space and using it.
    pub(super) fn others(&self) -> Vec<OpKind> {
        let other = |kind: &OpKind| !matches!(kind, OpKind::Switch | OpKind::Touch);
        let others = OpKind::ALL.iter().copied().filter(other);
        others.filter(|kind| self.kinds.has(*kind)).collect()
    }

    /// One that is about tables.
    fn about_tables(self, rng: &mut Rng) -> Swarm {
        let mut ops = [0; OpKind::ALL.len()];
        let mut others = self.others();
        // A copy goes to another space.
        others.retain(|kind| *kind != OpKind::Fork || self.spaces > 1);
        rng.shuffle(&mut others);
        let duel = percent(rng, DUELS).then(|| self.duel(rng, &others));
        let taken = match &duel {
            Some(duel) => 2 + duel.before.len(),
            None => any(rng, &[1, 2, 2, 3, 4, 6]),
        };
        for kind in others.iter().take(taken) {
            ops[*kind as usize] = rng.u32(10..=60);
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
            _ if percent(rng, if fork { 60 } else { 20 }) => any(rng, &[8, 12, 12]) * PAGE,
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
    fn duel(&self, rng: &mut Rng, kinds: &[OpKind]) -> Kinds {
        let mut kinds = kinds.iter().copied();
        let mut meet = [(); 2].map(|()| kinds.next().unwrap_or(OpKind::Touch));
        if self.kinds.has(OpKind::Touch) && percent(rng, 28) {
            meet[0] = OpKind::Touch;
        }
        let mut before: Vec<_> = kinds.take(any(rng, &[0, 0, 1, 1, 2])).collect();
        // Pages that others work with, and spaces that are copies, are ordinary ones.
        if self.kinds.has(OpKind::Gup) && percent(rng, 30) {
            before.push(OpKind::Gup);
        }
        let forked = self.kinds.has(OpKind::Fork) && self.spaces > 1 && percent(rng, 40);
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
            in_order: percent(rng, 30),
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
    pub(in crate::scenario) fn like(rng: &mut Rng, scenario: &Scenario, ops: OpSet) -> Swarm {
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
    pub(in crate::scenario) fn va(&self, rng: &mut Rng) -> Va {
        if self.ops[OpKind::Move as usize] > 0 && percent(rng, 35) {
            self.to
        } else if percent(rng, 88) {
            any(rng, &self.hot)
        } else {
            page(rng, 0..PAGES)
        }
    }
}

/// Where a table begins; with areas, one that may move.
fn table(rng: &mut Rng, areas: bool) -> Va {
    let tables = if areas { 1..3 } else { 0..PAGES / BLOCK_PAGES };
    let at = rng.usize(tables) * BLOCK_PAGES;
    page(rng, at..at + 1)
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
