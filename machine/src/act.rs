// SPDX-License-Identifier: MIT OR Apache-2.0
//! What one step of a CPU can be: the line between a program and the machine.

use crate::arm64::{Reg, Tlbi};
use crate::mem::{Page, Word};
use crate::op::{Access, Space, Va};

/// Memory order of an access. Under `sc` all are alike.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Order {
    /// Orders nothing but its own location.
    Relaxed,
    /// Nothing after it is earlier.
    Acquire,
    /// Nothing before it is later.
    Release,
    /// Both, as the kernel's unqualified value-returning atomics.
    Full,
    /// A load from an address that earlier loads gave: not earlier than they.
    Address,
}

/// A barrier for memory accesses that waits for nothing (DMB; MFENCE).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fence {
    /// `dmb ish`, smp_mb: all before, before all after.
    Full,
    /// `dmb ishst`, smp_wmb: stores before, before stores after.
    Stores,
    /// `dmb ishld`, smp_rmb: loads before, before all after.
    Loads,
}

impl Fence {
    /// Its name in assembler.
    pub fn name(self) -> &'static str {
        match self {
            Fence::Full => "ish",
            Fence::Stores => "ishst",
            Fence::Loads => "ishld",
        }
    }
}

/// A read-modify-write.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Rmw {
    /// Store; gives the old value.
    Xchg(u64),
    /// Store the second if the value is the first; gives the old value.
    CmpXchg(u64, u64),
    /// Add; gives the new value.
    Add(u64),
    /// Set bits; gives the old value.
    Or(u64),
    /// Clear bits; gives the old value.
    AndNot(u64),
}

/// What a DSB waits for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Dsb {
    /// This CPU's stores.
    Nshst,
    /// This CPU's accesses and local TLBIs.
    Nsh,
    /// Stores, in the inner shareable domain.
    Ishst,
    /// Accesses and TLBIs of this CPU, in the inner shareable domain.
    Ish,
}

impl Dsb {
    /// Its name in assembler.
    pub fn name(self) -> &'static str {
        match self {
            Dsb::Nshst => "nshst",
            Dsb::Nsh => "nsh",
            Dsb::Ishst => "ishst",
            Dsb::Ish => "ish",
        }
    }
}

/// One step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// A load from a variable or a descriptor.
    Load(Word, Order),
    /// A store.
    Store(Word, u64, Order),
    /// A read-modify-write.
    Rmw(Word, Rmw, Order),
    /// Taking a lock; blocks while somebody has it.
    Lock(Word),
    /// Giving it back.
    Unlock(Word),
    /// Taking a reader/writer lock to read; blocks while a writer has it.
    ReadLock(Word),
    /// Giving it back.
    ReadUnlock(Word),
    /// Waits until descriptors have changed more often than that, or the CPU has read one that
    /// was older: what a loop that looks again and again comes to, without its steps.
    AwaitChange(u32),
    /// Waits until no other CPU is in the middle of an operation that can go on: what an access
    /// that faults again and again comes to, without its steps.
    AwaitOthers,
    /// Masks interrupts.
    IrqOff,
    /// Unmasks them.
    IrqOn,
    /// A TLB invalidation.
    Tlbi(Tlbi),
    /// A data memory barrier.
    Fence(Fence),
    /// A data synchronization barrier.
    Dsb(Dsb),
    /// An instruction synchronization barrier.
    Isb,
    /// A write of a system register.
    Msr(Reg, u64),
    /// Exception return to the guest (EL1).
    EnterGuest,
    /// Exception from the guest to the host (EL2).
    ExitGuest,
    /// A user's or guest's access, with the walk it may need.
    Access(Va, Access),
    /// Allocates and zeroes a table for a space.
    AllocTable(Space),
    /// Allocates a page.
    AllocPage(Space, Page),
    /// Allocates a block for the page and its successors.
    AllocBlock(Space, Page),
    /// Frees the frame at an address.
    Free(u64),
    /// Frees the table at an address after a grace period.
    FreeRcu(u64),
    /// Ends the space's incarnation and gives the next one an empty root table.
    NewRoot(Space),
    /// Copies the page at the first address to the second.
    Copy(u64, u64),
    /// What software notes of the page at an address.
    Note(u64, Note),
    /// TLBSYNC of x86: waits for this CPU's broadcast invalidations.
    TlbSync,
    /// SFENCE.W.INVAL of RISC-V: stores before, SINVAL.VMA after.
    SfenceWInval,
    /// SFENCE.INVAL.IR of RISC-V: waits for this hart's SINVAL.VMA.
    SfenceInvalIr,
    /// A remote fence by the SBI of RISC-V, on the harts of a mask.
    RemoteFence(u8, Tlbi),
    /// The hart stops, and starts again (SBI, HSM): while it is stopped, it translates nothing
    /// and no remote fence reaches it.
    HartStop(bool),
    /// Sends an inter-processor interrupt to a CPU.
    SendIpi(u8, u64),
    /// Waits until all IPIs this CPU sent have been handled.
    WaitIpi,
}

impl Act {
    /// The word of the scenario's `until` for it, where it has no variable's name.
    pub fn word(&self) -> &'static str {
        match self {
            Act::Load(..) | Act::Store(..) | Act::Rmw(..) => "pte",
            Act::Lock(_) => "lock",
            Act::Unlock(_) => "unlock",
            Act::ReadLock(_) => "read_lock",
            Act::ReadUnlock(_) => "read_unlock",
            Act::AwaitChange(_) => "wait_change",
            Act::AwaitOthers => "wait_others",
            Act::IrqOff => "local_irq_disable",
            Act::IrqOn => "local_irq_enable",
            Act::Tlbi(_) => "tlbi",
            Act::Fence(_) => "dmb",
            Act::Dsb(_) => "dsb",
            Act::Isb => "isb",
            Act::Msr(reg, _) => reg.name(),
            Act::EnterGuest => "eret",
            Act::ExitGuest => "exit",
            Act::Access(..) => "touch",
            Act::AllocTable(_) | Act::AllocPage(..) | Act::AllocBlock(..) => "alloc",
            Act::Free(_) => "free",
            Act::FreeRcu(_) => "tlb_remove_table",
            Act::NewRoot(_) => "pgd_alloc",
            Act::Copy(..) => "copy",
            Act::Note(_, note) => note.name(),
            Act::TlbSync => "tlbsync",
            Act::SfenceWInval => "sfence.w.inval",
            Act::SfenceInvalIr => "sfence.inval.ir",
            Act::RemoteFence(..) => "tlbi",
            Act::HartStop(true) => "hart_stop",
            Act::HartStop(false) => "hart_start",
            Act::SendIpi(..) => "ipi",
            Act::WaitIpi => "wait_ipi",
        }
    }

    /// Whether sabotage applies: TLBIs, barriers, locks, IPIs and plain stores.
    pub fn is_maintenance(&self) -> bool {
        matches!(
            self,
            Act::Tlbi(_)
                | Act::Fence(_)
                | Act::Dsb(_)
                | Act::Isb
                | Act::TlbSync
                | Act::SfenceWInval
                | Act::SfenceInvalIr
                | Act::RemoteFence(..)
                | Act::SendIpi(..)
                | Act::Lock(_)
                | Act::Unlock(_)
                | Act::ReadLock(_)
                | Act::ReadUnlock(_)
                | Act::Store(..)
        )
    }
}

/// What software does to the notes it keeps of a page.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Note {
    /// Takes a reference, if somebody has one still (`folio_try_get`).
    Get,
    /// Counts the references.
    Count,
    /// Notes that the page has been or may be written to (`folio_mark_dirty`).
    Dirty,
    /// Writes it back to where it came from: what is stored to it before it is noted as dirty
    /// again is lost.
    WriteBack,
}

impl Note {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Note::Get => "get_page",
            Note::Count => "folio_ref_count",
            Note::Dirty => "set_page_dirty",
            Note::WriteBack => "write_back",
        }
    }
}

/// How an access ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// It reached memory.
    Done,
    /// Translation fault.
    Translation,
    /// Permission fault.
    Permission,
    /// TLB conflict abort.
    Conflict,
}

impl Outcome {
    const ALL: [Outcome; 4] = [
        Outcome::Done,
        Outcome::Translation,
        Outcome::Permission,
        Outcome::Conflict,
    ];

    /// Back from the number that a step returns.
    pub fn from_value(value: u64) -> Outcome {
        Outcome::ALL[(value & 3) as usize]
    }

    /// Words for a report.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Translation => "translation fault",
            Outcome::Permission => "permission fault",
            Outcome::Conflict => "TLB conflict abort",
        }
    }
}
