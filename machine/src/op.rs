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
    ];

    /// The word for it in a scenario.
    pub fn name(self) -> &'static str {
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
        }
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
        }
    }

    /// The space it names, if it names one (`touch` means the loaded one).
    pub fn space(self) -> Option<Space> {
        match self {
            Op::Switch(s) | Op::Exit(s) => Some(s),
            Op::Map(s, _)
            | Op::Unmap(s, _)
            | Op::Protect(s, _, _)
            | Op::Remap(s, _)
            | Op::Split(s, _)
            | Op::Collapse(s, _) => Some(s),
            Op::SchedOut | Op::Touch(..) => None,
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.kind().name();
        match *self {
            Op::SchedOut => f.write_str(name),
            Op::Switch(s) | Op::Exit(s) => write!(f, "{name} {s}"),
            Op::Map(s, va)
            | Op::Unmap(s, va)
            | Op::Remap(s, va)
            | Op::Split(s, va)
            | Op::Collapse(s, va) => write!(f, "{name} {s} {va:#x}"),
            Op::Protect(s, va, Prot::Ro) => write!(f, "{name} {s} {va:#x} ro"),
            Op::Protect(s, va, Prot::Rw) => write!(f, "{name} {s} {va:#x} rw"),
            Op::Touch(va, Access::Read) => write!(f, "{name} {va:#x}"),
            Op::Touch(va, Access::Write) => write!(f, "{name} {va:#x} write"),
        }
    }
}
