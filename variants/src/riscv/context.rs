// SPDX-License-Identifier: GPL-2.0-only
//! The ASID allocator and the switch (A7): `arch/riscv/mm/context.c`, Linux 7.3.
//!
//! The allocator is that of arm64 under other names, but for what satp makes different: table
//! and ASID change in one step, and the pending flush comes after that, outside of the lock.

use super::{SATP_ASID_BITS, cntx2asid};
use crate::Defect;
use shootdown_machine::riscv::{Fence, satp};
use shootdown_machine::{Boot, Cpu, Lock, Shared, Space};

/// What a fence that reaches too few harts leads to.
pub const MISSED: &[&str] = &[
    "TLBEmptyInvalPTE",
    "no-use-after-unmap",
    "no-use-of-freed-frame",
    "no-write-after-protect",
    "no-lost-write",
    "restriction-scope",
    "no-walk-of-freed-table",
];

/// B-45: harts leave the mask although they have entries.
pub const CLEAR_PREV: Defect = Defect {
    name: "B-45",
    about: "a hart that switches leaves the old mm's mask, though its entries stay under the ASID",
    source: "82dd33fde026, by which harts stay in mm_cpumask where ASIDs are used",
    breaks: &[MISSED],
    needs: &[],
};

/// B-45 (first fix): what was tried before.
pub const STALE_MASK: Defect = Defect {
    name: "B-45-first-fix",
    about: "harts leave the mask; a flush marks them as stale, unless no hart runs the mm or one just comes",
    source: "4bd1d80efb5a \"riscv: mm: notify remote harts about mmu cache updates\", reverted by e921050022f1",
    breaks: &[MISSED],
    needs: &[],
};

/// The mask is set once the table is loaded.
pub const MASK_LATE: Defect = Defect {
    name: "mask-late",
    about: "a hart enters the mm's mask after it has loaded its table",
    source: "derived; the order of set_mm",
    breaks: &[MISSED],
    needs: &[],
};

/// Places worth reaching.
pub const GOALS: &[&str] = &[ROLLOVER, ROLLOVER_FAST, RESERVED, PENDING, ZERO, KEPT];
const ROLLOVER: &str = "rollover";
const ROLLOVER_FAST: &str = "rollover while another hart is on its fast path";
const RESERVED: &str = "mm finds its context reserved";
const PENDING: &str = "slow path with a flush pending";
const ZERO: &str = "active_context is 0 at the fast path";
const KEPT: &str = "old ASID still free in the new version";

const FAST: &str = "fast path";

/// The allocator's state, and what mms have of it.
#[derive(Debug)]
pub struct Contexts {
    use_asid_allocator: bool,
    num_asids: u64,
    current_version: Shared<u64>,
    context_asid_map: Shared<u64>,
    cur_idx: Shared<u64>,
    active_context: [Shared<u64>; 4],
    reserved_context: [Shared<u64>; 4],
    context_tlb_flush_pending: Shared<u64>,
    context_lock: Lock,
    /// `mm->context.id`.
    pub context_id: [Shared<u64>; 8],
    /// `mm_cpumask`: harts that may have entries of the mm.
    pub mm_cpumask: [Shared<u64>; 8],
    /// B-45 (first fix): harts that must flush before they run the mm.
    pub tlb_stale_mask: [Shared<u64>; 8],
    clear_prev: bool,
    stale_mask: bool,
    mask_late: bool,
}

impl Contexts {
    /// `asids_init`; `asids`: there are enough ASIDs to use them.
    pub fn boot(boot: &Boot<'_>, asids: bool) -> Contexts {
        Contexts {
            use_asid_allocator: asids,
            num_asids: boot.config().tags as u64,
            current_version: boot.var("current_version", 1 << SATP_ASID_BITS),
            context_asid_map: boot.var("context_asid_map", 1),
            cur_idx: boot.var("cur_idx", 1),
            active_context: boot.vars("active_context", 0),
            reserved_context: boot.vars("reserved_context", 0),
            context_tlb_flush_pending: boot.var("context_tlb_flush_pending", 0),
            context_lock: boot.lock("context_lock"),
            context_id: boot.vars("context_id", 0),
            mm_cpumask: boot.vars("mm_cpumask", 0),
            tlb_stale_mask: boot.vars("tlb_stale_mask", 0),
            clear_prev: !asids || boot.has(CLEAR_PREV.name) || boot.has(STALE_MASK.name),
            stale_mask: boot.has(STALE_MASK.name),
            mask_late: boot.has(MASK_LATE.name),
        }
    }

    /// Whether an mm's context is of the current version.
    async fn is_current(&self, cpu: Cpu<'_>, cntx: u64) -> bool {
        cntx >> SATP_ASID_BITS == self.current_version.read(cpu).await >> SATP_ASID_BITS
    }

    async fn check_update_reserved_context(&self, cpu: Cpu<'_>, cntx: u64, newcntx: u64) -> bool {
        let mut hit = false;
        // Every hart, with no early exit: several may have it reserved.
        for i in 0..cpu.config().cpus as usize {
            if self.reserved_context[i].read(cpu).await == cntx {
                hit = true;
                self.reserved_context[i].write(cpu, newcntx).await;
            }
        }
        hit
    }

    async fn flush_context(&self, cpu: Cpu<'_>) {
        cpu.goal(ROLLOVER);
        if cpu.another_in(FAST) {
            cpu.goal(ROLLOVER_FAST);
        }
        // ASID 0 is in use since boot.
        let mut map = 1;
        for i in 0..cpu.config().cpus as usize {
            let mut cntx = self.active_context[i].xchg_relaxed(cpu, 0).await;
            // This hart has been through a rollover since it last switched: keep what it had
            // reserved then.
            if cntx == 0 {
                cntx = self.reserved_context[i].read(cpu).await;
            }
            map |= 1 << cntx2asid(cntx);
            self.reserved_context[i].write(cpu, cntx).await;
        }
        self.context_asid_map.write(cpu, map).await;
        self.context_tlb_flush_pending
            .write(cpu, (1 << cpu.config().cpus) - 1)
            .await;
    }

    async fn find_next_zero_bit(&self, cpu: Cpu<'_>, from: u64) -> Option<u64> {
        let map = self.context_asid_map.read(cpu).await;
        (from..self.num_asids).find(|i| map >> i & 1 == 0)
    }

    async fn new_context(&self, cpu: Cpu<'_>, mm: Space) -> u64 {
        let cntx = self.context_id[mm.0 as usize].read(cpu).await;
        let mut ver = self.current_version.read(cpu).await;
        if cntx != 0 {
            let newcntx = ver | cntx2asid(cntx);
            if self.check_update_reserved_context(cpu, cntx, newcntx).await {
                cpu.goal(RESERVED);
                return newcntx;
            }
            let bit = 1 << cntx2asid(cntx);
            if self.context_asid_map.fetch_or(cpu, bit).await & bit == 0 {
                cpu.goal(KEPT);
                return newcntx;
            }
        }
        let cur_idx = self.cur_idx.read(cpu).await;
        let mut asid = self.find_next_zero_bit(cpu, cur_idx).await;
        if asid.is_none() {
            ver = self
                .current_version
                .add_return_relaxed(cpu, 1 << SATP_ASID_BITS)
                .await;
            self.flush_context(cpu).await;
            asid = self.find_next_zero_bit(cpu, 1).await;
        }
        let Some(asid) = asid else {
            cpu.warn("no ASID is free after a rollover");
            return ver | 1;
        };
        self.context_asid_map.fetch_or(cpu, 1 << asid).await;
        // Unnoticed: only says where the next search begins.
        self.cur_idx.write(cpu, asid).await;
        ver | asid
    }

    /// `set_mm_asid`.
    async fn set_mm_asid(&self, cpu: Cpu<'_>, mm: Space, pgd: u64) {
        let me = cpu.id() as usize;
        let mut cntx = self.context_id[mm.0 as usize].read(cpu).await;
        let old_active_cntx = self.active_context[me].read(cpu).await;
        if old_active_cntx == 0 {
            cpu.goal(ZERO);
        } else {
            cpu.phase(FAST);
        }
        // The test is "not 0", not "unchanged": only a rollover writes this slot besides this
        // hart, and only ever a 0.
        let fast = old_active_cntx != 0
            && self.is_current(cpu, cntx).await
            && self.active_context[me]
                .cmpxchg_relaxed(cpu, old_active_cntx, cntx)
                .await
                != 0;
        cpu.phase("");
        let mut need_flush_tlb = false;
        if !fast {
            cpu.slow_path();
            self.context_lock.lock(cpu).await;
            cntx = self.context_id[mm.0 as usize].read(cpu).await;
            if !self.is_current(cpu, cntx).await {
                cntx = self.new_context(cpu, mm).await;
                self.context_id[mm.0 as usize].write(cpu, cntx).await;
            }
            let pending = self.context_tlb_flush_pending.fetch_andnot(cpu, 1 << me);
            need_flush_tlb = pending.await >> me & 1 != 0;
            self.active_context[me].write(cpu, cntx).await;
            self.context_lock.unlock(cpu).await;
        }
        let asid = cntx2asid(cntx) as u16;
        cpu.write_satp(satp(pgd, asid)).await;
        if need_flush_tlb {
            cpu.goal(PENDING);
            cpu.sfence_vma(Fence::All).await;
        } else if self.stale_mask {
            let stale = self.tlb_stale_mask[mm.0 as usize];
            if stale.read(cpu).await >> me & 1 != 0 {
                stale.andnot_relaxed(cpu, 1 << me).await;
                cpu.sfence_vma(Fence::Asid(asid)).await;
            }
        }
    }

    /// `set_mm_noasid`.
    async fn set_mm_noasid(&self, cpu: Cpu<'_>, pgd: u64) {
        cpu.write_satp(satp(pgd, 0)).await;
        cpu.sfence_vma(Fence::Asid(0)).await;
    }

    /// `switch_mm`, `set_mm`. `prev`: the mm that was active, unless it has ended.
    pub async fn switch_mm(&self, cpu: Cpu<'_>, prev: Option<Space>, next: Space, pgd: u64) {
        let me = 1 << cpu.id();
        let mask = self.mm_cpumask[next.0 as usize];
        if !self.mask_late {
            mask.or_relaxed(cpu, me).await;
        }
        // With ASIDs, entries outlive the switch: the bit stays until the mm ends.
        if self.clear_prev
            && let Some(prev) = prev
        {
            self.mm_cpumask[prev.0 as usize]
                .andnot_relaxed(cpu, me)
                .await;
        }
        if self.use_asid_allocator {
            self.set_mm_asid(cpu, next, pgd).await;
        } else {
            self.set_mm_noasid(cpu, pgd).await;
        }
        if self.mask_late {
            mask.or_relaxed(cpu, me).await;
        }
    }

    /// `mm_init` and `init_new_context` of the mm that takes a dead one's place.
    pub async fn init_new_context(&self, cpu: Cpu<'_>, mm: Space) {
        // Unnoticed: the dead mm's entries were just flushed, and what a lazy hart has made since
        // is of an empty table; the successor could keep the ASID.
        self.context_id[mm.0 as usize].write(cpu, 0).await;
        // Unnoticed: harts too many in the mask cost fences.
        self.mm_cpumask[mm.0 as usize].write(cpu, 0).await;
        // Unnoticed: only the defect has such a mask, and a mark too many costs a fence.
        self.tlb_stale_mask[mm.0 as usize].write(cpu, 0).await;
    }
}
