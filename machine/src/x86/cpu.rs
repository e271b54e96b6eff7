// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a port to x86 is written against.

use crate::act::Act;
use crate::cpu::{Cpu, Step, steps};
use crate::op::Va;
use crate::regs::Reg;
use crate::tlbi::{Kind, Tlbi};

/// What INVLPGB is to remove, on every CPU (the fields of rAX that are set).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Invlpgb {
    /// Non-global entries of a PCID for so many pages from an address; `last`: table
    /// pointers stay.
    Addr {
        /// The PCID.
        pcid: u16,
        /// First address.
        va: Va,
        /// Number of 4K pages.
        pages: u64,
        /// "Final translation only".
        last: bool,
    },
    /// Non-global entries of a PCID.
    Pcid(u16),
    /// Entries of any PCID and global ones for so many pages from an address.
    Every(Va, u64),
    /// Everything.
    All,
    /// Everything that is not global.
    NonGlobal,
}

impl Invlpgb {
    fn op(self) -> Tlbi {
        match self {
            Invlpgb::Addr {
                pcid,
                va,
                pages,
                last,
            } => {
                let kind = if last {
                    Kind::InvlpgbFinal
                } else {
                    Kind::InvlpgbAddr
                };
                Tlbi::tagged(kind, pcid, va, pages)
            }
            Invlpgb::Pcid(pcid) => Tlbi::tagged(Kind::InvlpgbPcid, pcid, 0, 1),
            Invlpgb::Every(va, pages) => Tlbi::tagged(Kind::InvlpgbEvery, 0, va, pages),
            Invlpgb::All => Tlbi::all(Kind::InvlpgbAll),
            Invlpgb::NonGlobal => Tlbi::all(Kind::InvlpgbOwn),
        }
    }
}

impl<'m> Cpu<'m> {
    steps! {
        /// MOV to CR3 (see [`cr3`](super::cr3)): removes the non-global entries and the table
        /// pointers of the PCID that it loads, unless [`NOFLUSH`](super::NOFLUSH) is set.
        write_cr3(value: u64) -> () = Act::Msr(Reg::Cr3, value);
        /// MOV to CR4: removes everything if [`PGE`](super::PGE) changes or
        /// [`PCIDE`](super::PCIDE) goes to 0.
        write_cr4(value: u64) -> () = Act::Msr(Reg::Cr4, value);
        /// INVLPG: entries for an address, of the current PCID and global ones, and every
        /// table pointer of the current PCID.
        invlpg(va: Va) -> () = Act::Tlbi(Tlbi::tagged(Kind::Invlpg, 0, va, 1));
        /// INVPCID, type 0: non-global entries of a PCID for an address.
        invpcid_addr(pcid: u16, va: Va) -> () = Act::Tlbi(Tlbi::tagged(Kind::InvpcidAddr, pcid, va, 1));
        /// INVPCID, type 1: non-global entries of a PCID.
        invpcid_single(pcid: u16) -> () = Act::Tlbi(Tlbi::tagged(Kind::InvpcidPcid, pcid, 0, 1));
        /// INVPCID, type 2: everything.
        invpcid_all() -> () = Act::Tlbi(Tlbi::all(Kind::InvpcidAll));
        /// INVPCID, type 3: everything that is not global.
        invpcid_all_nonglobals() -> () = Act::Tlbi(Tlbi::all(Kind::InvpcidOwn));
        /// INVLPGB (AMD): on its way to every CPU, this one too. [`tlbsync`](Self::tlbsync)
        /// waits for it.
        invlpgb(what: Invlpgb) -> () = Act::Tlbi(what.op());
        /// TLBSYNC: waits for every INVLPGB that this CPU has issued.
        tlbsync() -> () = Act::TlbSync;
    }
}
