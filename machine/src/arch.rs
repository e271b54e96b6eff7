// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a descriptor means, by architecture: the one place through which walkers and judges
//! look at descriptors, and the one that makes them for code that serves all.

use crate::arm64::{Desc, Stage};
use crate::config::Arch;
use crate::{riscv, x86};

/// A descriptor, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decoded {
    /// Nothing that a walk can use.
    Invalid,
    /// It points to the table at this address.
    Table(u64),
    /// It maps memory.
    Leaf(Leaf),
}

/// What a leaf descriptor says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Leaf {
    /// Output address.
    pub pa: u64,
    /// A store is permitted.
    pub writable: bool,
    /// Entries made from it match every ASID or PCID.
    pub global: bool,
    /// Its accessed flag is set.
    pub accessed: bool,
}

impl Decoded {
    /// Whether it points to a table.
    pub fn is_table(self) -> bool {
        matches!(self, Decoded::Table(_))
    }

    /// What it maps, if it does.
    pub fn leaf(self) -> Option<Leaf> {
        match self {
            Decoded::Leaf(leaf) => Some(leaf),
            _ => None,
        }
    }

    /// Output address, or address of the next table.
    pub fn pa(self) -> Option<u64> {
        match self {
            Decoded::Invalid => None,
            Decoded::Table(pa) => Some(pa),
            Decoded::Leaf(leaf) => Some(leaf.pa),
        }
    }
}

impl Arch {
    /// What the tag of an address space is called.
    pub fn tag_word(self) -> &'static str {
        match self {
            Arch::Arm64 | Arch::Riscv => "asid",
            Arch::X86 => "pcid",
        }
    }

    /// What a walker makes of a descriptor that it has read at this level.
    #[inline]
    pub fn decode(self, stage: Stage, level: u8, desc: Desc) -> Decoded {
        match self {
            Arch::Arm64 => desc.decode(stage, level),
            Arch::X86 => x86::decode(level, desc),
            Arch::Riscv => riscv::decode(level, desc),
        }
    }

    /// A descriptor that points to the table at `pa`.
    pub fn table(self, pa: u64) -> Desc {
        match self {
            Arch::Arm64 => Desc::table(pa),
            Arch::X86 => x86::table(pa),
            Arch::Riscv => riscv::table(pa),
        }
    }

    /// A descriptor that maps `pa` at this level: for users, accessed, dirty, not global.
    pub fn leaf(self, stage: Stage, level: u8, pa: u64, writable: bool) -> Desc {
        match self {
            Arch::Arm64 => Desc::leaf(stage, level, pa, writable),
            Arch::X86 => x86::leaf(level, pa, writable),
            Arch::Riscv => riscv::leaf(pa, writable),
        }
    }

    /// The same leaf with another write permission.
    pub fn with_writable(self, stage: Stage, desc: Desc, writable: bool) -> Desc {
        match self {
            Arch::Arm64 => desc.with_writable(stage, writable),
            Arch::X86 => x86::with_writable(desc, writable),
            Arch::Riscv => riscv::with_writable(desc, writable),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_decodes_to_what_was_meant() {
        for arch in [Arch::Arm64, Arch::X86, Arch::Riscv] {
            let decode = |level, desc| arch.decode(Stage::One, level, desc);
            assert_eq!(decode(2, Desc::INVALID), Decoded::Invalid);
            assert_eq!(decode(2, arch.table(0x5000)), Decoded::Table(0x5000));
            assert!(!decode(3, arch.table(0x5000)).is_table(), "{arch:?}");
            for (level, writable) in [(2, false), (2, true), (3, false), (3, true)] {
                let desc = arch.leaf(Stage::One, level, 0x8000, writable);
                let want = Leaf {
                    pa: 0x8000,
                    writable,
                    global: false,
                    accessed: true,
                };
                assert_eq!(decode(level, desc), Decoded::Leaf(want), "{arch:?}");
                let other = arch.with_writable(Stage::One, desc, !writable);
                assert_eq!(other, arch.leaf(Stage::One, level, 0x8000, !writable));
            }
        }
    }
}
