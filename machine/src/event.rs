// SPDX-License-Identifier: MIT OR Apache-2.0
//! What happened: the only thing, with the machine's state, that a judge sees.

use crate::act::{Act, Dsb, Outcome};
use crate::arm64::{Desc, Stage, Tlbi};
use crate::mem::Word;
use crate::op::{Access, Op, Space, Va};
use crate::tlb::{Entry, Life};
use core::panic::Location;

/// A place in a port's source.
pub type Site = &'static Location<'static>;

/// What a logical operation came to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Done {
    /// Carried out.
    Yes,
    /// Nothing to do: the mapping was not as the operation wants it.
    No,
    /// Out of memory or of tags.
    Exhausted,
    /// A touch that faulted for good.
    Fault,
}

/// Why an entry left a TLB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drop {
    /// Invalidated by this CPU's TLBI, its number in the run.
    Tlbi(u8, u32),
    /// Replaced by one for the same addresses and tags.
    Replaced,
    /// Evicted.
    Evicted,
}

/// One event. `cpu` is the CPU it happened on.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // the fields bear the names of what they hold
pub enum Event {
    /// A step of a CPU (only while tracing).
    Did {
        cpu: u8,
        act: Act,
        value: u64,
        site: Site,
        ignored: bool,
    },
    /// A CPU begins the operation at `index` of its program. `page`: the first page of
    /// those that it may create.
    Begin {
        cpu: u8,
        index: u8,
        op: Op,
        page: u16,
    },
    /// Within a touch, a fault handler that may change the mapping begins.
    Faulting { cpu: u8, space: Space, va: Va },
    /// It returned.
    Faulted { cpu: u8, space: Space, va: Va },
    /// The operation returned.
    End {
        cpu: u8,
        index: u8,
        op: Op,
        page: u16,
        done: Done,
    },
    /// The CPU is outside the switch code with this space loaded, or is inside.
    Settled {
        cpu: u8,
        space: Option<Life>,
        switching: bool,
    },
    /// A context register was written, or the context synchronized.
    Context { cpu: u8 },
    /// A walker read a descriptor. `owner`: whose walk.
    WalkRead {
        cpu: u8,
        va: Va,
        stage: Stage,
        level: u8,
        desc_pa: u64,
        desc: Desc,
        owner: Option<Life>,
        demand: bool,
    },
    /// An entry was inserted into the TLB of `cpu`.
    Fill { cpu: u8, entry: Entry, demand: bool },
    /// An entry left (only while tracing).
    Dropped { cpu: u8, entry: u32, why: Drop },
    /// A user's access ended; `via`: the entry that answered.
    Accessed {
        cpu: u8,
        va: Va,
        access: Access,
        outcome: Outcome,
        via: Option<Entry>,
    },
    /// A descriptor in memory changed.
    Pte {
        cpu: u8,
        pa: u64,
        old: Desc,
        new: Desc,
        site: Site,
    },
    /// A store left the buffer of its CPU and is in memory (only while tracing).
    Drained {
        cpu: u8,
        word: Word,
        value: u64,
        site: Site,
    },
    /// The load that follows gives an older value than memory has (only while tracing).
    Stale { cpu: u8, word: Word, value: u64 },
    /// A walker of `cpu` marked a descriptor as accessed or dirty. No program's doing.
    Marked {
        cpu: u8,
        pa: u64,
        old: Desc,
        new: Desc,
    },
    /// A TLBI was issued, under this VMID.
    Tlbi {
        cpu: u8,
        op: Tlbi,
        vmid: u16,
        number: u32,
        site: Site,
    },
    /// It took effect on `cpu`, and removed so many entries (only while tracing).
    Delivered {
        cpu: u8,
        op: Tlbi,
        from: u8,
        number: u32,
        removed: u8,
    },
    /// A barrier was executed.
    Dsb { cpu: u8, kind: Dsb },
    /// A frame was handed out or taken back (only while tracing).
    Frame { cpu: u8, pa: u64, to: Option<Life> },
    /// A table of the kernel's own has become a space's root (only while tracing).
    Lent { cpu: u8, pa: u64, to: Life },
    /// A frame was freed twice.
    DoubleFree { cpu: u8, pa: u64, site: Site },
    /// A page's contents moved.
    Copied { cpu: u8, from: u64, to: u64 },
    /// A space has a new root table.
    Root { space: Space, life: Life, pa: u64 },
    /// The fault handler said "try again" too often.
    FaultLoop { cpu: u8, va: Va },
    /// The kernel says that an allocator ran dry or an invariant of its own is broken.
    Warn { cpu: u8, what: &'static str },
    /// An instruction that the CPU refuses (#GP), and the kernel does not survive.
    Illegal {
        cpu: u8,
        what: &'static str,
        site: Site,
    },
    /// A walker has cached that nothing is mapped (only while tracing).
    Absent { cpu: u8, entry: Entry, demand: bool },
    /// The host took a virtual CPU off its core, or put it back (only while tracing).
    Preempted { cpu: u8, off: bool },
    /// Every CPU that is not done waits for another.
    Deadlock { cpu: u8, act: Act },
    /// The run does not end.
    Livelock,
}
