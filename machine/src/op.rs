// SPDX-License-Identifier: MIT OR Apache-2.0
//! The logical operations: what a scenario asks of a kernel, without saying how.

use core::fmt;

/// A virtual address (or, for a VM, an intermediate physical address), in bytes.
pub type Va = u64;

/// Bytes in the smallest page.
pub const PAGE: u64 = 4096;

/// Pages of every space that operations may name: addresses `0..PAGES * PAGE`.
pub const PAGES: usize = 16;

/// Pages that a level-2 block covers. Real hardware has 512; tables here have
/// four entries, so that splitting one is a handful of steps.
pub const BLOCK_PAGES: usize = 4;

/// An address space: an mm for an ASID allocator, a VM for a VMID allocator.
/// Printed as a letter, `A` first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Space(pub u8);

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Write::write_char(f, (b'A' + self.0) as char)
    }
}

/// One operation of one CPU's program.
///
/// An operation that makes no sense when its turn comes (unmapping what is not
/// mapped, touching with no space loaded) does nothing and says so.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Op {
    /// Load a space on this CPU.
    Switch(Space),
    /// Leave the loaded space for the idle task (or, for a VM, the host).
    SchedOut,
    /// Map a fresh, writable page where nothing is mapped.
    Map(Space, Va),
    /// Unmap one page and free it. A block is left alone.
    Unmap(Space, Va),
    /// Change the permission of a page, or of the whole block.
    Protect(Space, Va, Prot),
    /// Migrate one page: copy it to a new frame and free the old one.
    Remap(Space, Va),
    /// Replace a block by a table of pages that translate alike.
    Split(Space, Va),
    /// Replace a full table of pages with equal permissions by a block; in place if
    /// the pages are still those of one block, else by copying them.
    Collapse(Space, Va),
    /// Access an address of the loaded space from user mode (or from the guest).
    Touch(Va, Access),
    /// End the space: free its pages and tables. A new one takes its letter.
    /// Does nothing while some CPU has the space loaded or works on it.
    Exit(Space),
    /// Reclaim one page: unmap it with the flush put off to the end of a batch, then free it.
    Reclaim(Space, Va),
    /// Throw one page away while others may do so too (`MADV_DONTNEED`): unmap it under the
    /// page-table lock alone, flush afterwards, then free it.
    Zap(Space, Va),
    /// Make one page clean, to be written back: take its write permission away until the next
    /// store asks for it.
    Clean(Space, Va),
    /// Take all access to one page away (for NUMA balancing) until the next access asks for it,
    /// which may migrate the page.
    Hint(Space, Va),
    /// Forget that one page was accessed.
    Age(Space, Va),
    /// Take a reference to one page as the kernel does for a device or a system call, by a walk in
    /// software, without a lock; the CPU's next of these gives it back.
    Gup(Space, Va),
    /// Move one page (or, where both addresses begin a table, the table) to another address.
    Move(Space, Va, Va),
    /// Copy a space to an empty one: both share the pages, read-only until written to.
    Fork(Space, Space),
    /// Keep the tag of a space for a device, over rollovers.
    Pin(Space),
    /// Give the tag back.
    Unpin(Space),
    /// Take this CPU offline. Until its next `Switch`, which brings it back, it does nothing.
    Offline,
}

/// What a touch does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Access {
    /// A load.
    Read,
    /// A store.
    Write,
}

/// A permission that an operation may ask for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Prot {
    /// Read only.
    Ro,
    /// Read and write.
    Rw,
}

/// The kinds of operation, for lists of what a variant implements.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)] // one for one the variants of `Op`
pub enum OpKind {
    Switch,
    SchedOut,
    Map,
    Unmap,
    Protect,
    Remap,
    Split,
    Collapse,
    Touch,
    Exit,
    Reclaim,
    Zap,
    Clean,
    Hint,
    Age,
    Gup,
    Move,
    Fork,
    Pin,
    Unpin,
    Offline,
}

/// The operands that an operation may have, of which its kind takes those it needs.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// The space it works on.
    pub space: Space,
    /// The space that a copy goes to.
    pub other: Space,
    /// The address it is about.
    pub va: Va,
    /// The address that something moves to.
    pub to: Va,
    /// The permission it gives.
    pub prot: Prot,
    /// The access it makes.
    pub access: Access,
}

impl OpKind {
    /// Every kind.
    pub const ALL: &'static [OpKind] = &[
        OpKind::Switch,
        OpKind::SchedOut,
        OpKind::Map,
        OpKind::Unmap,
        OpKind::Protect,
        OpKind::Remap,
        OpKind::Split,
        OpKind::Collapse,
        OpKind::Touch,
        OpKind::Exit,
        OpKind::Reclaim,
        OpKind::Zap,
        OpKind::Clean,
        OpKind::Hint,
        OpKind::Age,
        OpKind::Gup,
        OpKind::Move,
        OpKind::Fork,
        OpKind::Pin,
        OpKind::Unpin,
        OpKind::Offline,
    ];

    /// Those that nearly every kernel has.
    pub const BASIC: &'static [OpKind] = OpKind::ALL.split_at(10).0;

    /// The word for it in a scenario.
    pub const fn name(self) -> &'static str {
        match self {
            OpKind::Switch => "switch",
            OpKind::SchedOut => "sched_out",
            OpKind::Map => "map",
            OpKind::Unmap => "unmap",
            OpKind::Protect => "protect",
            OpKind::Remap => "remap",
            OpKind::Split => "split",
            OpKind::Collapse => "collapse",
            OpKind::Touch => "touch",
            OpKind::Exit => "exit",
            OpKind::Reclaim => "reclaim",
            OpKind::Zap => "zap",
            OpKind::Clean => "clean",
            OpKind::Hint => "hint",
            OpKind::Age => "age",
            OpKind::Gup => "gup",
            OpKind::Move => "move",
            OpKind::Fork => "fork",
            OpKind::Pin => "pin",
            OpKind::Unpin => "unpin",
            OpKind::Offline => "offline",
        }
    }

    /// The operation of this kind.
    pub fn with(self, operands: &Operands) -> Op {
        let Operands {
            space,
            other,
            va,
            to,
            prot,
            access,
        } = *operands;
        match self {
            OpKind::Switch => Op::Switch(space),
            OpKind::SchedOut => Op::SchedOut,
            OpKind::Map => Op::Map(space, va),
            OpKind::Unmap => Op::Unmap(space, va),
            OpKind::Protect => Op::Protect(space, va, prot),
            OpKind::Remap => Op::Remap(space, va),
            OpKind::Split => Op::Split(space, va),
            OpKind::Collapse => Op::Collapse(space, va),
            OpKind::Touch => Op::Touch(va, access),
            OpKind::Exit => Op::Exit(space),
            OpKind::Reclaim => Op::Reclaim(space, va),
            OpKind::Zap => Op::Zap(space, va),
            OpKind::Clean => Op::Clean(space, va),
            OpKind::Hint => Op::Hint(space, va),
            OpKind::Age => Op::Age(space, va),
            OpKind::Gup => Op::Gup(space, va),
            OpKind::Move => Op::Move(space, va, to),
            OpKind::Fork => Op::Fork(space, other),
            OpKind::Pin => Op::Pin(space),
            OpKind::Unpin => Op::Unpin(space),
            OpKind::Offline => Op::Offline,
        }
    }
}

/// A set of kinds of operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpSet(u32);

impl OpSet {
    /// Every kind.
    pub const ALL: OpSet = OpSet::of(OpKind::ALL);

    /// These.
    pub const fn of(kinds: &[OpKind]) -> OpSet {
        let (mut bits, mut i) = (0, 0);
        while i < kinds.len() {
            bits |= 1 << kinds[i] as u32;
            i += 1;
        }
        OpSet(bits)
    }

    /// Those of either.
    #[must_use]
    pub const fn or(self, other: OpSet) -> OpSet {
        OpSet(self.0 | other.0)
    }

    /// How many there are.
    #[allow(clippy::len_without_is_empty)] // nobody asks
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether it has this kind.
    pub const fn has(self, kind: OpKind) -> bool {
        self.0 >> kind as u32 & 1 != 0
    }
}

impl Op {
    /// The kind of this operation.
    pub fn kind(self) -> OpKind {
        match self {
            Op::Switch(_) => OpKind::Switch,
            Op::SchedOut => OpKind::SchedOut,
            Op::Map(..) => OpKind::Map,
            Op::Unmap(..) => OpKind::Unmap,
            Op::Protect(..) => OpKind::Protect,
            Op::Remap(..) => OpKind::Remap,
            Op::Split(..) => OpKind::Split,
            Op::Collapse(..) => OpKind::Collapse,
            Op::Touch(..) => OpKind::Touch,
            Op::Exit(_) => OpKind::Exit,
            Op::Reclaim(..) => OpKind::Reclaim,
            Op::Zap(..) => OpKind::Zap,
            Op::Clean(..) => OpKind::Clean,
            Op::Hint(..) => OpKind::Hint,
            Op::Age(..) => OpKind::Age,
            Op::Gup(..) => OpKind::Gup,
            Op::Move(..) => OpKind::Move,
            Op::Fork(..) => OpKind::Fork,
            Op::Pin(_) => OpKind::Pin,
            Op::Unpin(_) => OpKind::Unpin,
            Op::Offline => OpKind::Offline,
        }
    }

    /// The space that it works on, if it names one (`touch` means the loaded one).
    pub fn space(mut self) -> Option<Space> {
        self.space_mut().copied()
    }

    /// That, to be changed.
    pub fn space_mut(&mut self) -> Option<&mut Space> {
        match self {
            Op::SchedOut | Op::Touch(..) | Op::Offline => None,
            Op::Switch(space)
            | Op::Exit(space)
            | Op::Pin(space)
            | Op::Unpin(space)
            | Op::Fork(space, _)
            | Op::Move(space, ..)
            | Op::Protect(space, ..)
            | Op::Map(space, _)
            | Op::Unmap(space, _)
            | Op::Remap(space, _)
            | Op::Split(space, _)
            | Op::Collapse(space, _)
            | Op::Reclaim(space, _)
            | Op::Zap(space, _)
            | Op::Clean(space, _)
            | Op::Hint(space, _)
            | Op::Age(space, _)
            | Op::Gup(space, _) => Some(space),
        }
    }

    /// The space that it copies to.
    pub fn other_space(mut self) -> Option<Space> {
        self.other_space_mut().copied()
    }

    /// That, to be changed.
    pub fn other_space_mut(&mut self) -> Option<&mut Space> {
        match self {
            Op::Fork(_, other) => Some(other),
            _ => None,
        }
    }

    /// The address that it is about.
    pub fn va(mut self) -> Option<Va> {
        self.va_mut().copied()
    }

    /// That, to be changed.
    pub fn va_mut(&mut self) -> Option<&mut Va> {
        match self {
            Op::Switch(_) | Op::SchedOut | Op::Exit(_) | Op::Fork(..) => None,
            Op::Pin(_) | Op::Unpin(_) | Op::Offline => None,
            Op::Touch(va, _)
            | Op::Move(_, va, _)
            | Op::Protect(_, va, _)
            | Op::Map(_, va)
            | Op::Unmap(_, va)
            | Op::Remap(_, va)
            | Op::Split(_, va)
            | Op::Collapse(_, va)
            | Op::Reclaim(_, va)
            | Op::Zap(_, va)
            | Op::Clean(_, va)
            | Op::Hint(_, va)
            | Op::Age(_, va)
            | Op::Gup(_, va) => Some(va),
        }
    }

    /// The address that it moves something to.
    pub fn to(mut self) -> Option<Va> {
        self.to_mut().copied()
    }

    /// That, to be changed.
    pub fn to_mut(&mut self) -> Option<&mut Va> {
        match self {
            Op::Move(_, _, to) => Some(to),
            _ => None,
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().name())?;
        for space in [self.space(), self.other_space()].into_iter().flatten() {
            write!(f, " {space}")?;
        }
        for va in [self.va(), self.to()].into_iter().flatten() {
            write!(f, " {va:#x}")?;
        }
        match self {
            Op::Protect(_, _, Prot::Ro) => f.write_str(" ro"),
            Op::Protect(_, _, Prot::Rw) => f.write_str(" rw"),
            Op::Touch(_, Access::Write) => f.write_str(" write"),
            _ => Ok(()),
        }
    }
}
