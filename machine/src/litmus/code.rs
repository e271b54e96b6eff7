// SPDX-License-Identifier: MIT OR Apache-2.0
//! What threads of a litmus test do: instructions and what they are made of.

use super::{Desc, Name, Pte, Reg, Root};
use crate::Order;
use crate::arm64::Kind;

/// Where an access goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Loc {
    /// A virtual address: page and byte offset. The offset may lead past the page, inside
    /// the block.
    Va(Name, u16),
    /// A descriptor, by its physical address: not translated, never faults; ordered as any
    /// other access.
    Pte(Pte),
}

/// What a store writes, or a condition expects.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Value {
    /// This number; of a descriptor, its bits.
    Imm(u64),
    /// A register. A data dependency.
    Reg(Reg),
    /// A descriptor.
    Desc(Desc),
    /// The address of a page. Only in a [`Clause`](super::Clause).
    Page(Name),
}

/// An instruction. A branch goes forward, to an index into the same code; one past the last
/// is its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Instr {
    /// A load.
    Read {
        /// Where to.
        dst: Reg,
        /// Where from.
        loc: Loc,
        /// Relaxed or Acquire.
        order: Order,
        /// Registers that the address is computed from, without effect on it.
        addr_dep: Vec<Reg>,
    },
    /// A store.
    Write {
        /// Where to.
        loc: Loc,
        /// What.
        value: Value,
        /// Relaxed or Release.
        order: Order,
        /// Registers that the address is computed from, without effect on it.
        addr_dep: Vec<Reg>,
        /// Registers that the value is computed from, without effect on it; besides
        /// [`Value::Reg`].
        data_dep: Vec<Reg>,
    },
    /// DMB.
    Dmb(Barrier),
    /// DSB.
    Dsb(Barrier),
    /// ISB.
    Isb,
    /// A TLB invalidation.
    Tlbi {
        /// Which.
        kind: Kind,
        /// The page, for kinds by address: virtual, or intermediate for `ipas2*`.
        page: Option<Name>,
        /// The ASID, for kinds that take one.
        asid: Option<u16>,
    },
    /// MSR to a translation base register.
    Msr(Base, Root),
    /// SVC: an exception to EL1.
    Svc,
    /// HVC: an exception to EL2.
    Hvc,
    /// Returns from the exception.
    Eret,
    /// ERET of a thread that takes no exception: goes on behind it at this lower level.
    Drop(u8),
    /// Goes to `to` if the register is zero (`true`) or not zero (`false`). The instructions
    /// behind it depend on it, even if it goes to the next one.
    Branch {
        /// The register tested.
        reg: Reg,
        /// CBZ rather than CBNZ.
        zero: bool,
        /// Index of an instruction.
        to: usize,
    },
    /// A constant into a register.
    Set(Reg, u64),
    /// A register (second) into a register (first).
    Mov(Reg, Reg),
    /// `dst = src + imm`.
    Add {
        /// Result.
        dst: Reg,
        /// Operand.
        src: Reg,
        /// Operand.
        imm: u64,
    },
    /// By ESR_ELx of the exception being handled: `dst = if syndrome { yes } else { no }`.
    Syndrome {
        /// Result.
        dst: Reg,
        /// What to look for.
        is: Syndrome,
        /// Result if so.
        yes: u64,
        /// Result if not.
        no: u64,
    },
    /// HPFAR_EL2: the intermediate page whose translation faulted, as its address.
    FaultIpa(Reg),
    /// Where ERET goes.
    SetElr(Elr),
}

/// What a handler may look for in ESR_ELx.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Syndrome {
    /// Any fault at that level of the walk.
    Level(u8),
    /// A permission fault at that level.
    Permission(u8),
    /// An HVC.
    Hvc,
}

/// Where ERET goes. Without a [`Instr::SetElr`]: the faulting instruction again, or behind
/// the SVC or HVC.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Elr {
    /// Behind the instruction that faulted.
    Next,
    /// Where it went when this handler began, whatever exceptions it took since.
    Saved,
}

/// A translation base register.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Base {
    /// Stage 1 of EL1&0.
    Ttbr0El1,
    /// Stage 2.
    VttbrEl2,
    /// Stage 1 of EL2.
    Ttbr0El2,
}

/// The operand of a DMB or DSB.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)] // the architecture's names
pub enum Barrier {
    Sy,
    Ld,
    St,
    Ish,
    Ishld,
    Ishst,
    Nsh,
    Nshld,
    Nshst,
}

impl Barrier {
    /// Orders stores only.
    pub fn stores_only(self) -> bool {
        matches!(self, Barrier::St | Barrier::Ishst | Barrier::Nshst)
    }

    /// Orders earlier loads only.
    pub fn loads_only(self) -> bool {
        matches!(self, Barrier::Ld | Barrier::Ishld | Barrier::Nshld)
    }

    /// Reaches this PE only.
    pub fn local(self) -> bool {
        matches!(self, Barrier::Nsh | Barrier::Nshld | Barrier::Nshst)
    }
}
