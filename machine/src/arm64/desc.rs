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
    /// Bit 16 in hardware, which no address of a block of 512 pages needs. One of four does.
    const NT: u64 = 1 << 59;
    const DBM: u64 = 1 << 51;
    const CONTIGUOUS: u64 = 1 << 52;
    const OA: u64 = 0x0000_ffff_ffff_f000;
    /// Ignored by hardware in an invalid descriptor: software's "being changed" mark.
    const LOCKED: u64 = 1 << 58;
    /// Ignored by hardware, on x86 too: software's note that the area may be written to.
    const GRANTED: u64 = 1 << 57;
    /// Ignored by hardware: software's note of a level.
    const NOTED_LEVEL: u32 = 55;

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
        self.with(bit, set)
    }

    /// Access flag. A descriptor without it is never cached (Arm ARM, D8.4.5).
    pub fn accessed(self) -> bool {
        self.0 & Desc::AF != 0
    }

    /// The same with another access flag.
    pub fn with_accessed(self, accessed: bool) -> Desc {
        self.with(Desc::AF, accessed)
    }

    /// Dirty bit modifier: where hardware manages dirty state, a store to a page that cannot be
    /// written to makes it writable (FEAT_HAFDBS; Arm ARM, D8.5.6).
    pub fn dirtiable(self) -> bool {
        self.0 & Desc::DBM != 0
    }

    /// The same with another dirty bit modifier.
    pub fn with_dirtiable(self, dirtiable: bool) -> Desc {
        self.with(Desc::DBM, dirtiable)
    }

    /// Whether a store is permitted, or is as soon as hardware has marked the page dirty.
    pub fn may_write(self, stage: Stage) -> bool {
        self.writable(stage) || self.dirtiable()
    }

    /// Software's: stores are permitted as soon as a fault has asked for them, whatever the
    /// permission now (VM_WRITE of the area that the page is in).
    pub fn granted(self) -> bool {
        self.0 & Desc::GRANTED != 0
    }

    /// The same with another note.
    pub fn with_granted(self, granted: bool) -> Desc {
        self.with(Desc::GRANTED, granted)
    }

    /// Software's: a level from 1 to 3, that of the guest's own leaf where this one is made of it
    /// (KVM_NV_GUEST_MAP_SZ); 0: none.
    pub fn noted_level(self) -> u8 {
        (self.0 >> Desc::NOTED_LEVEL & 3) as u8
    }

    /// The same with another note.
    pub fn with_noted_level(self, level: u8) -> Desc {
        let rest = self.0 & !(3 << Desc::NOTED_LEVEL);
        Desc(rest | (level as u64 & 3) << Desc::NOTED_LEVEL)
    }

    /// The same page, taken from hardware: invalid, marked as such by software (PROT_NONE).
    pub fn withheld(self) -> Desc {
        self.with(Desc::VALID, false).with(Desc::LOCKED, true)
    }

    /// The page that was [`withheld`](Self::withheld), valid again. `None`: it was not.
    pub fn restored(self) -> Option<Desc> {
        let withheld = !self.valid() && self != Desc::BUSY && self.0 & Desc::LOCKED != 0;
        withheld.then(|| self.with(Desc::VALID, true).with(Desc::LOCKED, false))
    }

    /// nT, of a block: its entries must not conflict with others while its size changes
    /// (FEAT_BBM level 1; Arm ARM, D8.16.1).
    pub fn transient(self) -> bool {
        self.0 & Desc::NT != 0
    }

    /// The same with another nT.
    pub fn with_transient(self, transient: bool) -> Desc {
        self.with(Desc::NT, transient)
    }

    /// Part of a group of descriptors that translate adjacent memory alike (Arm ARM, D8.7.1),
    /// here of [`GROUP`](crate::GROUP).
    pub fn contiguous(self) -> bool {
        self.0 & Desc::CONTIGUOUS != 0
    }

    /// The same, part of a group or not.
    pub fn with_contiguous(self, contiguous: bool) -> Desc {
        self.with(Desc::CONTIGUOUS, contiguous)
    }

    fn with(self, bit: u64, set: bool) -> Desc {
        Desc(if set { self.0 | bit } else { self.0 & !bit })
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
    fn no_flag_is_part_of_the_address() {
        let plain = Desc::leaf(Stage::One, 2, 0x0000_ffff_ffff_c000, true);
        let flags = plain.with_dirtiable(true).with_transient(true);
        let flags = flags.with_contiguous(true).with_accessed(false);
        assert_eq!((flags.addr(), flags.is_leaf(2)), (plain.addr(), true));
        assert!(flags.dirtiable() && flags.transient() && flags.contiguous());
        assert!(!(plain.dirtiable() || plain.transient() || plain.contiguous()));
        let noted = flags.with_noted_level(2);
        assert_eq!((noted.addr(), noted.noted_level()), (plain.addr(), 2));
        assert_eq!(noted.with_noted_level(0), flags);
        let back = flags.with_dirtiable(false).with_transient(false);
        let back = back.with_contiguous(false).with_accessed(true);
        assert_eq!(back, plain);
    }

    #[test]
    fn what_is_withheld_comes_back_as_it_was() {
        let page = Desc::leaf(Stage::One, 3, 0x7000, true).with_granted(true);
        assert!(page.granted() && page.is_leaf(3) && page.addr() == 0x7000);
        assert!(!page.withheld().valid());
        assert_eq!(page.withheld().restored(), Some(page));
        for other in [page, Desc::INVALID, Desc::BUSY] {
            assert_eq!(other.restored(), None);
        }
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
