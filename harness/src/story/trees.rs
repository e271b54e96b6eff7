// SPDX-License-Identifier: MIT OR Apache-2.0
//! Page tables as they lie in memory, rebuilt from what events say of it.

use super::Change;
use crate::report::run::Run;
use crate::report::words;
use shootdown_machine::arm64::Desc;
use shootdown_machine::{Decoded, Event, Life, PAGE, SLOTS, Space, State, Use, Va, level_size};
use std::collections::BTreeMap;

/// A descriptor of a space's tables.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Row {
    va: Va,
    level: u8,
    value: String,
}

/// Descriptors by the space and their address.
type Rows = BTreeMap<(String, u64), Row>;

/// Memory, as far as it holds tables, and where each space's begin.
#[derive(Clone, Default)]
pub struct Trees {
    /// Descriptors by their address, of every table that there has been.
    pub words: BTreeMap<u64, u64>,
    /// By the space's number.
    pub roots: BTreeMap<u8, (Life, u64)>,
    rows: Rows,
    /// An event since the rows were made may have changed them.
    changed: bool,
}

impl Trees {
    /// As the boot leaves them.
    pub fn boot(state: &State) -> Trees {
        let mut trees = Trees {
            changed: true,
            ..Trees::default()
        };
        for (pa, usage) in state.mem.in_use() {
            if let Use::Table(_) = usage {
                for at in slots(pa) {
                    trees.words.insert(at, state.mem.desc(at).0);
                }
            }
        }
        for space in (0..state.config.spaces).map(Space) {
            let root = state.roots[space.0 as usize];
            trees.roots.insert(space.0, (state.life(space), root));
        }
        trees
    }

    /// Takes in an event.
    pub fn event(&mut self, event: &Event) {
        match *event {
            Event::Pte { pa, new, .. } | Event::Marked { pa, new, .. } => {
                self.words.insert(pa, new.0);
            }
            // A new table is zeroed; what is in a page is of no interest.
            Event::Frame {
                pa, to: Some(_), ..
            } => {
                self.words.extend(slots(pa).map(|at| (at, 0)));
            }
            // A freed table may still be linked, and is then said to be freed.
            Event::Frame { to: None, .. } => {}
            Event::Lent { pa, to, .. } => {
                // It is the root of one space at a time.
                self.roots.retain(|_, (_, root)| *root != pa);
                self.roots.insert(to.space.0, (to, pa));
            }
            Event::Root { life, pa, .. } => {
                self.roots.insert(life.space.0, (life, pa));
            }
            _ => return,
        }
        self.changed = true;
    }

    /// What has changed since the last call, at an event.
    pub fn changes(&mut self, run: &Run<'_>, at: usize) -> Vec<Change> {
        if !core::mem::take(&mut self.changed) {
            return Vec::new();
        }
        let mut rows = Rows::new();
        for (life, root) in self.roots.values() {
            if *root != 0 {
                let first = run.state.config.first_level();
                self.walk(run, at, *life, (*root, first, 0), &mut rows);
            }
        }
        let old = core::mem::replace(&mut self.rows, rows);
        let gone = old.iter().filter(|(key, _)| !self.rows.contains_key(key));
        let mut changes: Vec<Change> = gone.map(|(key, row)| told(key, row, false)).collect();
        let new = self
            .rows
            .iter()
            .filter(|(key, row)| old.get(key) != Some(row));
        changes.extend(new.map(|(key, row)| told(key, row, true)));
        changes
    }

    fn walk(
        &self,
        run: &Run<'_>,
        at: usize,
        life: Life,
        (table, level, base): (u64, u8, Va),
        rows: &mut Rows,
    ) {
        for (i, pa) in (0..).zip(slots(table)) {
            let desc = Desc(self.words.get(&pa).copied().unwrap_or(0));
            if desc == Desc::INVALID {
                continue;
            }
            let va = base + i * level_size(level);
            let decoded = run.state.decode(level, desc);
            let mut value = run.desc(desc, level, at);
            if let Decoded::Leaf(leaf) = decoded {
                let old = if leaf.accessed { "" } else { ", not accessed" };
                value += &format!(": {}{old}", run.page(leaf.pa, at));
            }
            let row = Row { va, level, value };
            rows.insert((words::space(Some(life)), pa), row);
            if let Decoded::Table(below) = decoded {
                self.walk(run, at, life, (below, level + 1, va), rows);
            }
        }
    }
}

/// The addresses of a table's descriptors.
fn slots(pa: u64) -> impl Iterator<Item = u64> {
    let table = pa / PAGE * PAGE;
    (0..SLOTS as u64).map(move |i| table + i * 8)
}

fn told((space, pa): &(String, u64), row: &Row, there: bool) -> Change {
    Change::Descriptor {
        space: space.clone(),
        pa: format!("{pa:#x}"),
        va: format!("{:#x}", row.va),
        level: row.level,
        value: there.then(|| row.value.clone()),
    }
}
