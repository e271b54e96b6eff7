// SPDX-License-Identifier: MIT OR Apache-2.0
//! TLB invalidation: one table, from which printing, parsing and matching follow.
//!
//! Operands of arm64 are encoded as in the instruction's register (Arm ARM, C5.5 "A64 System
//! instructions for TLB maintenance"), those of other architectures alike: there the
//! instructions take several.

use crate::arm64::Granule;
use crate::config::Arch;
use crate::context::level_size;
use crate::op::PAGE;
use core::fmt;

/// Whose TLBs an operation reaches.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Share {
    /// The issuing CPU's, at once.
    Now,
    /// The issuing CPU's, at the latest when it waits for that.
    Local,
    /// Every CPU's (arm64: of the inner shareable domain), each in a time of its own, at the
    /// latest when the issuing CPU waits for that.
    Inner,
}

/// What becomes of cached table pointers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Tables {
    /// They stay: last level only.
    Keep,
    /// They are selected as leaves are.
    Cover,
    /// All of the ASID go, whatever the address.
    All,
}

/// What an operation selects entries by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scope {
    /// Everything. Of arm64, all of EL1&0: both stages, every VMID.
    All,
    /// Non-global entries of every ASID.
    NonGlobal,
    /// Both stages of the current VMID.
    VmBoth,
    /// Stage 1 (and combined entries) of the current VMID.
    Vm,
    /// Non-global entries of an ASID, current VMID.
    Asid,
    /// A VA: entries of an ASID and global ones, current VMID.
    Va,
    /// A VA: non-global entries of an ASID.
    VaOwn,
    /// A VA: entries of any ASID, and global ones, current VMID.
    VaAllAsid,
    /// An IPA: stage-2 entries of the current VMID, not combined ones.
    Ipa,
}

/// One kind of TLBI.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// Mnemonic, for arm64 without `TLBI`.
    pub name: &'static str,
    /// What it selects by.
    pub scope: Scope,
    /// What it does to the walk cache.
    pub tables: Tables,
    /// Takes a range operand (on arm64: FEAT_TLBIRANGE).
    pub range: bool,
    /// Whom it reaches, and when.
    pub share: Share,
    /// Whose instruction it is.
    pub arch: Arch,
}

impl Row {
    /// Last level only: walk-cache entries stay.
    pub fn last(&self) -> bool {
        self.tables == Tables::Keep
    }
}

macro_rules! tlbi_kinds {
    ($($kind:ident $name:literal $scope:ident $tables:ident $range:literal $share:ident $arch:ident;)*) => {
        /// The kinds of TLBI, named as the instructions.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[allow(missing_docs)] // the rows of the table say it
        pub enum Kind { $($kind),* }

        impl Kind {
            /// Every kind, in the order of [`KINDS`].
            pub const ALL: &[Kind] = &[$(Kind::$kind),*];
        }

        /// The table, in the order of [`Kind`].
        pub const KINDS: &[Row] = &[$(Row {
            name: $name,
            scope: Scope::$scope,
            tables: Tables::$tables,
            range: $range,
            share: Share::$share,
            arch: Arch::$arch,
        }),*];
    };
}

tlbi_kinds! {
//  kind         mnemonic                   scope     tablesrange share arch
    Vmalle1      "vmalle1"                  Vm        Cover false Local Arm64;
    Vmalle1is    "vmalle1is"                Vm        Cover false Inner Arm64;
    Alle1        "alle1"                    All       Cover false Local Arm64;
    Alle1is      "alle1is"                  All       Cover false Inner Arm64;
    Vmalls12e1   "vmalls12e1"               VmBoth    Cover false Local Arm64;
    Vmalls12e1is "vmalls12e1is"             VmBoth    Cover false Inner Arm64;
    Aside1       "aside1"                   Asid      Cover false Local Arm64;
    Aside1is     "aside1is"                 Asid      Cover false Inner Arm64;
    Vae1         "vae1"                     Va        Cover false Local Arm64;
    Vae1is       "vae1is"                   Va        Cover false Inner Arm64;
    Vale1        "vale1"                    Va        Keep  false Local Arm64;
    Vale1is      "vale1is"                  Va        Keep  false Inner Arm64;
    Vaae1        "vaae1"                    VaAllAsid Cover false Local Arm64;
    Vaae1is      "vaae1is"                  VaAllAsid Cover false Inner Arm64;
    Vaale1       "vaale1"                   VaAllAsid Keep  false Local Arm64;
    Vaale1is     "vaale1is"                 VaAllAsid Keep  false Inner Arm64;
    Ipas2e1      "ipas2e1"                  Ipa       Cover false Local Arm64;
    Ipas2e1is    "ipas2e1is"                Ipa       Cover false Inner Arm64;
    Ipas2le1     "ipas2le1"                 Ipa       Keep  false Local Arm64;
    Ipas2le1is   "ipas2le1is"               Ipa       Keep  false Inner Arm64;
    Rvae1        "rvae1"                    Va        Cover true  Local Arm64;
    Rvae1is      "rvae1is"                  Va        Cover true  Inner Arm64;
    Rvale1       "rvale1"                   Va        Keep  true  Local Arm64;
    Rvale1is     "rvale1is"                 Va        Keep  true  Inner Arm64;
    Rvaae1       "rvaae1"                   VaAllAsid Cover true  Local Arm64;
    Rvaae1is     "rvaae1is"                 VaAllAsid Cover true  Inner Arm64;
    Rvaale1      "rvaale1"                  VaAllAsid Keep  true  Local Arm64;
    Rvaale1is    "rvaale1is"                VaAllAsid Keep  true  Inner Arm64;
    Ripas2e1     "ripas2e1"                 Ipa       Cover true  Local Arm64;
    Ripas2e1is   "ripas2e1is"               Ipa       Cover true  Inner Arm64;
    Ripas2le1    "ripas2le1"                Ipa       Keep  true  Local Arm64;
    Ripas2le1is  "ripas2le1is"              Ipa       Keep  true  Inner Arm64;
//  Intel SDM vol. 3, 4.10.4.1 "Operations that Invalidate TLBs and Paging-Structure Caches".
    MovCr3       "mov cr3"                  Asid      Cover false Now   X86;
    MovCr4       "mov cr4"                  All       Cover false Now   X86;
    Invlpg       "invlpg"                   Va        All   false Now   X86;
//  The same with the switch `keepglobal`.
    InvlpgOwn    "invlpg"                   VaOwn     All   false Now   X86;
    InvpcidAddr  "invpcid"                  VaOwn     Cover false Now   X86;
    InvpcidPcid  "invpcid"                  Asid      Cover false Now   X86;
    InvpcidAll   "invpcid all"              All       Cover false Now   X86;
    InvpcidOwn   "invpcid all non-global"   NonGlobal Cover false Now   X86;
//  A page fault, for the address that faulted.
    PageFault    "page fault"               Va        Cover false Now   X86;
//  A host flushes what a virtual CPU has cached (Intel SDM vol. 3, 29.4.3; AMD: TLB_CONTROL).
    Invvpid      "invvpid"                  All       Cover false Now   X86;
//  AMD APM vol. 3, INVLPGB; which fields of rAX are set. TLBSYNC waits for them.
    InvlpgbAddr  "invlpgb"                  VaOwn     Cover true  Inner X86;
    InvlpgbFinal "invlpgb final"            VaOwn     Keep  true  Inner X86;
    InvlpgbPcid  "invlpgb"                  Asid      Cover false Inner X86;
    InvlpgbEvery "invlpgb any pcid"         VaAllAsid Cover true  Inner X86;
    InvlpgbAll   "invlpgb all"              All       Cover false Inner X86;
    InvlpgbOwn   "invlpgb all non-global"   NonGlobal Cover false Inner X86;
//  RISC-V privileged specification, SFENCE.VMA: with an address, leaves only; with an ASID,
//  not global ones.
    SfenceAll    "sfence.vma"               All       Cover false Now   Riscv;
    SfenceAsid   "sfence.vma"               Asid      Cover false Now   Riscv;
    SfenceAddr   "sfence.vma"               VaAllAsid Keep  false Now   Riscv;
    SfenceOne    "sfence.vma"               VaOwn     Keep  false Now   Riscv;
//  The same book, Svinval: in effect at the latest at SFENCE.INVAL.IR.
    SinvalAll    "sinval.vma"               All       Cover false Local Riscv;
    SinvalAsid   "sinval.vma"               Asid      Cover false Local Riscv;
    SinvalAddr   "sinval.vma"               VaAllAsid Keep  false Local Riscv;
    SinvalOne    "sinval.vma"               VaOwn     Keep  false Local Riscv;
//  SBI specification, RFENCE extension: every hart of a mask runs SFENCE.VMA.
    RfenceAll    "remote sfence.vma"        All       Cover false Inner Riscv;
    RfenceAsid   "remote sfence.vma"        Asid      Cover false Inner Riscv;
    RfenceAddr   "remote sfence.vma"        VaAllAsid Keep  true  Inner Riscv;
    RfenceOne    "remote sfence.vma"        VaOwn     Keep  true  Inner Riscv;
}

impl Kind {
    /// Its row of the table.
    pub fn row(self) -> &'static Row {
        &KINDS[self as usize]
    }
}

/// The level hint (FEAT_TTL).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ttl {
    /// No hint: any level.
    Unknown,
    /// Leaf entries of this level. An operation with the wrong hint need not invalidate
    /// anything (Arm ARM, D8.14.5), so here it does not.
    Level(u8),
}

/// A TLBI instruction: kind and register operand.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Tlbi {
    /// Which instruction.
    pub kind: Kind,
    /// The register operand; 0 where the kind has none.
    pub operand: u64,
    /// The granule of the translations that it is for. Software makes the operand for one;
    /// hardware reads it by its own, which the machine puts here.
    pub granule: Granule,
    /// Hardware has FEAT_LPA2, with which more hints count; the machine says so here.
    pub lpa2: bool,
}

/// Bits of an address in units of 4 KB, of a range in units of the granule.
const PAGES: u64 = (1 << 44) - 1;
const BASE: u64 = (1 << 37) - 1;

impl Tlbi {
    /// A kind without operand.
    pub fn all(kind: Kind) -> Tlbi {
        Tlbi::raw(kind, 0)
    }

    /// By ASID.
    pub fn asid(kind: Kind, asid: u16) -> Tlbi {
        Tlbi::raw(kind, (asid as u64) << 48)
    }

    /// A kind with its register operand.
    pub fn raw(kind: Kind, operand: u64) -> Tlbi {
        Tlbi {
            kind,
            operand,
            granule: Granule::K4,
            lpa2: false,
        }
    }

    /// By address, for the 4K granule; `asid` is ignored by kinds that do not have one. `addr`
    /// in bytes.
    pub fn addr(kind: Kind, addr: u64, asid: u16, ttl: Ttl) -> Tlbi {
        Tlbi::addr_in(Granule::K4, kind, addr, asid, ttl)
    }

    /// By address, for a granule.
    pub fn addr_in(granule: Granule, kind: Kind, addr: u64, asid: u16, ttl: Ttl) -> Tlbi {
        debug_assert!(!kind.row().range);
        let page = (addr / PAGE) << granule.shift();
        let hint = match ttl {
            Ttl::Unknown => 0,
            Ttl::Level(level) => granule.tg() << 2 | level as u64 & 3,
        };
        Tlbi {
            kind,
            operand: (asid as u64) << 48 | hint << 44 | page & PAGES,
            granule,
            lpa2: false,
        }
    }

    /// By range, for the 4K granule: `(num + 1) << (5 * scale + 1)` pages from `addr` (Arm
    /// ARM, D8.14.6). `num` up to 31, `scale` up to 3. What does not fit its field spoils those
    /// above it, as the shift and or of a kernel's macro do: -1 is no empty range.
    pub fn range(
        kind: Kind,
        addr: u64,
        scale: u8,
        num: impl Into<i64>,
        asid: u16,
        ttl: Ttl,
    ) -> Tlbi {
        Tlbi::range_in(Granule::K4, kind, addr, scale, num, asid, ttl)
    }

    /// By range, for a granule.
    pub fn range_in(
        granule: Granule,
        kind: Kind,
        addr: u64,
        scale: u8,
        num: impl Into<i64>,
        asid: u16,
        ttl: Ttl,
    ) -> Tlbi {
        debug_assert!(kind.row().range && scale < 4);
        // Here the granule has a field of its own.
        let level = match ttl {
            Ttl::Unknown => 0,
            Ttl::Level(level) => level as u64 & 3,
        };
        let operand = (asid as u64) << 48
            | granule.tg() << 46
            | (scale as u64) << 44
            | (num.into() as u64) << 39
            | level << 37
            | (addr / PAGE) & BASE;
        Tlbi {
            kind,
            operand,
            granule,
            lpa2: false,
        }
    }

    /// Of x86 and RISC-V: an ASID (or PCID) and pages from an address, as far as the kind has
    /// them. At most 2^16 pages, below 2^44.
    pub fn tagged(kind: Kind, asid: u16, addr: u64, pages: u64) -> Tlbi {
        debug_assert!(kind.row().arch != Arch::Arm64);
        let count = pages.clamp(1, 1 << 16) - 1;
        let page = (addr >> 12) & ((1 << 32) - 1);
        Tlbi::raw(kind, (asid as u64) << 48 | count << 32 | page)
    }

    /// The ASID field.
    pub fn asid_field(&self) -> u16 {
        (self.operand >> 48) as u16
    }

    /// First byte and length in bytes of what is covered, for kinds by address. Nothing, if the
    /// operand leaves it open what hardware with this granule does: made for another granule,
    /// by a range's TG or by the hint (C5.5), or a range with a hint that does not begin at a
    /// block of that level.
    #[inline]
    pub fn span(&self) -> (u64, u64) {
        if self.kind.row().arch != Arch::Arm64 {
            let pages = (self.operand >> 32 & 0xffff) + 1;
            return ((self.operand & ((1 << 32) - 1)) << 12, pages * PAGE);
        }
        if !self.kind.row().range {
            let page = (self.operand & PAGES) >> self.granule.shift();
            let tg = self.operand >> 46 & 3;
            let foreign = tg != 0 && tg != self.granule.tg();
            return (page * PAGE, if foreign { 0 } else { PAGE });
        }
        let (num, scale) = (self.operand >> 39 & 31, self.operand >> 44 & 3);
        let base = (self.operand & BASE) * PAGE;
        let aligned = match self.ttl() {
            Ttl::Unknown => true,
            Ttl::Level(level) => base.is_multiple_of(level_size(level)),
        };
        let pages = if self.operand >> 46 & 3 == self.granule.tg() && aligned {
            (num + 1) << (5 * scale + 1)
        } else {
            0
        };
        (base, pages * PAGE)
    }

    /// Whether something that translates `size` bytes from `first` is covered, by kinds by
    /// address.
    #[inline]
    pub fn covers(&self, first: u64, size: u64) -> bool {
        let (start, len) = self.span();
        len != 0 && first < start + len && start < first + size
    }

    /// The level hint; a reserved one is none.
    #[inline]
    pub fn ttl(&self) -> Ttl {
        if self.kind.row().arch != Arch::Arm64 {
            return Ttl::Unknown;
        }
        let (hinted, level) = if self.kind.row().range {
            (self.operand >> 37 & 3 != 0, self.operand >> 37 & 3)
        } else {
            (self.operand >> 46 & 3 != 0, self.operand >> 44 & 3)
        };
        if hinted && self.granule.has_blocks_at(level as u8, self.lpa2) {
            Ttl::Level(level as u8)
        } else {
            Ttl::Unknown
        }
    }

    /// Whether the kind takes an address.
    pub fn by_addr(&self) -> bool {
        matches!(
            self.kind.row().scope,
            Scope::Va | Scope::VaOwn | Scope::VaAllAsid | Scope::Ipa
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = self.row();
        f.write_str(if row.arch == Arch::Arm64 { "tlbi " } else { "" })?;
        f.write_str(row.name)
    }
}

impl fmt::Display for Tlbi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = self.kind.row();
        write!(f, "{}", self.kind)?;
        if self.by_addr() {
            let (addr, len) = self.span();
            write!(f, " {addr:#x}")?;
            match (len, row.range) {
                (0, _) => f.write_str(" (nothing)")?,
                (_, true) => write!(f, "+{len:#x}")?,
                _ => {}
            }
        }
        // Before it is executed, INVLPG has no PCID: it is the current one.
        let current = self.kind == Kind::Invlpg && self.asid_field() == 0;
        if matches!(row.scope, Scope::Asid | Scope::Va | Scope::VaOwn) && !current {
            write!(f, " {} {}", row.arch.tag_word(), self.asid_field())?;
        }
        if let (true, Ttl::Level(level)) = (self.by_addr(), self.ttl()) {
            write!(f, " ttl {level}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_decode_to_what_was_encoded() {
        let op = Tlbi::addr(Kind::Vale1is, 0x7000, 3, Ttl::Level(3));
        assert_eq!(
            (op.span(), op.asid_field(), op.ttl()),
            ((0x7000, PAGE), 3, Ttl::Level(3))
        );
        assert_eq!(op.operand, 3 << 48 | 0b0111 << 44 | 7);
        let op = Tlbi::addr(Kind::Vae1is, 0x7000, 3, Ttl::Unknown);
        assert_eq!(op.ttl(), Ttl::Unknown);
        assert_eq!(op.to_string(), "tlbi vae1is 0x7000 asid 3");
    }

    #[test]
    fn ranges_cover_what_the_formula_says() {
        for scale in 0..4 {
            for num in [0, 1, 30, 31] {
                let op = Tlbi::range(Kind::Rvae1is, 0x4000, scale, num, 5, Ttl::Level(2));
                let pages = (num as u64 + 1) << (5 * scale + 1);
                assert_eq!(op.span(), (0x4000, pages * PAGE));
                assert_eq!((op.asid_field(), op.ttl()), (5, Ttl::Level(2)));
            }
        }
    }

    #[test]
    fn other_architectures_have_operands_of_one_form() {
        let op = Tlbi::tagged(Kind::InvlpgbAddr, 5, 0x7000, 33);
        assert_eq!((op.span(), op.asid_field()), ((0x7000, 33 * PAGE), 5));
        assert_eq!(op.ttl(), Ttl::Unknown);
        assert_eq!(op.to_string(), "invlpgb 0x7000+0x21000 pcid 5");
        let op = Tlbi::tagged(Kind::SfenceOne, 5, 0x7000, 1);
        assert_eq!(op.to_string(), "sfence.vma 0x7000 asid 5");
        let op = Tlbi::tagged(Kind::Invlpg, 0, 0x7000, 1);
        assert_eq!(op.to_string(), "invlpg 0x7000");
        let most = Tlbi::tagged(Kind::RfenceAddr, 0, 0, u64::MAX);
        assert_eq!(most.span(), (0, PAGE << 16));
    }

    #[test]
    fn the_table_is_in_the_order_of_the_kinds() {
        assert_eq!(Kind::Ripas2e1is.row().name, "ripas2e1is");
        assert_eq!(Kind::Vmalle1.row().name, "vmalle1");
        assert_eq!(Kind::RfenceOne.row().name, "remote sfence.vma");
        for row in KINDS.iter().filter(|row| row.arch == Arch::Arm64) {
            assert_eq!(
                row.share == Share::Inner,
                row.name.ends_with("is"),
                "{}",
                row.name
            );
        }
    }
}
