// SPDX-License-Identifier: MIT OR Apache-2.0
//! What x86 does besides when it walks, and when an access faults.

use super::control::PGE;
use super::desc::{ACCESSED, DIRTY, GLOBAL, PRESENT, WRITE, decode};
use crate::arm64::Desc;
use crate::event::Site;
use crate::machine::State;
use crate::op::Va;
use crate::tlbi::{Kind, Tlbi};

impl State {
    /// The walker has read an entry, and uses it: it sets A and, in the leaf of a store that is
    /// permitted, D, in the same atomic access (Intel SDM vol. 3, 4.8 "Accessed and Dirty
    /// Flags"). What is left of it for the walk: G means nothing without CR4.PGE (4.10.2.4
    /// "Global Pages").
    pub(crate) fn x86_uses(
        &mut self,
        cpu: u8,
        pa: u64,
        level: u8,
        desc: Desc,
        write: bool,
    ) -> Desc {
        let mut used = desc;
        if desc.0 & PRESENT != 0 {
            let store = write && desc.0 & WRITE != 0 && !decode(level, desc).is_table();
            used.0 |= if store { ACCESSED | DIRTY } else { ACCESSED };
            if used != desc {
                self.mark(cpu, pa, desc, used);
            }
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
