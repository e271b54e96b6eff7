// SPDX-License-Identifier: MIT OR Apache-2.0
//! Walks in flight: begin, one read per level, insert; each a step of its own
//! (machine rule 4).

use crate::act::Outcome;
use crate::arch::{self, Decoded};
use crate::arm64::{Desc, HCR_TGE, HCR_VM, Regs, Scope, Stage, Tlbi, Ttl, ttbr};
use crate::config::{Arch, Bbm, Switch};
use crate::event::Event;
use crate::machine::State;
use crate::mem::{BITS, GROUP, SLOTS, Use};
use crate::op::{Access, PAGE, Va};
use crate::order::Time;
use crate::tlb::{Entry, Found, HOST_REGIME, Life, Tags};
use crate::tlbi::Tables;
use crate::x86;

/// The exception level that matters here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum El {
    /// The kernel and its users; under KVM, the host (EL2 and its users).
    #[default]
    Host,
    /// A guest (EL1 and EL0 behind stage 2).
    Guest,
}

/// What a walk starts from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Context {
    /// Root table of stage 1; 0: off.
    pub stage1: u64,
    /// Root table of stage 2; 0: off.
    pub stage2: u64,
    /// Tags of the entries it makes.
    pub tags: Tags,
}

impl Context {
    /// The context that registers select, or `None` where EL1&0 is not being used.
    pub fn of(regs: &Regs, el: El, out_of_context: bool) -> Option<Context> {
        if regs.hcr & HCR_VM != 0 {
            if el == El::Host && !out_of_context {
                return None;
            }
            let table = ttbr::table(regs.vttbr);
            let tags = Tags {
                asid: ttbr::tag(regs.ttbr1),
                vmid: ttbr::tag(regs.vttbr),
                cnp: regs.vttbr & ttbr::CNP != 0,
            };
            let stage1 = ttbr::table(regs.ttbr0);
            return (table != 0).then_some(Context {
                stage1,
                stage2: table,
                tags,
            });
        }
        let stage1 = ttbr::table(regs.ttbr0);
        let cnp = regs.ttbr0 & ttbr::CNP != 0;
        let tags = Tags {
            asid: ttbr::tag(regs.ttbr1),
            vmid: tlbi_vmid(regs),
            cnp,
        };
        (stage1 != 0).then_some(Context {
            stage1,
            stage2: 0,
            tags,
        })
    }

    /// The table that says whose context it is: stage 2 if there is one.
    pub fn root(&self) -> u64 {
        if self.stage2 != 0 {
            self.stage2
        } else {
            self.stage1
        }
    }
}

/// The VMID that a TLBI means under these registers.
pub fn tlbi_vmid(regs: &Regs) -> u16 {
    match regs.hcr & (HCR_VM | HCR_TGE) {
        0 => 0,
        HCR_VM => ttbr::tag(regs.vttbr),
        _ => HOST_REGIME,
    }
}

/// Bytes that a descriptor of this level maps.
pub fn level_size(level: u8) -> u64 {
    PAGE << (BITS * (3 - level as u32))
}

/// The address of the descriptor for `input` in the table at `table`.
pub fn slot_pa(table: u64, level: u8, input: u64) -> u64 {
    table + (input / level_size(level)) % SLOTS as u64 * 8
}

/// What a stage-2 translation is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
enum For {
    /// The access itself.
    Data,
    /// A stage-1 descriptor of this level.
    Stage1(u8),
}

/// The next step of a walk.
#[derive(Clone, Copy, Debug, Hash)]
enum Next {
    /// Read the descriptor at `at`, which translates `input`.
    Read {
        stage: Stage,
        level: u8,
        at: u64,
        input: u64,
        what: For,
    },
    /// Mark the leaf that was read at `at` as accessed or, if it is that already, as dirty.
    Mark {
        stage: Stage,
        level: u8,
        at: u64,
        what: For,
    },
    /// Insert what was found.
    Insert,
    /// Several stage-2 entries match.
    Conflict,
}

/// What a walk is about to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// Whose tables.
    pub stage: Stage,
    /// At which level.
    pub level: u8,
    /// Where the descriptor lies.
    pub pa: u64,
    /// What it translates: a VA, or an IPA.
    pub input: u64,
}

/// A descriptor that has been read, and what it says.
#[derive(Clone, Copy, Debug, Hash)]
struct Leaf {
    desc: Desc,
    desc_pa: u64,
    level: u8,
    input: u64,
    is: arch::Leaf,
}

impl Leaf {
    fn mark(&self, stage: Stage, what: For) -> Next {
        Next::Mark {
            stage,
            level: self.level,
            at: self.desc_pa,
            what,
        }
    }
}

/// A walk in flight. What it began with, it keeps (machine rule 9).
#[derive(Clone, Copy, Debug, Hash)]
pub struct Walk {
    /// The context that it began under.
    pub ctx: Context,
    /// The address.
    pub va: Va,
    /// Whose tables it reads.
    owner: Option<Life>,
    demand: bool,
    /// It is for a store that is being made: hardware may mark pages as dirty.
    write: bool,
    next: Next,
    /// The latest store that it has read.
    pub after: Time,
    /// The stage-2 leaf that the stage-1 descriptor to be read next was found through.
    table: Option<Leaf>,
    leaf1: Option<Leaf>,
    leaf2: Option<Leaf>,
}

/// What a step of a walk came to.
#[derive(Clone, Copy, Debug)]
pub enum Progress {
    /// There is more to do.
    More,
    /// The entry is in the TLB.
    Filled,
    /// It found a translation that may not be cached.
    Uncached(Entry),
    /// It met an invalid descriptor, or may not go on.
    Fault(Outcome),
}

impl Walk {
    /// Begins a walk, from the deepest cached table, for an access or on speculation.
    pub fn begin(s: &State, cpu: u8, ctx: Context, va: Va, access: Option<Access>) -> Walk {
        let owner = match s.mem.frame(ctx.root()).usage {
            Use::Table(life) => life,
            _ => None,
        };
        let mut walk = Walk {
            ctx,
            va,
            owner,
            demand: access.is_some(),
            write: access == Some(Access::Write),
            after: 0,
            next: Next::Insert,
            table: None,
            leaf1: None,
            leaf2: None,
        };
        if ctx.stage1 == 0 {
            walk.stage2(s, cpu, va, For::Data);
        } else {
            let pick = s.cpus[cpu as usize].pick;
            let cached = s.tlb(cpu).table_for(cpu, ctx.tags, Stage::One, va, pick);
            let (level, table) = walk.start(s, cached, ctx.stage1);
            walk.stage1(s, cpu, level, table);
        }
        walk
    }

    /// Where to read next: the cached table, or the root. Walk caches go by tag, whatever
    /// the table register says: the tables are those of whoever the cached entry is from.
    fn start(&mut self, s: &State, cached: Option<Entry>, root: u64) -> (u8, u64) {
        match cached {
            Some(entry) => {
                self.owner = entry.owner;
                self.after = self.after.max(entry.time);
                (entry.level + 1, entry.pa)
            }
            None => (s.config.first_level(), root),
        }
    }

    fn stage1(&mut self, s: &State, cpu: u8, level: u8, table: u64) {
        let at = slot_pa(table, level, self.va);
        if self.ctx.stage2 == 0 {
            self.next = Next::Read {
                stage: Stage::One,
                level,
                at,
                input: self.va,
                what: For::Data,
            };
        } else {
            self.stage2(s, cpu, at, For::Stage1(level));
        }
    }

    fn stage2(&mut self, s: &State, cpu: u8, ipa: u64, what: For) {
        let tlb = s.tlb(cpu);
        let pick = s.cpus[cpu as usize].pick;
        let found = tlb.lookup(
            cpu,
            self.ctx.tags,
            Stage::Two,
            ipa,
            s.config.answers(),
            pick,
        );
        // What is to be marked as dirty is read anew.
        let marks = self.write || what != For::Data;
        match found {
            Found::Hit(e) if !(marks && e.dirtiable && !e.writable) => {
                self.owner = e.owner;
                self.after = self.after.max(e.time);
                let leaf = Leaf {
                    desc: e.desc,
                    desc_pa: e.desc_pa,
                    level: e.level,
                    input: ipa,
                    is: arch::Leaf {
                        pa: e.pa + (ipa - e.va) / level_size(e.level) * level_size(e.level),
                        writable: e.writable,
                        global: true,
                        accessed: true,
                    },
                };
                self.found2(s, leaf, what);
                return;
            }
            Found::Conflict => {
                self.next = Next::Conflict;
                return;
            }
            _ => {}
        }
        let cached = tlb.table_for(cpu, self.ctx.tags, Stage::Two, ipa, pick);
        let (level, table) = self.start(s, cached, self.ctx.stage2);
        let at = slot_pa(table, level, ipa);
        self.next = Next::Read {
            stage: Stage::Two,
            level,
            at,
            input: ipa,
            what,
        };
    }

    /// A stage-2 leaf is known, and marked as accessed.
    fn found2(&mut self, s: &State, leaf: Leaf, what: For) {
        let pa = leaf.is.pa + leaf.input % level_size(leaf.level);
        match what {
            For::Data => {
                self.leaf2 = Some(leaf);
                self.finish(s);
            }
            For::Stage1(level) => {
                self.table = Some(leaf);
                self.next = Next::Read {
                    stage: Stage::One,
                    level,
                    at: pa,
                    input: self.va,
                    what,
                };
            }
        }
    }

    /// A stage-1 leaf is known, and marked as accessed.
    fn found1(&mut self, s: &State, cpu: u8, leaf: Leaf) {
        self.leaf1 = Some(leaf);
        if self.ctx.stage2 == 0 {
            self.finish(s);
        } else {
            let ipa = leaf.is.pa + leaf.input % level_size(leaf.level);
            self.stage2(s, cpu, ipa, For::Data);
        }
    }

    /// What its next step reads; `None`: it is about to insert what it has found.
    pub fn reading(&self) -> Option<Reading> {
        match self.next {
            Next::Read {
                stage,
                level,
                at,
                input,
                ..
            } => Some(Reading {
                stage,
                level,
                pa: at,
                input,
            }),
            Next::Mark { .. } | Next::Insert | Next::Conflict => None,
        }
    }

    /// One step.
    pub fn step(&mut self, s: &mut State, cpu: u8) -> Progress {
        match self.next {
            Next::Read {
                stage,
                level,
                at,
                input,
                what,
            } => self.read(s, cpu, (stage, level, at), input, what),
            Next::Mark { stage, what, .. } => self.mark(s, cpu, stage, what),
            Next::Insert => self.insert(s, cpu),
            Next::Conflict => Progress::Fault(Outcome::Conflict),
        }
    }

    fn read(
        &mut self,
        s: &mut State,
        cpu: u8,
        (stage, level, at): (Stage, u8, u64),
        input: u64,
        what: For,
    ) -> Progress {
        let (desc, time) = s.walk_read(cpu, at, self.after);
        self.after = self.after.max(time);
        s.events.push(Event::WalkRead {
            cpu,
            va: self.va,
            stage,
            level,
            desc_pa: at,
            desc,
            owner: self.owner,
            demand: self.demand,
        });
        let desc = if s.config.arch == Arch::X86 {
            s.x86_uses(cpu, at, level, desc, self.write)
        } else {
            desc
        };
        let found = |is| Leaf {
            desc,
            desc_pa: at,
            level,
            input,
            is,
        };
        match s.config.arch.decode(stage, level, desc) {
            Decoded::Invalid => {
                if s.remembers_absence() {
                    let nothing = arch::Leaf {
                        pa: 0,
                        writable: false,
                        global: false,
                        accessed: false,
                    };
                    let entry = self.entry(s, cpu, stage, true, found(nothing));
                    s.insert_absent(cpu, entry, self.demand);
                }
                return Progress::Fault(Outcome::Translation);
            }
            Decoded::Leaf(is) if !is.accessed && !s.marks() => {
                return Progress::Fault(Outcome::Translation);
            }
            Decoded::Leaf(is) => self.leaf(s, cpu, stage, found(is), what),
            Decoded::Table(pa) => {
                let is = arch::Leaf {
                    pa,
                    writable: true,
                    global: false,
                    accessed: true,
                };
                let entry = self.entry(s, cpu, stage, false, found(is));
                s.insert(cpu, entry, self.demand);
                match stage {
                    Stage::One => self.stage1(s, cpu, level + 1, pa),
                    Stage::Two => {
                        let at = slot_pa(pa, level + 1, input);
                        self.next = Next::Read {
                            stage,
                            level: level + 1,
                            at,
                            input,
                            what,
                        };
                    }
                }
            }
        }
        Progress::More
    }

    /// A leaf has been read, or marked.
    fn leaf(&mut self, s: &mut State, cpu: u8, stage: Stage, leaf: Leaf, what: For) {
        if !leaf.is.accessed {
            *self.place(stage, what) = Some(leaf);
            self.next = leaf.mark(stage, what);
            return;
        }
        match (stage, what) {
            (Stage::One, _) => self.found1(s, cpu, leaf),
            (Stage::Two, For::Data) => self.found2(s, leaf, what),
            (Stage::Two, For::Stage1(_)) => {
                if !s.transient(&leaf) {
                    let entry = self.entry(s, cpu, stage, true, leaf);
                    s.insert(cpu, entry, self.demand);
                }
                self.found2(s, leaf, what);
            }
        }
    }

    fn place(&mut self, stage: Stage, what: For) -> &mut Option<Leaf> {
        match (stage, what) {
            (Stage::One, _) => &mut self.leaf1,
            (Stage::Two, For::Data) => &mut self.leaf2,
            (Stage::Two, For::Stage1(_)) => &mut self.table,
        }
    }

    /// Everything is known. A store goes on to mark as dirty what has to be, if with that it is
    /// permitted at all.
    fn finish(&mut self, s: &State) {
        self.next = Next::Insert;
        if !self.write || !s.marks() {
            return;
        }
        let leaves = [(Stage::One, self.leaf1), (Stage::Two, self.leaf2)];
        let may = |(stage, leaf): (Stage, Option<Leaf>)| {
            leaf.is_none_or(|l| l.is.writable || l.desc.may_write(stage))
        };
        let clean = |(_, leaf): &(Stage, Option<Leaf>)| leaf.is_some_and(|l| !l.is.writable);
        if leaves.into_iter().all(may)
            && let Some((stage, Some(leaf))) = leaves.into_iter().find(clean)
        {
            self.next = leaf.mark(stage, For::Data);
        }
    }

    /// Marks a leaf as accessed or, if it is that already, as dirty. Where it has changed
    /// since, the walk begins again (Arm ARM, D8.5.4 to D8.5.6).
    fn mark(&mut self, s: &mut State, cpu: u8, stage: Stage, what: For) -> Progress {
        // The update is a store to a stage-1 table, and needs the permission of stage 2.
        if stage == Stage::One
            && let Some(table) = self.table.filter(|table| !table.is.writable)
        {
            if !table.desc.may_write(Stage::Two) {
                return Progress::Fault(Outcome::Permission);
            }
            return self.update(s, cpu, Stage::Two, For::Stage1(table.level), true);
        }
        let accessed = self.place(stage, what).is_some_and(|leaf| leaf.is.accessed);
        self.update(s, cpu, stage, what, accessed)
    }

    fn update(&mut self, s: &mut State, cpu: u8, stage: Stage, what: For, dirty: bool) -> Progress {
        let Some(leaf) = *self.place(stage, what) else {
            return Progress::Fault(Outcome::Translation);
        };
        let accessed = leaf.desc.with_accessed(true);
        let new = if dirty {
            accessed.with_writable(stage, true)
        } else {
            accessed
        };
        let Some(time) = s.mark(cpu, leaf.desc_pa, leaf.desc, new) else {
            let write = if self.write {
                Access::Write
            } else {
                Access::Read
            };
            *self = Walk::begin(s, cpu, self.ctx, self.va, self.demand.then_some(write));
            return Progress::More;
        };
        self.after = self.after.max(time);
        let is = arch::Leaf {
            accessed: true,
            writable: leaf.is.writable || dirty,
            ..leaf.is
        };
        let marked = Leaf {
            desc: new,
            is,
            ..leaf
        };
        if dirty {
            *self.place(stage, what) = Some(marked);
            if what == For::Data {
                self.finish(s);
            }
        } else {
            self.leaf(s, cpu, stage, marked, what);
        }
        Progress::More
    }

    /// The tags of what it inserts: those that it began with or, by a switch, those of the
    /// context that is loaded by now.
    fn tags(&self, s: &State, cpu: u8) -> Tags {
        if !s.config.switches.on(Switch::LateTag) {
            return self.ctx.tags;
        }
        let regs = s.regs(cpu, true);
        Context::of(&regs, El::Guest, true).map_or(self.ctx.tags, |ctx| ctx.tags)
    }

    fn entry(&self, s: &State, cpu: u8, stage: Stage, leaf: bool, from: Leaf) -> Entry {
        let group = leaf && from.desc.contiguous() && s.config.arch == Arch::Arm64;
        // That a group is cached as one is a choice of hardware: here, that of speculation.
        let mut size = level_size(from.level);
        let mut pa = from.is.pa;
        if group && !self.demand {
            size *= GROUP as u64;
            pa = pa / size * size;
        }
        let tags = self.tags(s, cpu);
        let clean = leaf && s.config.arch == Arch::X86 && from.desc.0 & x86::DIRTY == 0;
        Entry {
            id: 0,
            va: from.input / size * size,
            size,
            level: from.level,
            stage,
            leaf,
            global: stage == Stage::Two || from.is.global,
            asid: tags.asid,
            vmid: tags.vmid,
            cnp: tags.cnp,
            cpu,
            pa,
            writable: from.is.writable && !clean,
            group,
            dirtiable: (leaf && s.marks() && from.desc.dirtiable()) || (clean && from.is.writable),
            desc: from.desc,
            desc_pa: from.desc_pa,
            owner: self.owner,
            time: self.after,
            filled: s.step,
        }
    }

    /// Stage 1 alone gives its own leaf; with stage 2, that stage's leaf and a combined
    /// entry of the smaller of the two sizes, which IPAS2 operations do not reach.
    fn insert(&mut self, s: &mut State, cpu: u8) -> Progress {
        let first = self
            .leaf1
            .map(|leaf| self.entry(s, cpu, Stage::One, true, leaf));
        let second = self
            .leaf2
            .map(|leaf| self.entry(s, cpu, Stage::Two, true, leaf));
        let combined = match (first, second) {
            (Some(only), None) => only,
            (None, Some(second)) => Entry {
                stage: Stage::One,
                ..second
            },
            (Some(first), Some(second)) => self.combined(first, second),
            (None, None) => return Progress::Filled,
        };
        let leaves = [self.leaf1, self.leaf2];
        if leaves.iter().flatten().any(|leaf| s.transient(leaf)) {
            return Progress::Uncached(combined);
        }
        if let Some(second) = second {
            s.insert(cpu, second, self.demand);
        }
        s.insert(cpu, combined, self.demand);
        Progress::Filled
    }

    fn combined(&self, first: Entry, second: Entry) -> Entry {
        let size = first.size.min(second.size);
        let ipa = self.leaf2.map_or(0, |leaf| leaf.input) / size * size;
        let may = |e: &Entry| e.writable || e.dirtiable;
        Entry {
            stage: Stage::One,
            va: self.va / size * size,
            size,
            // A level hint means stage 1 where there is one.
            level: first.level,
            global: first.global,
            pa: second.pa + ipa % second.size,
            writable: first.writable && second.writable,
            dirtiable: may(&first) && may(&second),
            group: first.group || second.group,
            ..second
        }
    }

    /// Whether a TLBI catches it: it has read, or may have, something that is covered
    /// (machine rule 10).
    pub fn hit_by(&self, op: &Tlbi, vmid: u16) -> bool {
        let tags = &self.ctx.tags;
        let row = op.kind.row();
        let tagged = self.leaf1.is_none_or(|leaf| !leaf.is.global);
        let addr = match row.scope {
            Scope::All => return true,
            Scope::VmBoth | Scope::Vm => return tags.vmid == vmid,
            Scope::Asid => return tags.vmid == vmid && tags.asid == op.asid_field(),
            Scope::NonGlobal => return true,
            _ if row.tables == Tables::All && tags.asid == op.asid_field() => return true,
            Scope::VaOwn if tags.asid != op.asid_field() => return false,
            Scope::Va if self.ctx.stage1 != 0 && tagged && tags.asid != op.asid_field() => {
                return false;
            }
            Scope::Va | Scope::VaOwn | Scope::VaAllAsid => self.va,
            Scope::Ipa if self.ctx.stage2 == 0 => return false,
            Scope::Ipa => match (self.next, self.leaf2.or(self.table)) {
                (_, Some(leaf)) => leaf.input,
                (
                    Next::Read {
                        stage: Stage::Two,
                        input,
                        ..
                    },
                    _,
                ) => input,
                _ => return false,
            },
        };
        let leaf = match row.scope {
            Scope::Ipa => self.leaf2.or(self.table),
            _ => self.leaf1.or(self.leaf2),
        };
        let level = match (op.ttl(), leaf) {
            (Ttl::Level(hint), Some(leaf)) => leaf.level == hint,
            _ => true,
        };
        // What it has read translates more than the one page: a leaf all that the leaf maps,
        // a table pointer all that the table does.
        let size = match (leaf, self.next) {
            (Some(leaf), _) if leaf.desc.contiguous() => GROUP as u64 * level_size(leaf.level),
            (Some(leaf), _) => level_size(leaf.level),
            (
                None,
                Next::Read {
                    stage, level, at, ..
                }
                | Next::Mark {
                    stage, level, at, ..
                },
            ) if !self.in_root(stage, at) => level_size(level - 1),
            (None, _) => PAGE,
        };
        let covered = op.covers(addr / size * size, size);
        tags.vmid == vmid && covered && level && (leaf.is_some() || !row.last())
    }

    /// Whether a descriptor is one of the root table's, so that nothing led to it.
    fn in_root(&self, stage: Stage, at: u64) -> bool {
        let root = match stage {
            Stage::One => self.ctx.stage1,
            Stage::Two => self.ctx.stage2,
        };
        at.wrapping_sub(root) < SLOTS as u64 * 8
    }
}

impl State {
    /// Whether walkers mark descriptors as accessed and dirty.
    fn marks(&self) -> bool {
        self.config.switches.on(Switch::HwAfDbm) && self.config.arch == Arch::Arm64
    }

    /// Whether a leaf is one that must not be cached (FEAT_BBM level 1).
    fn transient(&self, leaf: &Leaf) -> bool {
        self.config.bbm == Bbm::Level1
            && self.config.arch == Arch::Arm64
            && leaf.level < 3
            && leaf.desc.transient()
    }
}

/// How an access through an entry ends.
pub fn permitted(entry: &Entry, write: bool) -> Outcome {
    if write && !entry.writable {
        Outcome::Permission
    } else {
        Outcome::Done
    }
}
