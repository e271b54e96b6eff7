// SPDX-License-Identifier: MIT OR Apache-2.0
//! A run as a log of casemate: what it did to the tables of stage 2, for `casemate-check`.
//!
//! The tables here have four descriptors, real ones 512, and casemate walks as the hardware
//! does. So addresses are spread out: each index of a level stays what it is, at its place in a
//! real address, and blocks are as large as real ones.

mod log;

use super::Refusal;
use super::before::{Before, at, page, traced};
use crate::check::Subject;
use crate::exec::Bench;
use crate::names::{Role, after, role};
use crate::scenario::Scenario;
use log::{HOST_ROOT, Log, VTCR_LEVEL_1, VTCR_LEVEL_2, lock_address, spread_ia};
use shootdown_machine::arm64::{Granule, HCR_VM, Reg, Scope, Share, Tlbi, Ttl, ttbr};
use shootdown_machine::{Act, Arch, Config, Dsb, Event, Memory, Order, PAGE, Site, State, Word};
use std::collections::{BTreeMap, BTreeSet};

/// TLBIs that casemate knows, of those that EL1&0 has.
const KNOWN: [&str; 7] = [
    "vmalls12e1",
    "vmalls12e1is",
    "vmalle1",
    "vmalle1is",
    "alle1",
    "alle1is",
    "ipas2e1is",
];

/// The lock that owns the tables of a space, by the kernel's habits of naming.
const TABLE_LOCK: &str = "mmu_lock";

const ROLL_OVER: &str = "a roll-over, after which a VMID means another root: casemate has one VMID \
                         for each root";
const ONE_CPU: &str = "clean-up on one CPU only: casemate has broadcasts alone for that";
const LOCK_FREE: &str = "a table is walked without the lock that owns it";
const NO_LOCK: &str = "a table of stage 2 that no lock owns";
const SHARED_LOCK: &str = "a reader/writer lock: several walkers at once";
const CNP: &str = "CnP is set in VTTBR_EL2";
const NO_VMID: &str = "a VM that has no VMID yet is flushed under VMID 0: casemate has one VMID for \
                       each root";
const TWO_STAGES: &str = "tables of another stage besides stage 2: casemate has one at a time";
const SPACE_ENDS: &str = "a space ends: a VTTBR_EL2 may still have the root that casemate is to \
                          release";

pub fn write(bench: &mut Bench, scenario: &Scenario, by: Subject) -> Result<String, Refusal> {
    let before = traced(bench, scenario, by);
    let state = bench.machine.state();
    whole(&state.config, &before)?;
    let mut run = Run::new(&state, &before)?;
    for (step, event) in &bench.trace {
        run.event(*step, event)?;
    }
    Ok(run.log.text)
}

/// What is outside of casemate's model whatever the run does.
fn whole(config: &Config, before: &Before) -> Result<(), Refusal> {
    let why = if config.arch != Arch::Arm64 {
        "casemate's model is of arm64"
    } else if before.regs.hcr & HCR_VM == 0 {
        "stage 1 of EL1&0: casemate's stage 1 is that of EL2, with one root and no ASIDs"
    } else if config.granule != Granule::K4 {
        "casemate's granule is 4 KB (machine granule=4k)"
    } else if config.memory != Memory::Sc {
        "casemate's log is one order of all accesses (machine memory=sc)"
    } else if before.tables.iter().any(|t| t.owner.is_none()) {
        TWO_STAGES
    } else {
        return Ok(());
    };
    Err(Refusal::new(why))
}

/// The run so far.
struct Run<'a> {
    state: &'a State,
    log: Log,
    /// What the tables of spaces hold, by address.
    descs: BTreeMap<u64, u64>,
    /// The space that each table belongs to.
    owners: BTreeMap<u64, u8>,
    /// Tables that there have been.
    tables: BTreeSet<u64>,
    roots: Vec<u64>,
    /// The spaces whose tables each CPU has locked.
    locked: [u8; 4],
    /// Whether a CPU has taken a valid descriptor away since it took a lock.
    unclean: [bool; 4],
}

impl<'a> Run<'a> {
    fn new(state: &'a State, before: &Before) -> Result<Run<'a>, Refusal> {
        let mut run = Run {
            state,
            log: Log::default(),
            descs: BTreeMap::new(),
            owners: BTreeMap::new(),
            tables: BTreeSet::new(),
            roots: before.roots.clone(),
            locked: [0; 4],
            unclean: [false; 4],
        };
        let level_2 = state.config.first_level() == 2;
        let vtcr = if level_2 { VTCR_LEVEL_2 } else { VTCR_LEVEL_1 };
        for cpu in 0..state.config.cpus {
            run.log.sysreg(cpu, "vtcr_el2", vtcr, None);
        }
        let tables = || before.tables.iter().filter_map(|t| Some((t, t.owner?)));
        for (table, owner) in tables() {
            run.table(0, table.pa, owner.space.0, None)?;
        }
        for (table, _) in tables() {
            for (i, desc) in (0..).zip(table.descs).filter(|(_, desc)| *desc != 0) {
                run.log.write(0, table.pa + i * 8, desc, false, None);
                run.descs.insert(table.pa + i * 8, desc);
            }
        }
        Ok(run)
    }

    /// A table is handed out, all zero.
    fn table(&mut self, cpu: u8, pa: u64, space: u8, site: Option<Site>) -> Result<(), Refusal> {
        if self.tables.insert(pa) {
            self.log.range(cpu, "mem-init", pa, None, site);
        } else {
            self.log.range(cpu, "mem-set", pa, Some(0), site);
        }
        let lock = self.lock_of(space).ok_or_else(|| Refusal::new(NO_LOCK))?;
        let root = self.roots[space as usize];
        if pa == root {
            let lock = lock_address(lock);
            self.log.hint(cpu, "set_root_lock", pa, lock, site);
        } else {
            self.log.hint(cpu, "set_owner_root", pa, root, site);
        }
        self.owners.insert(pa, space);
        self.descs.retain(|at, _| page(*at) != pa);
        Ok(())
    }

    fn lock_of(&self, space: u8) -> Option<Word> {
        let mut names = self.state.mem.names.iter();
        let found = names.position(|n| n.name == TABLE_LOCK && n.index == Some(space));
        found.map(|word| word as Word)
    }

    /// The space whose tables a lock owns.
    fn space_of(&self, lock: Word) -> Option<u8> {
        let name = self.state.mem.name(lock)?;
        name.index.filter(|_| name.name == TABLE_LOCK)
    }

    fn event(&mut self, step: u32, event: &Event) -> Result<(), Refusal> {
        match *event {
            Event::Did {
                cpu,
                act,
                value,
                site,
                ..
            } => self
                .act(cpu, act, value, site)
                .map_err(|why| at(step, cpu, site, &why)),
            Event::Marked { cpu, .. } => Err(Refusal::new(format!(
                "step {step}: the walker of cpu{cpu} marks a descriptor; casemate's walkers \
                 do not write"
            ))),
            _ => Ok(()),
        }
    }

    /// One step. The error: why casemate has no words for it.
    fn act(&mut self, cpu: u8, act: Act, value: u64, site: Site) -> Result<(), String> {
        let (c, here) = (cpu as usize, Some(site));
        match act {
            Act::Load(word, _) => self.load(cpu, word, value, site)?,
            Act::Store(word, new, order) => self.store(cpu, word, new, order, site)?,
            Act::Rmw(word, rmw, order) => {
                let new = after(rmw, value);
                self.store(cpu, word, new, order, site)?;
            }
            Act::Lock(word) => {
                if let Some(space) = self.space_of(word) {
                    self.locked[c] |= 1 << space;
                    self.log.lock(cpu, "lock", word, site);
                }
            }
            Act::Unlock(word) => {
                if let Some(space) = self.space_of(word) {
                    self.locked[c] &= !(1 << space);
                    self.unclean[c] &= self.locked[c] != 0;
                    self.log.lock(cpu, "unlock", word, site);
                }
            }
            Act::ReadLock(_) | Act::ReadUnlock(_) => return Err(SHARED_LOCK.into()),
            Act::Tlbi(op) => self.tlbi(cpu, op, site)?,
            Act::Dsb(kind) => {
                if kind == Dsb::Nshst || (kind == Dsb::Nsh && self.unclean[c]) {
                    return Err(ONE_CPU.into());
                }
                self.log.barrier(cpu, Some(kind), here);
            }
            Act::Isb => self.log.barrier(cpu, None, here),
            Act::Msr(reg, value) => self.sysreg(cpu, reg, value, site)?,
            Act::AllocTable(space) if value != 0 => self
                .table(cpu, value, space.0, here)
                .map_err(|e| e.to_string())?,
            Act::NewRoot(_) => return Err(SPACE_ENDS.into()),
            _ => {}
        }
        Ok(())
    }

    /// The descriptor that a word is, if it is one: its address.
    fn descriptor(&self, word: Word) -> Result<Option<(u64, u8)>, String> {
        let Some(pa) = self.state.mem.desc_pa(word) else {
            return Ok(None);
        };
        let owner = self.owners.get(&page(pa)).ok_or(NO_LOCK)?;
        Ok(Some((pa, *owner)))
    }

    fn load(&mut self, cpu: u8, word: Word, value: u64, site: Site) -> Result<(), String> {
        let Some((pa, space)) = self.descriptor(word)? else {
            return Ok(());
        };
        if self.locked[cpu as usize] >> space & 1 == 0 {
            return Err(LOCK_FREE.into());
        }
        self.log.read(cpu, pa, value, site);
        Ok(())
    }

    fn store(
        &mut self,
        cpu: u8,
        word: Word,
        new: u64,
        order: Order,
        site: Site,
    ) -> Result<(), String> {
        let Some((pa, _)) = self.descriptor(word)? else {
            let name = self.state.mem.name(word).map_or("", |n| n.name);
            let generation = role(name) == Role::Generation || name == "kvm_vmid_gen";
            return if generation {
                Err(ROLL_OVER.into())
            } else {
                Ok(())
            };
        };
        let release = matches!(order, Order::Release | Order::Full);
        self.log.write(cpu, pa, new, release, Some(site));
        let old = self.descs.insert(pa, new).unwrap_or_default();
        self.unclean[cpu as usize] |= old & 1 != 0 && old != new;
        Ok(())
    }

    fn tlbi(&mut self, cpu: u8, op: Tlbi, site: Site) -> Result<(), String> {
        let row = op.kind.row();
        let known = KNOWN.contains(&row.name);
        if row.share == Share::Local && (self.unclean[cpu as usize] || !known) {
            return Err(ONE_CPU.into());
        }
        if !known {
            return Err(format!("casemate has no tlbi {}", row.name));
        }
        let value = (row.scope == Scope::Ipa).then(|| {
            let level = match op.ttl() {
                Ttl::Unknown => 0,
                Ttl::Level(level) => Granule::K4.tg() << 2 | level as u64,
            };
            (level << 44) | (spread_ia(op.span().0) / PAGE)
        });
        self.log.tlbi(cpu, row.name, value, site);
        Ok(())
    }

    fn sysreg(&mut self, cpu: u8, reg: Reg, value: u64, site: Site) -> Result<(), String> {
        match reg {
            Reg::Vttbr if value & ttbr::CNP != 0 => return Err(CNP.into()),
            // The host of nVHE, which pKVM gives a stage 2 of its own.
            Reg::Vttbr if value == 0 => {
                if self.tables.insert(HOST_ROOT) {
                    let lock = lock_address(self.state.mem.names.len() as Word);
                    self.log.range(cpu, "mem-init", HOST_ROOT, None, Some(site));
                    self.log
                        .hint(cpu, "set_root_lock", HOST_ROOT, lock, Some(site));
                }
                self.log.sysreg(cpu, "vttbr_el2", HOST_ROOT, Some(site));
            }
            Reg::Vttbr if ttbr::tag(value) == 0 => return Err(NO_VMID.into()),
            Reg::Vttbr => self.log.sysreg(cpu, "vttbr_el2", value, Some(site)),
            Reg::Hcr => self.log.sysreg(cpu, "hcr_el2", value, Some(site)),
            Reg::Ttbr0 | Reg::Ttbr1 if value != 0 => return Err(TWO_STAGES.into()),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::log::spread_pa;
    use super::*;

    #[test]
    fn frames_stay_apart_where_they_are_spread_out() {
        use shootdown_machine::Ram;
        let block = (1..).find(|f| Ram::is_block(f * PAGE)).expect("a block") * PAGE;
        assert!(Ram::desc_word(block - PAGE).is_some() && Ram::desc_word(block).is_none());
        let frames: BTreeSet<u64> = (0..).map(|f| f * PAGE).take(700).collect();
        let spread: BTreeSet<u64> = frames.iter().map(|pa| spread_pa(*pa)).collect();
        assert_eq!(spread.len(), frames.len());
        assert_eq!(spread_pa(block - PAGE), block - PAGE);
        assert_eq!(spread_pa(block) % 0x20_0000, 0, "as large as a real block");
        assert_eq!(spread_pa(block + PAGE), spread_pa(block) + PAGE);
    }

    /// What no port of stage 2 alone does.
    #[test]
    fn frames_that_are_tables_again_and_walkers_that_write() {
        use crate::check::Subject;
        use shootdown_machine::Space;
        use shootdown_machine::arm64::Desc;
        let scenario = crate::scenario::parse(b"scenario 1\nvariants kvm-vmid\n").unwrap();
        let by = Subject::parse("kvm-vmid").unwrap();
        let mut bench = Bench::default();
        let before = traced(&mut bench, &scenario, by);
        let state = bench.machine.state();
        let mut run = Run::new(&state, &before).unwrap();
        let site = core::panic::Location::caller();
        for (pa, name) in [(0x9000, "mem-init"), (0x9000, "mem-set")] {
            let table = Act::AllocTable(Space(0));
            run.log.text.clear();
            assert_eq!(run.act(0, table, pa, site), Ok(()));
            let record = run.log.text.lines().next().unwrap();
            assert!(record.starts_with(&format!("({name} (id ")), "{record}");
        }
        let (pa, old, new) = (0x9000, Desc(0), Desc(1));
        let why = run.event(
            7,
            &Event::Marked {
                cpu: 1,
                pa,
                old,
                new,
            },
        );
        let why = why.unwrap_err().to_string();
        assert!(why.starts_with("step 7: the walker of cpu1 marks"), "{why}");
    }
}
