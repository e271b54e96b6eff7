// SPDX-License-Identifier: MIT OR Apache-2.0
//! The translation granule.

/// Bytes of the smallest page, as the operands of TLBIs have them.
///
/// Addresses of this machine count pages of [`PAGE`](crate::PAGE) bytes, whatever the granule,
/// and tables have as many descriptors with each. What differs is what hardware and software
/// must agree on: an operand names an address in units that depend on the granule.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Granule {
    /// 4 KB.
    #[default]
    K4,
    /// 16 KB.
    K16,
    /// 64 KB.
    K64,
}

impl Granule {
    /// Every granule.
    pub const ALL: &'static [Granule] = &[Granule::K4, Granule::K16, Granule::K64];

    /// The TG field of TLBI operands (Arm ARM, C5.5).
    pub fn tg(self) -> u64 {
        match self {
            Granule::K4 => 0b01,
            Granule::K16 => 0b10,
            Granule::K64 => 0b11,
        }
    }

    /// log2 of its bytes in units of 4 KB.
    pub fn shift(self) -> u32 {
        match self {
            Granule::K4 => 0,
            Granule::K16 => 2,
            Granule::K64 => 4,
        }
    }

    /// Whether a level may be hinted at: without FEAT_LPA2, there are no blocks at level 0, nor
    /// with 16 KB at level 1, and the hint is reserved and taken as none (Arm ARM, C5.5, TTL).
    pub fn has_blocks_at(self, level: u8, lpa2: bool) -> bool {
        let first = match self {
            Granule::K4 => 1 - lpa2 as u8,
            Granule::K16 => 2 - lpa2 as u8,
            Granule::K64 => 1,
        };
        (first..=3).contains(&level)
    }
}
