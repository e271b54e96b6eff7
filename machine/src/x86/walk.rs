// SPDX-License-Identifier: MIT OR Apache-2.0
//! What x86 does besides when it walks, and when an access faults.

use super::control::PGE;
use super::desc::{ACCESSED, GLOBAL, PRESENT};
use crate::arm64::Desc;
use crate::event::Site;
use crate::machine::State;
use crate::mem::Memory;
use crate::op::Va;
use crate::tlbi::{Kind, Tlbi};

impl State {
    /// The walker has read an entry, and uses it: it sets A in the same atomic access (Intel
    /// SDM vol. 3, 4.8 "Accessed and Dirty Flags"). What is left of it for the walk: G means
    /// nothing without CR4.PGE (4.10.2.4 "Global Pages").
    pub(crate) fn x86_uses(&mut self, cpu: u8, pa: u64, desc: Desc) -> Desc {
        let mut used = desc;
        if desc.0 & (PRESENT | ACCESSED) == PRESENT
            && let Some(word) = Memory::desc_word(pa)
        {
            used.0 |= ACCESSED;
            self.initialize(word, used.0);
        }
        if self.cpus[cpu as usize].regs.cr4 & PGE == 0 {
            used.0 &= !GLOBAL;
        }
        used
    }

    /// A page fault drains the store buffer (SDM vol. 3, 12.10 "Store Buffer") and removes
    /// what the CPU has cached for the address, so that it does not recur if memory does not
    /// say so (4.10.4.1).
    pub(crate) fn x86_page_fault(&mut self, cpu: u8, va: Va, site: Site) {
        let pcid = self.context(cpu, false).map_or(0, |ctx| ctx.tags.asid);
        self.send(cpu, Tlbi::tagged(Kind::PageFault, pcid, va, 1), 0, site);
    }
}
