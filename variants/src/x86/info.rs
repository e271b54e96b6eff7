// SPDX-License-Identifier: GPL-2.0-only
//! `struct flush_tlb_info`, as the message of an IPI.

use shootdown_machine::{BLOCK_PAGES, PAGE, Va};

/// TLB_GENERATION_INVALID: no generation is asked for.
pub const TLB_GENERATION_INVALID: u64 = 0;

/// What to flush.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlushTlbInfo {
    /// The mm, or 0: whatever is loaded.
    pub mm: u64,
    /// First address.
    pub start: Va,
    /// Pages, or blocks with `stride_block`; 0: TLB_FLUSH_ALL.
    pub units: u64,
    /// The unit is a block.
    pub stride_block: bool,
    /// Tables are going to be freed.
    pub freed_tables: bool,
    /// CPUs that do not run the mm are to leave its cpumask.
    pub trim_cpumask: bool,
    /// What the mm's `tlb_gen` became for this flush.
    pub new_tlb_gen: u64,
    /// No flush at all: whoever has the mm loaded drops it.
    pub shoot_lazy: bool,
}

impl FlushTlbInfo {
    /// Everything of whatever mm is loaded, for a batch of several.
    pub const BATCH: FlushTlbInfo = FlushTlbInfo {
        mm: 0,
        start: 0,
        units: 0,
        stride_block: false,
        freed_tables: false,
        trim_cpumask: false,
        new_tlb_gen: TLB_GENERATION_INVALID,
        shoot_lazy: false,
    };

    /// As a word.
    pub fn message(&self) -> u64 {
        self.mm
            | (self.start / PAGE) << 4
            | self.units << 8
            | (self.stride_block as u64) << 16
            | (self.freed_tables as u64) << 17
            | (self.trim_cpumask as u64) << 18
            | (self.shoot_lazy as u64) << 19
            | self.new_tlb_gen << 20
    }

    /// From that word.
    pub fn of(message: u64) -> FlushTlbInfo {
        let bit = |n: u32| message >> n & 1 != 0;
        FlushTlbInfo {
            mm: message & 0xf,
            start: (message >> 4 & 0xf) * PAGE,
            units: message >> 8 & 0xff,
            stride_block: bit(16),
            freed_tables: bit(17),
            trim_cpumask: bit(18),
            shoot_lazy: bit(19),
            new_tlb_gen: message >> 20,
        }
    }

    /// The address of each unit.
    pub fn addresses(self) -> impl Iterator<Item = Va> {
        (0..self.units).map(move |i| self.start + i * self.pages() * PAGE)
    }

    /// The pages of a unit.
    pub fn pages(&self) -> u64 {
        if self.stride_block {
            BLOCK_PAGES as u64
        } else {
            1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::FlushTlbInfo;

    #[test]
    fn a_message_says_all() {
        let info = FlushTlbInfo {
            mm: 8,
            start: 0xf000,
            units: 3,
            new_tlb_gen: 1000,
            trim_cpumask: true,
            ..FlushTlbInfo::BATCH
        };
        let flags = FlushTlbInfo {
            stride_block: true,
            freed_tables: true,
            shoot_lazy: true,
            ..info
        };
        for info in [FlushTlbInfo::BATCH, info, flags] {
            assert_eq!(FlushTlbInfo::of(info.message()), info);
        }
    }
}
