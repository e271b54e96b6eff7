// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the pages and tables of a test lie in a machine, and the machine at power-on.

use super::{Ap, Desc, Map, Name, Of, Place, Pte, Test, Thread};
use super::{Instr, Loc, TableId};
use crate::arm64::{self, HCR_VM, Stage, ttbr};
use crate::config::{Bbm, Config, Domain, Memory as Model};
use crate::context::{level_size, slot_pa};
use crate::machine::State;
use crate::mem::{Memory, SLOTS, Word};
use crate::op::{PAGE, PAGES};

/// Frames of a machine that runs a test.
const FRAMES: u64 = 64;
/// Descriptor bit 6 of stage 1: EL0 may.
pub(super) const AP_EL0: u64 = 1 << 6;

/// Addresses.
#[derive(Debug)]
pub(super) struct Layout {
    /// Of each name.
    addr: Vec<u64>,
    /// Root of each table.
    roots: Vec<u64>,
    /// Its level-3 tables, by level-2 slot; 0: none.
    leaves: Vec<[u64; SLOTS]>,
    virtualized: bool,
}

/// Hands out frames: those that an IPA of the first pages can name, and the rest.
struct Frames {
    low: u64,
    high: u64,
}

impl Frames {
    fn low(&mut self) -> Result<u64, String> {
        self.low += 1;
        let most = PAGES as u64;
        (self.low < most)
            .then_some(self.low * PAGE)
            .ok_or_else(|| format!("more than {most} pages that intermediate addresses must reach"))
    }

    fn high(&mut self, align: u64) -> Result<u64, String> {
        let first = self.high.next_multiple_of(align);
        self.high = first + align;
        (self.high <= FRAMES)
            .then_some(first * PAGE)
            .ok_or_else(|| format!("more than {FRAMES} frames"))
    }
}

impl Layout {
    /// Finds a place for everything.
    pub(super) fn new(test: &Test) -> Result<Layout, String> {
        let most = *crate::config::limits::CPUS.end();
        if test.threads.len() > usize::from(most) {
            return Err(format!("more than {most} threads"));
        }
        let mut frames = Frames {
            low: 0,
            high: PAGES as u64,
        };
        let mut layout = Layout {
            addr: vec![0; test.names.len()],
            roots: Vec::new(),
            leaves: Vec::new(),
            virtualized: test.threads.iter().any(|t| t.vttbr_el2.is_some()),
        };
        layout.place_virtual(test)?;
        layout.place_memory(test, &mut frames)?;
        layout.place_tables(test, &mut frames)?;
        Ok(layout)
    }

    /// Each virtual page in a block of its own, as far as there are blocks.
    fn place_virtual(&mut self, test: &Test) -> Result<(), String> {
        let all = (0..).zip(&test.names);
        let pages = all.filter(|(_, s)| s.of == Of::Virtual).map(|(i, _)| i);
        let alone = |n: &u8| {
            test.places.iter().any(|place| match place {
                Place::Aligned(names) => names.contains(&Name(*n)),
                Place::Apart(a, b) => [*a, *b].contains(&Name(*n)),
                Place::Same(..) => false,
            })
        };
        let (first, rest): (Vec<u8>, Vec<u8>) = pages.partition(alone);
        if first.len() > SLOTS || first.len() + rest.len() > PAGES {
            return Err(format!(
                "more virtual pages than {PAGES}, or blocks than {SLOTS}"
            ));
        }
        for (slot, n) in (0..).zip(&first) {
            self.addr[usize::from(*n)] = slot * level_size(2);
        }
        let slots = first.len() as u64..SLOTS as u64;
        let place = |page| {
            slots
                .clone()
                .map(move |slot| slot * level_size(2) + page * PAGE)
        };
        let free = (0..SLOTS as u64).flat_map(place);
        for (n, va) in rest.iter().zip(free) {
            self.addr[usize::from(*n)] = va;
        }
        Ok(())
    }

    fn place_memory(&mut self, test: &Test, frames: &mut Frames) -> Result<(), String> {
        for (i, symbol) in test.names.iter().enumerate() {
            if symbol.of == Of::Intermediate {
                self.addr[i] = frames.low()?;
            }
        }
        for (i, symbol) in (0..).zip(&test.names) {
            if symbol.of != Of::Physical {
                continue;
            }
            let same = test.places.iter().find_map(|place| match place {
                Place::Same(a, b) if *b == Name(i) => Some(*a),
                Place::Same(a, b) if *a == Name(i) => Some(*b),
                _ => None,
            });
            let block =
                |m: &Map| m.level == 2 && matches!(m.desc, Desc::Page { to, .. } if to == Name(i));
            let wide = test.tables.iter().any(|t| t.maps.iter().any(block));
            self.addr[usize::from(i)] = match same {
                Some(other) => self.addr_of(other),
                None => frames.high(if wide { SLOTS as u64 } else { 1 })?,
            };
        }
        Ok(())
    }

    fn place_tables(&mut self, test: &Test, frames: &mut Frames) -> Result<(), String> {
        for (id, table) in (0..).zip(&test.tables) {
            // A walk behind stage 2 reads tables of stage 1 by their intermediate addresses.
            let low = self.virtualized && table.stage == Stage::One;
            let mut frame = || if low { frames.low() } else { frames.high(1) };
            self.roots.push(frame()?);
            let mut leaves = [0; SLOTS];
            for pte in ptes(test).filter(|p| p.table == TableId(id) && p.level == 3) {
                let slot = self.slot(pte.input);
                if leaves[slot] == 0 {
                    leaves[slot] = frame()?;
                }
            }
            self.leaves.push(leaves);
        }
        if self.virtualized {
            // The identity maps of stage 2 need tables of their own.
            for (table, leaves) in test.tables.iter().zip(&mut self.leaves) {
                for leaf in leaves.iter_mut().filter(|_| table.stage == Stage::Two) {
                    if *leaf == 0 {
                        *leaf = frames.high(1)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The address of a page.
    pub(super) fn addr_of(&self, name: Name) -> u64 {
        self.addr.get(usize::from(name.0)).copied().unwrap_or(0)
    }

    fn slot(&self, input: Name) -> usize {
        (self.addr_of(input) / level_size(2)) as usize % SLOTS
    }

    /// The root of a table.
    pub(super) fn root(&self, table: TableId) -> u64 {
        self.roots.get(usize::from(table.0)).copied().unwrap_or(0)
    }

    fn leaf_table(&self, table: TableId, input: Name) -> u64 {
        let leaves = self.leaves.get(usize::from(table.0));
        leaves.map_or(0, |l| l[self.slot(input)])
    }

    /// The word of a descriptor.
    pub(super) fn pte(&self, pte: Pte) -> Option<Word> {
        let table = match pte.level {
            2 => self.root(pte.table),
            _ => self.leaf_table(pte.table, pte.input),
        };
        Memory::desc_word(slot_pa(table, pte.level, self.addr_of(pte.input))).filter(|_| table != 0)
    }

    /// The bits of a descriptor that is to lie where `at` says.
    pub(super) fn desc(&self, test: &Test, at: Pte, desc: Desc) -> u64 {
        let stage = test.table(at.table).map_or(Stage::One, |t| t.stage);
        self.bits(test, stage, at.level, at.input, desc)
    }

    fn bits(&self, test: &Test, stage: Stage, level: u8, input: Name, desc: Desc) -> u64 {
        match desc {
            Desc::Invalid => 0,
            Desc::Page { to, ap } => {
                let writable = matches!(ap, Ap::Rw | Ap::El1Rw);
                let el0 = stage == Stage::One && matches!(ap, Ap::Rw | Ap::Ro);
                let leaf = arm64::Desc::leaf(stage, level, self.addr_of(to), writable);
                leaf.0 | if el0 { AP_EL0 } else { 0 }
            }
            Desc::Table(table) => arm64::Desc::table(self.leaf_table(table, input)).0,
            // A copy of a copy does not occur: initial values are none.
            Desc::Copy(from) => match test.initial(from) {
                Desc::Copy(_) => 0,
                first => {
                    let stage = test.table(from.table).map_or(Stage::One, |t| t.stage);
                    self.bits(test, stage, from.level, from.input, first)
                }
            },
        }
    }

    /// The machine before the first instruction.
    pub(super) fn boot(&self, test: &Test) -> State {
        let mut state = State::default();
        state.mem = Memory::small(FRAMES as usize);
        state.reset(Config {
            cpus: test.threads.len().max(1) as u8,
            memory: Model::Arm,
            domain: Domain::Private,
            bbm: Bbm::NoAbort,
            ..Config::default()
        });
        state.remember = true;
        for (id, table) in (0..).zip(&test.tables) {
            self.boot_table(test, &mut state, TableId(id), table.stage);
        }
        for (name, value) in &test.memory {
            if let Some(word) = Memory::desc_word(self.addr_of(*name)) {
                state.mem.set(word, *value);
            }
        }
        for (cpu, thread) in state.cpus.iter_mut().zip(&test.threads) {
            let root = |r: &super::Root| (self.root(r.table), r.tag);
            let (table, asid) = thread.ttbr0_el1.as_ref().map_or((0, 0), root);
            cpu.regs.ttbr0 = ttbr::new(table, asid, false);
            cpu.regs.ttbr1 = ttbr::new(0, asid, false);
            if let Some((table, vmid)) = thread.vttbr_el2.as_ref().map(root) {
                cpu.regs.vttbr = ttbr::new(table, vmid, false);
                cpu.regs.hcr = HCR_VM;
            }
        }
        state
    }

    fn boot_table(&self, test: &Test, state: &mut State, id: TableId, stage: Stage) {
        let mut set = |pa, value| {
            if let Some(word) = Memory::desc_word(pa) {
                state.mem.set(word, value);
            }
        };
        let root = self.root(id);
        let leaves = self.leaves[usize::from(id.0)];
        for (slot, leaf) in (0..).zip(leaves) {
            if leaf != 0 {
                set(root + slot * 8, arm64::Desc::table(leaf).0);
            }
        }
        if stage == Stage::Two {
            let stage1 = (0..)
                .zip(&test.tables)
                .filter(|(_, t)| t.stage == Stage::One);
            for (other, _) in stage1 {
                let roots = [self.root(TableId(other))];
                let all = roots.into_iter().chain(self.leaves[usize::from(other)]);
                for frame in all.filter(|f| *f != 0) {
                    let leaf = leaves[(frame / level_size(2)) as usize % SLOTS];
                    let identity = arm64::Desc::leaf(stage, 3, frame, true);
                    set(slot_pa(leaf, 3, frame), identity.0);
                }
            }
        }
        for map in test.table(id).map_or(&[][..], |t| &t.maps) {
            let at = Pte {
                level: map.level,
                input: map.input,
                table: id,
            };
            if let Some(word) = self.pte(at) {
                state.mem.set(word, self.desc(test, at, map.desc));
            }
        }
    }
}

/// The instructions of a thread and its handlers.
pub(super) fn instructions(thread: &Thread) -> impl Iterator<Item = &Instr> {
    let handlers = thread.handlers.iter().flat_map(|h| &h.code);
    thread.code.iter().chain(handlers)
}

/// Every descriptor that a test names as a place.
fn ptes(test: &Test) -> impl Iterator<Item = Pte> {
    let maps = (0..).zip(&test.tables).flat_map(|(id, table)| {
        table.maps.iter().map(move |m| Pte {
            level: m.level,
            input: m.input,
            table: TableId(id),
        })
    });
    let code = test.threads.iter().flat_map(instructions);
    let accessed = code.filter_map(|i| match i {
        Instr::Read { loc, .. } | Instr::Write { loc, .. } => match loc {
            Loc::Pte(pte) => Some(*pte),
            Loc::Va(..) => None,
        },
        _ => None,
    });
    maps.chain(accessed)
}
