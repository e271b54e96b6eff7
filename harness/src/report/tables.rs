// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whose each frame is at every event, and what each descriptor translates, so that a report
//! can say "pte A 0x1000" instead of an address.

use crate::exec::Traced;
use shootdown_machine::{
    Act, BLOCK_PAGES, Decoded, Event, Life, PAGE, SLOTS, Space, State, Use, Va, level_size,
};
use std::collections::BTreeMap;

/// Frames that are looked at for what the boot made of them: more than memory has.
const FRAMES: u64 = 4096;

/// A table as part of a space's tables, from an event on.
#[derive(Clone, Copy)]
struct Link {
    at: usize,
    table: u64,
    place: Place,
}

/// What a descriptor translates.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub life: Life,
    pub va: Va,
    pub level: u8,
}

/// Frames and tables through the run.
#[derive(Clone, Default)]
pub struct Tables {
    uses: BTreeMap<u64, Vec<(usize, Use)>>,
    links: Vec<Link>,
    first_level: u8,
}

impl Tables {
    /// As the boot leaves them.
    pub fn boot(state: &State) -> Tables {
        let first_level = state.config.first_level();
        let mut tables = Tables {
            first_level,
            ..Tables::default()
        };
        for frame in 0..FRAMES {
            let usage = state.mem.frame(frame * PAGE).usage;
            if usage != Use::Free {
                tables.uses.insert(frame, vec![(0, usage)]);
            }
        }
        for space in (0..state.config.spaces).map(Space) {
            let root = state.roots[space.0 as usize];
            let place = Place {
                life: state.life(space),
                va: 0,
                level: first_level,
            };
            tables.link(0, root, place);
            tables.below(state, root, place);
        }
        tables
    }

    fn below(&mut self, state: &State, table: u64, place: Place) {
        for i in 0..SLOTS as u64 {
            let desc = state.mem.desc(table + i * 8);
            if let Decoded::Table(below) = state.decode(place.level, desc) {
                let va = place.va + i * level_size(place.level);
                let place = Place {
                    va,
                    level: place.level + 1,
                    ..place
                };
                self.link(0, below, place);
                self.below(state, below, place);
            }
        }
    }

    fn link(&mut self, at: usize, table: u64, place: Place) {
        self.links.push(Link { at, table, place });
    }

    /// Follows a run's events.
    pub fn follow(&mut self, state: &State, trace: &[Traced]) {
        let mut owner = None;
        for (at, (_, event)) in trace.iter().enumerate() {
            match *event {
                Event::Frame { pa, to: None, .. } => self.set(at, pa, Use::Free),
                Event::Frame { pa, to, .. } => {
                    owner = to;
                    self.set(at, pa, Use::Table(to));
                }
                Event::Did {
                    act: Act::AllocPage(_, page),
                    value,
                    ..
                } if value != 0 => {
                    if let Some(life) = owner {
                        self.set(at, value, Use::Page(life, page));
                    }
                }
                Event::Did {
                    act: Act::AllocBlock(_, page),
                    value,
                    ..
                } if value != 0 => {
                    for i in 0..BLOCK_PAGES as u16 {
                        let page = shootdown_machine::Page(page.0 + i);
                        if let Some(life) = owner {
                            self.set(at, value + i as u64 * PAGE, Use::Page(life, page));
                        }
                    }
                }
                Event::Lent { pa, to, .. } => {
                    self.set(at, pa, Use::Table(Some(to)));
                    let level = state.config.first_level();
                    let place = Place {
                        life: to,
                        va: 0,
                        level,
                    };
                    self.link(at, pa, place);
                }
                Event::Root { life, pa, .. } => {
                    self.link(
                        at,
                        pa,
                        Place {
                            life,
                            va: 0,
                            level: state.config.first_level(),
                        },
                    );
                }
                Event::Pte { pa, new, .. } => {
                    if let Some(place) = self.place(pa, at)
                        && let Decoded::Table(table) = state.decode(place.level, new)
                    {
                        let level = place.level + 1;
                        self.link(at, table, Place { level, ..place });
                    }
                }
                _ => {}
            }
        }
    }

    fn set(&mut self, at: usize, pa: u64, usage: Use) {
        self.uses.entry(pa / PAGE).or_default().push((at, usage));
    }

    /// What a frame is used for after an event.
    pub fn usage(&self, pa: u64, at: usize) -> Use {
        let uses = self.uses.get(&(pa / PAGE)).map_or(&[][..], |u| &u[..]);
        uses.iter()
            .rev()
            .find(|u| u.0 <= at)
            .map_or(Use::Free, |u| u.1)
    }

    /// What it was used for last, if it is free by now.
    pub fn was(&self, pa: u64, at: usize) -> Use {
        let uses = self.uses.get(&(pa / PAGE)).map_or(&[][..], |u| &u[..]);
        let mut old = uses.iter().rev().filter(|u| u.0 <= at && u.1 != Use::Free);
        old.next().map_or(Use::Free, |u| u.1)
    }

    /// When a frame was last freed, up to an event.
    pub fn freed(&self, pa: u64, at: usize) -> Option<usize> {
        let uses = self.uses.get(&(pa / PAGE))?;
        let last = uses.iter().rev().find(|u| u.0 <= at && u.1 == Use::Free)?;
        Some(last.0)
    }

    /// What the descriptor at an address translates. A table that is not part of any yet is
    /// taken for what it becomes.
    pub fn place(&self, pa: u64, at: usize) -> Option<Place> {
        let table = pa / PAGE * PAGE;
        let born = self
            .uses
            .get(&(pa / PAGE))?
            .iter()
            .rev()
            .find(|u| u.0 <= at && u.1 != Use::Free)?
            .0;
        let mut known = self.links.iter().filter(|l| l.table == table);
        let last = known
            .clone()
            .rev()
            .find(|l| l.at <= at && (l.at >= born || born == 0));
        let link = last.or_else(|| known.find(|l| l.at > at))?;
        let level = link.place.level;
        let va = link.place.va + pa % PAGE / 8 * level_size(level);
        Some(Place { va, ..link.place })
    }

    /// Level of root tables.
    pub fn first_level(&self) -> u8 {
        self.first_level
    }
}
