// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a port to RISC-V is written against.

use crate::act::Act;
use crate::cpu::{Cpu, Step, steps};
use crate::op::{PAGE, Va};
use crate::regs::Reg;
use crate::tlbi::{Kind, Tlbi};

/// What a fence is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fence {
    /// All addresses, all address spaces (rs1 = rs2 = x0).
    All,
    /// One address space, but for its global mappings (rs1 = x0).
    Asid(u16),
    /// Leaf entries for an address, in all address spaces (rs2 = x0).
    Addr(Va),
    /// Leaf entries for an address in one address space, but for global mappings.
    Both(Va, u16),
}

impl Fence {
    fn op(self, kinds: [Kind; 4], pages: u64) -> Tlbi {
        match self {
            Fence::All => Tlbi::tagged(kinds[0], 0, 0, pages),
            Fence::Asid(asid) => Tlbi::tagged(kinds[1], asid, 0, pages),
            Fence::Addr(va) => Tlbi::tagged(kinds[2], 0, va, pages),
            Fence::Both(va, asid) => Tlbi::tagged(kinds[3], asid, va, pages),
        }
    }
}

use Kind::{RfenceAddr, RfenceAll, RfenceAsid, RfenceOne};
use Kind::{SfenceAddr, SfenceAll, SfenceAsid, SfenceOne};
use Kind::{SinvalAddr, SinvalAll, SinvalAsid, SinvalOne};
const SFENCE: [Kind; 4] = [SfenceAll, SfenceAsid, SfenceAddr, SfenceOne];
const SINVAL: [Kind; 4] = [SinvalAll, SinvalAsid, SinvalAddr, SinvalOne];
const RFENCE: [Kind; 4] = [RfenceAll, RfenceAsid, RfenceAddr, RfenceOne];

impl<'m> Cpu<'m> {
    steps! {
        /// Writes satp (see [`satp`](super::satp)): later walks use the new table and ASID.
        /// Orders and removes nothing.
        write_satp(value: u64) -> () = Act::Msr(Reg::Satp, value);
        /// SFENCE.VMA: this hart's earlier stores are seen by its later walks, and what it
        /// has cached of them is gone.
        sfence_vma(what: Fence) -> () = Act::Tlbi(what.op(SFENCE, 1));
        /// SFENCE.W.INVAL: this hart's earlier stores are before its later `sinval_vma`.
        sfence_w_inval() -> () = Act::SfenceWInval;
        /// SINVAL.VMA: as `sfence_vma`, but takes effect any time before the next
        /// `sfence_inval_ir`, and orders no store.
        sinval_vma(what: Fence) -> () = Act::Tlbi(what.op(SINVAL, 1));
        /// SFENCE.INVAL.IR: this hart's earlier `sinval_vma` are before its later walks.
        sfence_inval_ir() -> () = Act::SfenceInvalIr;
        /// The hart stops: remote fences do not reach it any more.
        hart_stop() -> () = Act::HartStop(true);
        /// It starts again, in mode Bare, with whatever it had cached.
        hart_start() -> () = Act::HartStop(false);
        /// sbi_remote_sfence_vma_asid and its like: every hart of the mask (bit n: hart n)
        /// executes the fence, with an address for all pages of so many bytes. Returns when
        /// all have. `false`: SBI_ERR_INVALID_PARAM, since a hart of the mask is not there or
        /// is offline; then none has.
        sbi_remote_sfence_vma(harts: u8, what: Fence, bytes: u64) -> bool =
            Act::RemoteFence(harts, what.op(RFENCE, bytes.div_ceil(PAGE)));
    }
}
