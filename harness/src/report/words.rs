// SPDX-License-Identifier: MIT OR Apache-2.0
//! Steps, descriptors, registers and entries in a kernel engineer's words.

use super::run::Run;
use crate::names;
use shootdown_machine::arm64::{Desc, HCR_TGE, HCR_VM, Reg, Stage, TCR_EPD, ttbr};
use shootdown_machine::x86;
use shootdown_machine::{
    Access, Act, Decoded, Entry, Life, Outcome, PAGE, Rmw, Site, Use, Va, Word,
};
use shootdown_oracle::Facts;

/// A step in words: what, and what it found or left there.
#[derive(Clone, Debug, Default)]
pub struct Said {
    pub head: String,
    pub detail: String,
}

impl Said {
    /// Both.
    pub fn new(head: impl Into<String>, detail: impl Into<String>) -> Said {
        Said {
            head: head.into(),
            detail: detail.into(),
        }
    }

    /// In one line.
    pub fn whole(&self) -> String {
        format!("{} {}", self.head, self.detail)
            .trim_end()
            .to_owned()
    }
}

/// A source site in a sentence: file and line.
pub fn site(site: Site) -> String {
    let file = site.file();
    let name = file.rsplit(['/', '\\']).next().unwrap_or(file);
    format!("{name}:{}", site.line())
}

/// A source site in a column: the kernel's function and the line; outside of our ports, the file's
/// stem and the line.
pub fn short_site(s: Site) -> String {
    match function(s) {
        Some(name) => format!("{name}:{}", s.line()),
        None => site(s).replace(".rs:", ":"),
    }
}

/// The function of a port that a site is in.
pub fn function(s: Site) -> Option<&'static str> {
    shootdown_variants::function(s.file(), s.line())
}

/// A space's letter.
pub fn space(life: Option<Life>) -> String {
    Facts::name(life)
}

/// A range of addresses: the first, or first and last.
pub fn range(va: Va, size: u64) -> String {
    if size <= PAGE {
        format!("{va:#x}")
    } else {
        format!("{va:#x}-{:#x}", va + size - 1)
    }
}

/// What the kernel calls a descriptor of this level.
pub fn level(level: u8) -> &'static str {
    match level {
        3 => "pte",
        2 => "pmd",
        1 => "pud",
        _ => "pgd",
    }
}

/// What the tag in a register is called.
pub fn tag_name(reg: Reg) -> &'static str {
    match reg {
        Reg::Vttbr => "vmid",
        Reg::Cr3 => "pcid",
        _ => "asid",
    }
}

/// The tag of an entry.
pub fn tag(run: &Run<'_>, e: &Entry) -> String {
    match e.vmid {
        0 => format!("{} {}", run.state.config.arch.tag_word(), e.asid),
        vmid => format!("vmid {vmid}"),
    }
}

impl Run<'_> {
    /// A table by its owner.
    pub fn table(&self, pa: u64, at: usize) -> String {
        let root = |pa| {
            let place = self.tables.place(pa, at);
            place.is_some_and(|p| p.level == self.tables.first_level() && pa % PAGE == 0)
        };
        let name = |life| if root(pa) { "pgd of " } else { "table of " }.to_owned() + &space(life);
        match (self.tables.usage(pa, at), self.tables.was(pa, at)) {
            (Use::Table(None), _) => "reserved".into(),
            (Use::Table(life), _) => name(life),
            (Use::Free, Use::Table(life)) => format!("freed {}", name(life)),
            _ => format!("frame {pa:#x}"),
        }
    }

    /// A page's frame by its owner.
    pub fn page(&self, pa: u64, at: usize) -> String {
        match (self.tables.usage(pa, at), self.tables.was(pa, at)) {
            (Use::Page(life, page), _) => format!("page {} of {}", page.0, space(Some(life))),
            (Use::Free, Use::Page(life, page)) => {
                format!("freed page {} of {}", page.0, space(Some(life)))
            }
            (Use::Free, Use::Free) => format!("free frame {pa:#x}"),
            _ => self.table(pa, at),
        }
    }

    /// A descriptor by what it translates.
    pub fn descriptor(&self, pa: u64, at: usize) -> String {
        match self.tables.place(pa, at) {
            Some(p) => format!("{} {} {:#x}", level(p.level), space(Some(p.life)), p.va),
            None => format!("descriptor {pa:#x}"),
        }
    }

    /// A descriptor's value, as it reads at a level.
    pub fn desc(&self, desc: Desc, at_level: u8, at: usize) -> String {
        let leaf = match self.state.decode(at_level, desc) {
            Decoded::Table(pa) => return self.table(pa, at),
            Decoded::Invalid => return desc.to_string(),
            Decoded::Leaf(leaf) => leaf,
        };
        let kind = if at_level == 3 { "page" } else { "block" };
        let permission = if leaf.writable { "rw" } else { "ro" };
        format!("{kind}->{:#x} {permission}", leaf.pa)
    }

    /// The value of a variable or a descriptor.
    pub fn value_in(&self, word: Word, value: u64, at: usize) -> String {
        if let Some(pa) = self.state.mem.desc_pa(word) {
            let level = self.tables.place(pa, at).map_or(3, |p| p.level);
            return self.desc(Desc(value), level, at);
        }
        let name = self.state.mem.name(word).map_or("", |n| n.name);
        if name == "pgd" || name == "pgd_phys" {
            return self.table(value, at);
        }
        names::value(name, value)
    }

    /// A variable or a descriptor.
    pub fn word(&self, word: Word, at: usize) -> String {
        match self.state.mem.desc_pa(word) {
            Some(pa) => self.descriptor(pa, at),
            None => names::full(self.state, word),
        }
    }

    /// A register's value.
    pub fn register(&self, reg: Reg, value: u64, at: usize) -> String {
        let cnp = if value & ttbr::CNP != 0 { ", cnp" } else { "" };
        match reg {
            Reg::Ttbr0 => format!("{}{cnp}", self.table(ttbr::table(value), at)),
            Reg::Ttbr1 => format!("asid {}", ttbr::tag(value)),
            Reg::Vttbr => {
                format!(
                    "vmid {}, {}{cnp}",
                    ttbr::tag(value),
                    self.table(ttbr::table(value), at)
                )
            }
            Reg::Hcr => match value & (HCR_VM | HCR_TGE) {
                HCR_VM => "VM (guest)".into(),
                0 => "0".into(),
                _ => "VM|TGE (host)".into(),
            },
            Reg::Tcr if value & TCR_EPD != 0 => "EPD (no walks)".into(),
            Reg::Tcr => "0".into(),
            Reg::Cr3 => {
                let keep = if value & x86::NOFLUSH != 0 {
                    ", noflush"
                } else {
                    ""
                };
                let (pcid, table) = (reg.tag(value).unwrap_or(0), reg.table(value));
                format!("{}, pcid {pcid}{keep}", self.table(table, at))
            }
            Reg::Cr4 => format!("{value:#x}"),
            Reg::Satp => {
                let (asid, table) = (reg.tag(value).unwrap_or(0), reg.table(value));
                format!("{}, asid {asid}", self.table(table, at))
            }
        }
    }

    fn rmw(&self, word: Word, rmw: Rmw, value: u64, at: usize) -> Said {
        let (name, var) = (self.word(word, at), self.state.mem.names.get(word as usize));
        let var = var.map_or("", |n| n.name);
        let new = names::after(rmw, value);
        let change = if var.is_empty() || names::role(var) == names::Role::Other {
            format!(
                "{} -> {}",
                self.value_in(word, value, at),
                self.value_in(word, new, at)
            )
        } else {
            names::change(var, value, new)
        };
        match rmw {
            Rmw::Xchg(_) => Said::new(format!("xchg {name}"), change),
            Rmw::CmpXchg(old, _) if old == value => Said::new(format!("cmpxchg {name}"), change),
            Rmw::CmpXchg(..) => {
                let now = self.value_in(word, value, at);
                Said::new(format!("cmpxchg {name}"), format!("is {now}: fails"))
            }
            Rmw::Add(_) => Said::new(
                format!("add {name}"),
                format!("-> {}", names::value(var, value)),
            ),
            Rmw::Or(_) => Said::new(format!("set bits {name}"), change),
            Rmw::AndNot(_) => Said::new(format!("clear bits {name}"), change),
        }
    }

    /// A step with what it returned.
    pub fn said(&self, act: Act, value: u64, at: usize) -> Said {
        match act {
            Act::Load(word, _) => {
                let old = self.loads_old(word, at);
                let now = format!(
                    "= {}{}",
                    self.value_in(word, value, at),
                    if old { ", an old value" } else { "" }
                );
                Said::new(format!("read {}", self.word(word, at)), now)
            }
            Act::Store(word, new, _) => {
                let new = format!(":= {}", self.value_in(word, new, at));
                Said::new(self.word(word, at), new)
            }
            Act::Rmw(word, rmw, _) => self.rmw(word, rmw, value, at),
            Act::Access(va, access) => {
                let what = if access == Access::Write {
                    "store to"
                } else {
                    "load from"
                };
                Said::new(format!("{what} {va:#x}"), Outcome::from_value(value).name())
            }
            Act::AllocTable(_) | Act::NewRoot(_) if value == 0 => {
                Said::new(self.brief(act, at), "out of memory")
            }
            _ => Said::new(self.brief(act, at), ""),
        }
    }

    /// A step without its result.
    pub fn brief(&self, act: Act, at: usize) -> String {
        match act {
            Act::Load(word, _) => format!("read {}", self.word(word, at)),
            Act::Store(word, new, _) => {
                format!(
                    "{} := {}",
                    self.word(word, at),
                    self.value_in(word, new, at)
                )
            }
            Act::Rmw(word, rmw, _) => self.rmw(word, rmw, 0, at).head,
            Act::Lock(word) => format!("lock {}", self.word(word, at)),
            Act::Unlock(word) => format!("unlock {}", self.word(word, at)),
            Act::ReadLock(word) => format!("read_lock {}", self.word(word, at)),
            Act::ReadUnlock(word) => format!("read_unlock {}", self.word(word, at)),
            Act::AwaitChange(_) => "wait for a descriptor to change".into(),
            Act::AwaitOthers => "wait for what others are in the middle of".into(),
            Act::IrqOff | Act::IrqOn => act.word().to_owned(),
            Act::Tlbi(op) => op.to_string(),
            Act::Fence(kind) => format!("dmb {}", kind.name()),
            Act::Dsb(kind) => format!("dsb {}", kind.name()),
            Act::Isb => "isb".into(),
            Act::Msr(reg, value) => format!("{} := {}", reg.name(), self.register(reg, value, at)),
            Act::EnterGuest => "eret to the guest".into(),
            Act::ExitGuest => "exit from the guest".into(),
            Act::Access(va, Access::Read) => format!("load from {va:#x}"),
            Act::Access(va, Access::Write) => format!("store to {va:#x}"),
            Act::AllocTable(s) => format!("alloc a table of {s}"),
            Act::AllocPage(s, page) => format!("alloc page {} of {s}", page.0),
            Act::AllocBlock(s, page) => format!("alloc block {} of {s}", page.0),
            Act::Free(pa) | Act::FreeRcu(pa) => {
                let of = self.page(pa, at);
                format!("{} {}", act.word(), of.trim_start_matches("freed "))
            }
            Act::NewRoot(s) => format!("alloc a pgd of {s}"),
            Act::Copy(from, to) => format!("copy {from:#x} to {to:#x}"),
            Act::Note(pa, note) => format!("{} {}", note.name(), self.page(pa, at)),
            Act::TlbSync | Act::SfenceWInval | Act::SfenceInvalIr | Act::HartStop(_) => {
                act.word().into()
            }
            Act::RemoteFence(harts, op) => format!("{op} on harts {harts:#x}"),
            Act::SendIpi(cpu, _) => format!("ipi to cpu{cpu}"),
            Act::WaitIpi => "wait for the ipis".into(),
        }
    }

    /// What an entry translates to.
    pub fn target(&self, e: &Entry, at: usize) -> String {
        if !e.leaf {
            return format!("table of {}", space(e.owner));
        }
        let permission = if e.writable { "rw" } else { "ro" };
        let what = match self.tables.was(e.pa, at) {
            Use::Page(life, page) if e.size > PAGE => {
                let last = page.0 as u64 + e.size / PAGE - 1;
                format!("pages {}-{last} of {}", page.0, space(Some(life)))
            }
            _ => self.page(e.pa, at),
        };
        format!("{what} {permission}")
    }

    /// An entry in a sentence.
    pub fn entry(&self, e: &Entry) -> String {
        let kind = match (e.leaf, e.stage) {
            (false, _) => "walk-cache entry",
            (true, Stage::Two) => "stage-2 entry",
            (true, Stage::One) if e.vmid != 0 => "combined entry",
            _ => "entry",
        };
        let global = if e.global && e.stage == Stage::One {
            "global, "
        } else {
            ""
        };
        let cnp = if e.cnp { ", shared (CnP)" } else { "" };
        let made = self.fill(e.id).map_or(0, |f| f.0);
        let target = self.target(e, made);
        let at = range(e.va, e.size);
        format!("{kind} {global}{}{cnp}, {at}, to {target}", tag(self, e))
    }
}

/// "cpu1", or "cpu0 and cpu1".
pub fn cpus(cpus: &[u8]) -> String {
    super::text::list(&cpus.iter().map(|c| format!("cpu{c}")).collect::<Vec<_>>())
}
