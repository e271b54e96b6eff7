// SPDX-License-Identifier: MIT OR Apache-2.0
//! TLB entries: what they are tagged by, what removes them, and which one answers.

use crate::arm64::{Desc, Scope, Stage, Tlbi, Ttl};
use crate::config::{Bbm, Pick};
use crate::event::Drop;
use crate::op::{Access, Space, Va};
use crate::order::Time;
use crate::tlbi::Tables;

/// Entries that one TLB holds; the oldest makes room.
pub const CAPACITY: usize = 24;

/// Absences that one TLB remembers.
const ABSENCES: usize = 8;

/// The VMID of entries of VHE's host regime (EL2&0), which has none.
pub const HOST_REGIME: u16 = u16::MAX;

/// Which incarnation of a space: `exit` begins a new one under the same letter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Life {
    /// The space.
    pub space: Space,
    /// How often the letter has been re-used.
    pub nth: u8,
}

/// One TLB entry: a leaf, or a table pointer of the walk cache.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Entry {
    /// Number of the entry in this run, for its history.
    pub id: u32,
    /// First address covered: a VA at stage 1 or combined, an IPA at stage 2.
    pub va: Va,
    /// Bytes covered.
    pub size: u64,
    /// Level of the descriptor.
    pub level: u8,
    /// Stage 1 and combined entries, or stage 2.
    pub stage: Stage,
    /// A leaf, not a pointer to a table.
    pub leaf: bool,
    /// Any ASID matches.
    pub global: bool,
    /// ASID tag.
    pub asid: u16,
    /// VMID tag; 0 where there is no stage 2.
    pub vmid: u16,
    /// Usable by every CPU of the TLB that has CnP=1 too.
    pub cnp: bool,
    /// The CPU that made it.
    pub cpu: u8,
    /// Output address, or address of the next table.
    pub pa: u64,
    /// A store is permitted.
    pub writable: bool,
    /// A store makes hardware mark what it came from as dirty, and then is.
    pub dirtiable: bool,
    /// Made from a descriptor of a contiguous group.
    pub group: bool,
    /// The descriptor it was made from.
    pub desc: Desc,
    /// Where that lies.
    pub desc_pa: u64,
    /// Whose table the walk began in. Not known to hardware: for the judge.
    pub owner: Option<Life>,
    /// The latest store that its walk has read: what is accessed through it is later.
    pub time: Time,
    /// Step of the run that made it. For the judge.
    pub filled: u32,
}

/// The tags that an access presents to the TLB.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Tags {
    /// ASID.
    pub asid: u16,
    /// VMID.
    pub vmid: u16,
    /// CnP bit of the table register.
    pub cnp: bool,
}

impl Entry {
    /// Whether it covers an address.
    pub fn covers(&self, va: Va) -> bool {
        va.wrapping_sub(self.va) < self.size
    }

    /// Whether two entries cover a common address.
    pub fn overlaps(&self, other: &Entry) -> bool {
        self.va < other.va + other.size && other.va < self.va + self.size
    }

    /// Whether `cpu` can see it at all: its own, or shared.
    pub fn visible(&self, cpu: u8, cnp: bool) -> bool {
        self.cpu == cpu || (self.cnp && cnp)
    }

    /// Whether an access of `cpu` with these tags may use it, whatever its address.
    pub fn usable(&self, cpu: u8, tags: Tags) -> bool {
        self.vmid == tags.vmid
            && (self.stage == Stage::Two || self.global || self.asid == tags.asid)
            && self.visible(cpu, tags.cnp)
    }

    /// Whether hardware has to mark the page as dirty before the access.
    pub fn must_mark(&self, access: Access) -> bool {
        access == Access::Write && self.dirtiable && !self.writable
    }

    /// Whether it takes the other's place: same addresses, output, level and tags. A change of
    /// the output address alone is not such a case: without the break that it needs, a TLB may
    /// hold both (Arm ARM, D8.16.1). Entries of one contiguous group may be of different size,
    /// and are no conflict as long as they agree.
    pub fn same_key(&self, other: &Entry) -> bool {
        let same = self.va == other.va && self.size == other.size && self.pa == other.pa;
        let agree = || {
            let output = |e: &Entry| e.pa.wrapping_sub(e.va);
            self.level == other.level && self.overlaps(other) && output(self) == output(other)
        };
        (same || (self.group && other.group && agree()))
            && self.leaf == other.leaf
            && self.stage == other.stage
            && self.vmid == other.vmid
            && self.global == other.global
            && self.asid == other.asid
            && self.cnp == other.cnp
            && (self.cnp || self.cpu == other.cpu)
    }

    /// What hardware may make of two entries for one address: the smaller size of the two, the
    /// permissions of both, and an output address with bits of either. Of two that agree on the
    /// output, this is the output; else it is neither's.
    pub fn mixed(&self, other: &Entry, va: Va) -> Entry {
        let size = self.size.min(other.size);
        let first = va / size * size;
        let output = |e: &Entry| e.pa + (first - e.va);
        Entry {
            va: first,
            size,
            level: self.level.max(other.level),
            pa: output(self) | output(other),
            writable: self.writable | other.writable,
            dirtiable: false,
            ..*self
        }
    }

    /// Whether a TLBI executed under `vmid` removes it (machine rule 10: kind, address,
    /// level hint, ASID, VMID).
    pub fn hit_by(&self, op: &Tlbi, vmid: u16) -> bool {
        let row = op.kind.row();
        match row.scope {
            Scope::All => return self.vmid != HOST_REGIME,
            Scope::VmBoth => return self.vmid == vmid,
            Scope::Vm => return self.vmid == vmid && self.stage == Stage::One,
            Scope::Asid => {
                return self.vmid == vmid
                    && self.stage == Stage::One
                    && !self.global
                    && self.asid == op.asid_field();
            }
            Scope::NonGlobal => return !self.global,
            Scope::VaOwn if self.global || self.asid != op.asid_field() => return false,
            Scope::Va => {
                let asid = self.global || self.asid == op.asid_field();
                if self.stage != Stage::One || !asid {
                    return false;
                }
            }
            Scope::VaAllAsid if self.stage != Stage::One => return false,
            Scope::Ipa if self.stage != Stage::Two => return false,
            Scope::VaAllAsid | Scope::VaOwn | Scope::Ipa => {}
        }
        if row.tables == Tables::All && !self.leaf {
            return self.vmid == vmid;
        }
        let level = match op.ttl() {
            Ttl::Unknown => true,
            // The hint is the leaf's level; table pointers on the way to it go too.
            Ttl::Level(level) if self.leaf => self.level == level,
            Ttl::Level(level) => self.level < level,
        };
        self.vmid == vmid && (self.leaf || !row.last()) && level && op.covers(self.va, self.size)
    }
}

/// What a look-up found.
#[derive(Clone, Copy, Debug)]
pub enum Found {
    /// Nothing.
    Miss,
    /// An entry (or, where hardware may amalgamate, a mix of two).
    Hit(Entry),
    /// A TLB conflict abort.
    Conflict,
}

/// A TLB, private or shared by sibling CPUs.
#[derive(Clone, Default, Debug)]
pub struct Tlb {
    /// Its entries, oldest first.
    pub entries: Vec<Entry>,
    /// Addresses at which walkers have found nothing, where the architecture lets them
    /// remember that: entries that map nothing, oldest first.
    pub absent: Vec<Entry>,
}

impl Tlb {
    /// The leaf that answers an access (machine rules 16 and 17).
    pub fn lookup(&self, cpu: u8, tags: Tags, stage: Stage, va: Va, bbm: Bbm, pick: Pick) -> Found {
        let mut first: Option<&Entry> = None;
        let mut last: Option<&Entry> = None;
        for e in &self.entries {
            if e.leaf && e.stage == stage && e.covers(va) && e.usable(cpu, tags) {
                first = first.or(Some(e));
                last = Some(e);
            }
        }
        let (Some(first), Some(last)) = (first, last) else {
            return Found::Miss;
        };
        if first.id == last.id {
            return Found::Hit(*first);
        }
        match pick {
            Pick::Abort if bbm != Bbm::NoAbort => Found::Conflict,
            Pick::Newest => Found::Hit(*last),
            Pick::Mix if bbm < Bbm::Level2 => Found::Hit(first.mixed(last, va)),
            _ => Found::Hit(*first),
        }
    }

    /// The deepest cached table pointer on the way to `va`; of several, which is the
    /// schedule's choice.
    pub fn table_for(
        &self,
        cpu: u8,
        tags: Tags,
        stage: Stage,
        va: Va,
        pick: Pick,
    ) -> Option<Entry> {
        let fits = |e: &&Entry| !e.leaf && e.stage == stage && e.covers(va) && e.usable(cpu, tags);
        let mut deepest: Option<&Entry> = None;
        for e in self.entries.iter().filter(fits) {
            let newer = |d: &Entry| e.level == d.level && pick == Pick::Newest;
            if deepest.is_none_or(|d| e.level > d.level || newer(d)) {
                deepest = Some(e);
            }
        }
        deepest.copied()
    }

    /// Remembers that nothing is mapped.
    pub fn insert_absent(&mut self, entry: Entry) {
        self.absent.retain(|e| !e.same_key(&entry));
        if self.absent.len() == ABSENCES {
            self.absent.remove(0);
        }
        self.absent.push(entry);
    }

    /// Takes an entry out. Whether it was there.
    pub fn remove(&mut self, id: u32) -> bool {
        let place = self.entries.iter().position(|e| e.id == id);
        place.map(|i| self.entries.remove(i)).is_some()
    }

    /// Stores an entry. `gone` hears of those whose place it takes, or of the oldest of a full
    /// TLB.
    pub fn insert(&mut self, entry: Entry, mut gone: impl FnMut(u32, Drop)) {
        let before = self.entries.len();
        if entry.group {
            self.entries.retain(|e| {
                let replaced = e.same_key(&entry);
                if replaced {
                    gone(e.id, Drop::Replaced);
                }
                !replaced
            });
        } else if let Some(i) = self.entries.iter().position(|e| e.same_key(&entry)) {
            gone(self.entries.remove(i).id, Drop::Replaced);
        }
        if self.entries.len() == before && before == CAPACITY {
            gone(self.entries.remove(0).id, Drop::Evicted);
        }
        self.entries.push(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arm64::Kind;
    use crate::op::PAGE;

    fn leaf(id: u32, va: Va, level: u8, asid: u16, vmid: u16) -> Entry {
        Entry {
            id,
            va,
            size: if level == 3 { PAGE } else { 4 * PAGE },
            level,
            stage: Stage::One,
            leaf: true,
            global: false,
            asid,
            vmid,
            cnp: false,
            cpu: 0,
            pa: 0x10000 + va,
            writable: true,
            dirtiable: false,
            group: false,
            desc: Desc::INVALID,
            desc_pa: 0,
            owner: None,
            time: 0,
            filled: id,
        }
    }

    #[test]
    fn every_kind_removes_what_it_names_and_nothing_else() {
        let page = leaf(1, 0x5000, 3, 2, 7);
        let block = leaf(2, 0x4000, 2, 2, 7);
        let table = Entry {
            leaf: false,
            level: 2,
            ..block
        };
        let stage2 = Entry {
            stage: Stage::Two,
            global: true,
            ..page
        };
        let global = Entry {
            global: true,
            ..page
        };
        // kind, then: page, block, table, stage 2, global; then the page under VMID 8
        let rows: &[(Kind, [bool; 6])] = &[
            (Kind::Alle1is, [true, true, true, true, true, true]),
            (Kind::Vmalls12e1is, [true, true, true, true, true, false]),
            (Kind::Vmalle1, [true, true, true, false, true, false]),
            (Kind::Aside1is, [true, true, true, false, false, false]),
            (Kind::Vae1is, [true, true, true, false, true, false]),
            (Kind::Vale1is, [true, true, false, false, true, false]),
            (Kind::Vaae1is, [true, true, true, false, true, false]),
            (Kind::Vaale1is, [true, true, false, false, true, false]),
            (Kind::Ipas2e1is, [false, false, false, true, false, false]),
        ];
        for (kind, want) in rows {
            let op = if kind.row().scope == Scope::Asid {
                Tlbi::asid(*kind, 2)
            } else if Tlbi::all(*kind).by_addr() {
                Tlbi::addr(*kind, 0x5000, 2, Ttl::Unknown)
            } else {
                Tlbi::all(*kind)
            };
            let other = Entry { vmid: 8, ..page };
            let got = [page, block, table, stage2, global, other].map(|e| e.hit_by(&op, 7));
            assert_eq!(got, *want, "{op}");
        }
        assert!(
            !page.hit_by(&Tlbi::asid(Kind::Aside1is, 3), 7),
            "another ASID"
        );
        assert!(!page.hit_by(&Tlbi::addr(Kind::Vae1is, 0x6000, 2, Ttl::Unknown), 7));
        assert!(page.hit_by(
            &Tlbi::range(Kind::Rvae1is, 0x4000, 0, 0, 2, Ttl::Unknown),
            7
        ));
        assert!(!page.hit_by(
            &Tlbi::range(Kind::Rvae1is, 0x6000, 0, 0, 2, Ttl::Unknown),
            7
        ));
    }

    #[test]
    fn a_wrong_level_hint_invalidates_nothing() {
        let (page, block) = (leaf(1, 0x5000, 3, 2, 0), leaf(2, 0x4000, 2, 2, 0));
        let hinted = |level| Tlbi::addr(Kind::Vale1is, 0x5000, 2, Ttl::Level(level));
        assert!(page.hit_by(&hinted(3), 0) && !block.hit_by(&hinted(3), 0));
        assert!(!page.hit_by(&hinted(2), 0) && block.hit_by(&hinted(2), 0));
    }

    #[test]
    fn which_of_two_entries_answers_depends_on_the_level_of_bbm() {
        let mut tlb = Tlb::default();
        tlb.insert(leaf(1, 0x4000, 2, 2, 0), |_, _| {});
        tlb.insert(leaf(2, 0x5000, 3, 2, 0), |_, _| {});
        let tags = Tags {
            asid: 2,
            vmid: 0,
            cnp: false,
        };
        let id = |bbm, pick| match tlb.lookup(0, tags, Stage::One, 0x5000, bbm, pick) {
            Found::Hit(e) => Some(e.id),
            _ => None,
        };
        assert_eq!(id(Bbm::Level2, Pick::Oldest), Some(1));
        assert_eq!(id(Bbm::Level2, Pick::Newest), Some(2));
        assert_eq!(id(Bbm::Level2, Pick::Abort), None);
        assert_eq!(id(Bbm::NoAbort, Pick::Abort), Some(1));
        assert!(matches!(
            tlb.lookup(1, tags, Stage::One, 0x5000, Bbm::Level0, Pick::Oldest),
            Found::Miss
        ));
    }

    #[test]
    fn a_shared_entry_serves_siblings_and_a_private_one_does_not() {
        let mine = leaf(1, 0x5000, 3, 2, 0);
        let shared = Entry { cnp: true, ..mine };
        let tags = Tags {
            asid: 2,
            vmid: 0,
            cnp: true,
        };
        assert!(shared.usable(1, tags) && !mine.usable(1, tags));
        assert!(!shared.usable(1, Tags { cnp: false, ..tags }));
        assert!(mine.usable(0, tags));
    }
}
