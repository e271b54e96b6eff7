// SPDX-License-Identifier: MIT OR Apache-2.0
//! VMSAv8-64 descriptors, 4K granule (Arm ARM, D8.3 "Translation table descriptor formats").

use crate::arch::{Decoded, Leaf};
use core::fmt;

/// Stage of translation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Stage {
    /// VA to IPA, or to PA where there is no stage 2.
    One,
    /// IPA to PA.
    Two,
}

/// A translation table descriptor, as it lies in memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Desc(pub u64);

impl Desc {
    const VALID: u64 = 1 << 0;
    const TABLE_OR_PAGE: u64 = 1 << 1;
    const S1_AP_RO: u64 = 1 << 7;
    const S2AP_R: u64 = 1 << 6;
    const S2AP_W: u64 = 1 << 7;
    const AF: u64 = 1 << 10;
    const NG: u64 = 1 << 11;
    const OA: u64 = 0x0000_ffff_ffff_f000;
    /// Ignored by hardware in an invalid descriptor: software's "being changed" mark.
    const LOCKED: u64 = 1 << 58;

    /// The invalid descriptor, all zero.
    pub const INVALID: Desc = Desc(0);
    /// Invalid to hardware; to software, an entry that somebody is changing.
    pub const BUSY: Desc = Desc(Desc::LOCKED);

    /// A table descriptor that points to the table at `pa`.
    pub fn table(pa: u64) -> Desc {
        Desc(pa | Desc::TABLE_OR_PAGE | Desc::VALID)
    }

    /// A page (level 3) or block descriptor, accessed, non-global, for `pa`.
    pub fn leaf(stage: Stage, level: u8, pa: u64, writable: bool) -> Desc {
        let kind = if level == 3 { Desc::TABLE_OR_PAGE } else { 0 };
        let attr = match stage {
            Stage::One => Desc::NG | if writable { 0 } else { Desc::S1_AP_RO },
            Stage::Two => Desc::S2AP_R | if writable { Desc::S2AP_W } else { 0 },
        };
        Desc(pa | Desc::AF | Desc::VALID | kind | attr)
    }

    /// Whether hardware may use it.
    pub fn valid(self) -> bool {
        self.0 & Desc::VALID != 0
    }

    /// Whether it points to a next-level table.
    pub fn is_table(self, level: u8) -> bool {
        level < 3 && self.0 & 3 == 3
    }

    /// Whether it maps memory, at `level`. A level-3 descriptor of block type is reserved and
    /// treated as invalid.
    pub fn is_leaf(self, level: u8) -> bool {
        self.valid() && (self.0 & Desc::TABLE_OR_PAGE != 0) == (level == 3)
    }

    /// What a walker makes of it.
    #[inline]
    pub fn decode(self, stage: Stage, level: u8) -> Decoded {
        if self.is_table(level) {
            Decoded::Table(self.addr())
        } else if self.is_leaf(level) {
            Decoded::Leaf(Leaf {
                pa: self.addr(),
                writable: self.writable(stage),
                global: !self.non_global(),
                accessed: self.accessed(),
            })
        } else {
            Decoded::Invalid
        }
    }

    /// Output address, or address of the next table.
    pub fn addr(self) -> u64 {
        self.0 & Desc::OA
    }

    /// Whether a store is permitted.
    pub fn writable(self, stage: Stage) -> bool {
        match stage {
            Stage::One => self.0 & Desc::S1_AP_RO == 0,
            Stage::Two => self.0 & Desc::S2AP_W != 0,
        }
    }

    /// The same with another write permission.
    pub fn with_writable(self, stage: Stage, writable: bool) -> Desc {
        let (bit, set) = match stage {
            Stage::One => (Desc::S1_AP_RO, !writable),
            Stage::Two => (Desc::S2AP_W, writable),
        };
        Desc(if set { self.0 | bit } else { self.0 & !bit })
    }

    /// Access flag. A descriptor without it is never cached (Arm ARM, D8.4.5).
    pub fn accessed(self) -> bool {
        self.0 & Desc::AF != 0
    }

    /// Tagged by ASID (stage 1 only).
    pub fn non_global(self) -> bool {
        self.0 & Desc::NG != 0
    }
}

impl fmt::Debug for Desc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Desc {
    /// Short, without the level, which decides between table and page.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Desc::BUSY {
            return f.write_str("LOCKED");
        }
        if !self.valid() {
            return f.write_str("invalid");
        }
        let kind = match (self.0 & Desc::TABLE_OR_PAGE != 0, self.accessed()) {
            (true, false) => "table",
            (true, true) => "page",
            (false, _) => "block",
        };
        write!(f, "{kind}->{:#x}", self.addr())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_and_tables_are_told_apart_by_level() {
        let table = Desc::table(0x5000);
        assert!(table.is_table(2) && !table.is_leaf(2));
        let page = Desc::leaf(Stage::One, 3, 0x7000, true);
        assert!(page.is_leaf(3) && !page.is_table(3));
        let block = Desc::leaf(Stage::One, 2, 0x8000, true);
        assert!(block.is_leaf(2) && !block.is_table(2) && !block.is_leaf(3));
        assert!(!Desc::BUSY.valid() && Desc::BUSY != Desc::INVALID);
    }

    #[test]
    fn permission_bits_differ_by_stage() {
        for stage in [Stage::One, Stage::Two] {
            let rw = Desc::leaf(stage, 3, 0x7000, true);
            let ro = rw.with_writable(stage, false);
            assert!(rw.writable(stage) && !ro.writable(stage));
            assert_eq!(ro, Desc::leaf(stage, 3, 0x7000, false));
            assert_eq!(ro.with_writable(stage, true), rw);
            assert_eq!(ro.addr(), 0x7000);
        }
    }
}
