// SPDX-License-Identifier: MIT OR Apache-2.0
//! TLB invalidation: one table, from which printing, parsing and matching follow.
//!
//! Operands are encoded as in the instruction's register (Arm ARM, C5.5 "A64 System
//! instructions for TLB maintenance").

use crate::op::PAGE;
use core::fmt;

/// Whose TLBs an operation reaches.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Share {
    /// The issuing PE's.
    Local,
    /// Every PE of the inner shareable domain.
    Inner,
}

/// What an operation selects entries by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scope {
    /// All of EL1&0: both stages, every VMID.
    All,
    /// Both stages of the current VMID.
    VmBoth,
    /// Stage 1 (and combined entries) of the current VMID.
    Vm,
    /// Non-global entries of an ASID, current VMID.
    Asid,
    /// A VA: entries of an ASID and global ones, current VMID.
    Va,
    /// A VA: entries of any ASID, current VMID.
    VaAllAsid,
    /// An IPA: stage-2 entries of the current VMID, not combined ones.
    Ipa,
}

/// One kind of TLBI.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// Mnemonic, without `TLBI`.
    pub name: &'static str,
    /// What it selects by.
    pub scope: Scope,
    /// Last level only: walk-cache entries stay.
    pub last: bool,
    /// Takes a range operand (FEAT_TLBIRANGE).
    pub range: bool,
    /// Whom it reaches.
    pub share: Share,
}

macro_rules! tlbi_kinds {
    ($($kind:ident $name:literal $scope:ident $last:literal $range:literal $share:ident;)*) => {
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
            name: $name, scope: Scope::$scope, last: $last, range: $range, share: Share::$share,
        }),*];
    };
}

tlbi_kinds! {
//  kind         mnemonic        scope     last  range  share
    Vmalle1      "vmalle1"       Vm        false false Local;
    Vmalle1is    "vmalle1is"     Vm        false false Inner;
    Alle1        "alle1"         All       false false Local;
    Alle1is      "alle1is"       All       false false Inner;
    Vmalls12e1   "vmalls12e1"    VmBoth    false false Local;
    Vmalls12e1is "vmalls12e1is"  VmBoth    false false Inner;
    Aside1       "aside1"        Asid      false false Local;
    Aside1is     "aside1is"      Asid      false false Inner;
    Vae1         "vae1"          Va        false false Local;
    Vae1is       "vae1is"        Va        false false Inner;
    Vale1        "vale1"         Va        true  false Local;
    Vale1is      "vale1is"       Va        true  false Inner;
    Vaae1        "vaae1"         VaAllAsid false false Local;
    Vaae1is      "vaae1is"       VaAllAsid false false Inner;
    Vaale1       "vaale1"        VaAllAsid true  false Local;
    Vaale1is     "vaale1is"      VaAllAsid true  false Inner;
    Ipas2e1      "ipas2e1"       Ipa       false false Local;
    Ipas2e1is    "ipas2e1is"     Ipa       false false Inner;
    Ipas2le1is   "ipas2le1is"    Ipa       true  false Inner;
    Rvae1is      "rvae1is"       Va        false true  Inner;
    Rvale1is     "rvale1is"      Va        true  true  Inner;
    Ripas2e1is   "ripas2e1is"    Ipa       false true  Inner;
}

impl Kind {
    /// Its row of the table.
    pub fn row(self) -> &'static Row {
        &KINDS[self as usize]
    }
}

/// The level hint (FEAT_TTL). Granule 4K.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ttl {
    /// No hint: any level.
    Unknown,
    /// Leaf entries of this level. An operation with the wrong hint need not invalidate
    /// anything (Arm ARM, D8.14.5), so here it does not.
    Level(u8),
}

impl Ttl {
    /// `TG:level` as in bits [47:44] of an operand; TG 0b01 is the 4K granule.
    fn bits(self) -> u64 {
        match self {
            Ttl::Unknown => 0,
            Ttl::Level(level) => 0b0100 | level as u64,
        }
    }

    /// Decodes bits [47:44]. 4K at level 0 is reserved without LPA2: no hint.
    fn decode(bits: u64) -> Ttl {
        match bits & 0xf {
            b if b >> 2 == 1 && b & 3 != 0 => Ttl::Level((b & 3) as u8),
            _ => Ttl::Unknown,
        }
    }
}

/// A TLBI instruction: kind and register operand.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Tlbi {
    /// Which instruction.
    pub kind: Kind,
    /// The register operand; 0 where the kind has none.
    pub operand: u64,
}

impl Tlbi {
    /// A kind without operand.
    pub fn all(kind: Kind) -> Tlbi {
        Tlbi { kind, operand: 0 }
    }

    /// By ASID.
    pub fn asid(kind: Kind, asid: u16) -> Tlbi {
        Tlbi {
            kind,
            operand: (asid as u64) << 48,
        }
    }

    /// By address; `asid` is ignored by kinds that do not have one. `addr` in bytes.
    pub fn addr(kind: Kind, addr: u64, asid: u16, ttl: Ttl) -> Tlbi {
        debug_assert!(!kind.row().range);
        let page = (addr >> 12) & ((1 << 44) - 1);
        Tlbi {
            kind,
            operand: (asid as u64) << 48 | ttl.bits() << 44 | page,
        }
    }

    /// By range: `(num + 1) << (5 * scale + 1)` pages from `addr` (Arm ARM, D8.14.6).
    /// `num` up to 31, `scale` up to 3.
    pub fn range(kind: Kind, addr: u64, scale: u8, num: u8, asid: u16, ttl: Ttl) -> Tlbi {
        debug_assert!(kind.row().range && num < 32 && scale < 4);
        let level = ttl.bits() & 3; // here the granule has a field of its own
        let operand = (asid as u64) << 48
            | 0b01 << 46
            | (scale as u64) << 44
            | (num as u64) << 39
            | level << 37
            | (addr >> 12) & ((1 << 37) - 1);
        Tlbi { kind, operand }
    }

    /// The ASID field.
    pub fn asid_field(&self) -> u16 {
        (self.operand >> 48) as u16
    }

    /// First byte and length in bytes of what is covered, for kinds by address.
    pub fn span(&self) -> (u64, u64) {
        if self.kind.row().range {
            let (num, scale) = (self.operand >> 39 & 31, self.operand >> 44 & 3);
            let pages = (num + 1) << (5 * scale + 1);
            ((self.operand & ((1 << 37) - 1)) << 12, pages * PAGE)
        } else {
            ((self.operand & ((1 << 44) - 1)) << 12, PAGE)
        }
    }

    /// The level hint.
    pub fn ttl(&self) -> Ttl {
        if self.kind.row().range {
            match self.operand >> 37 & 3 {
                0 => Ttl::Unknown,
                level => Ttl::Level(level as u8),
            }
        } else {
            Ttl::decode(self.operand >> 44)
        }
    }

    /// Whether the kind takes an address.
    pub fn by_addr(&self) -> bool {
        matches!(
            self.kind.row().scope,
            Scope::Va | Scope::VaAllAsid | Scope::Ipa
        )
    }
}

impl fmt::Display for Tlbi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = self.kind.row();
        write!(f, "tlbi {}", row.name)?;
        if self.by_addr() {
            let (addr, len) = self.span();
            write!(f, " {addr:#x}")?;
            if row.range {
                write!(f, "+{len:#x}")?;
            }
        }
        if matches!(row.scope, Scope::Asid | Scope::Va) {
            write!(f, " asid {}", self.asid_field())?;
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
    fn the_table_is_in_the_order_of_the_kinds() {
        assert_eq!(Kind::Ripas2e1is.row().name, "ripas2e1is");
        assert_eq!(Kind::Vmalle1.row().name, "vmalle1");
        for row in KINDS {
            assert_eq!(
                row.share == Share::Inner,
                row.name.ends_with("is"),
                "{}",
                row.name
            );
        }
    }
}
