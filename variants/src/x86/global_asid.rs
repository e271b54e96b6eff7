// SPDX-License-Identifier: GPL-2.0-only
//! Global ASIDs: PCIDs that mean one mm on every CPU, for INVLPGB.
//!
//! The pool is one number larger than the scenario's `tags`. Mms get a number when they are flushed on
//! several CPUs, as in the kernel (there: on more than three that run it, sampled), and besides at
//! a switch: whoever asks for one, when, must make no difference to safety.

use super::info::FlushTlbInfo;
use super::tlbstate::{SWITCHING, TLB_NR_DYN_ASIDS, Tlb, index, number};
use shootdown_machine::x86::Invlpgb;
use shootdown_machine::{Boot, Cpu, Lock, Shared, Space};

/// The allocator.
#[derive(Debug)]
pub struct GlobalAsids {
    /// INVLPGB is used.
    on: bool,
    /// MAX_ASID_AVAILABLE.
    max: u64,
    global_asid_lock: Lock,
    last_global_asid: Shared<u64>,
    global_asid_available: Shared<u64>,
    global_asid_used: Shared<u64>,
    global_asid_freed: Shared<u64>,
    /// `mm->context.global_asid`.
    global_asid: [Shared<u64>; 8],
    /// `mm->context.asid_transition`.
    asid_transition: [Shared<bool>; 8],
}

/// The allocator's numbers, before CPUs run.
struct Pool {
    max: u64,
    last: u64,
    available: u64,
    used: u64,
    freed: u64,
    b40: bool,
}

impl Pool {
    /// At boot. The kernel keeps one number back.
    fn new(max: u64, b40: bool) -> Pool {
        Pool {
            max,
            last: max,
            available: max - TLB_NR_DYN_ASIDS - 1,
            used: (1 << TLB_NR_DYN_ASIDS) - 1,
            freed: 0,
            b40,
        }
    }

    fn reset(&mut self) {
        self.used &= !self.freed;
        self.freed = 0;
        self.last = TLB_NR_DYN_ASIDS;
    }

    fn find(&self) -> u64 {
        let mut numbers = self.last..self.max;
        numbers
            .find(|i| self.used >> i & 1 == 0)
            .unwrap_or(self.max)
    }

    /// What `allocate_global_asid` does; some are available.
    fn allocate(&mut self) -> u64 {
        if self.last >= self.max - 1 {
            self.reset();
        }
        let mut asid = self.find();
        if asid >= self.max && !self.b40 {
            self.reset();
            asid = self.find();
        }
        self.used |= 1 << asid;
        self.last = asid;
        self.available -= 1;
        asid
    }

    fn free(&mut self, asid: u64) {
        self.freed |= 1 << asid;
        self.available += 1;
    }

    /// Mms that come and go, until one gets this number or a higher one.
    fn short_lived(&mut self, until: u64) {
        while self.last >= self.max || self.last < until {
            let asid = self.allocate();
            self.free(asid);
        }
    }
}

impl GlobalAsids {
    /// A kernel that has been up for a while. An old daemon has the last number, for ever; space A
    /// got its own when nothing was free above the number before; mms have come and gone since.
    pub(super) fn boot(boot: &Boot<'_>, on: bool, b40: bool) -> GlobalAsids {
        let max = TLB_NR_DYN_ASIDS + boot.config().tags as u64 + 1;
        let mut pool = Pool::new(max, b40);
        pool.short_lived(max - 2);
        pool.allocate(); // the daemon
        pool.reset();
        pool.short_lived(max - 2);
        let a = pool.allocate();
        pool.short_lived(max - 3);
        let mut global_asid = [0; 8];
        global_asid[0] = a;
        GlobalAsids {
            on,
            max,
            global_asid_lock: boot.lock("global_asid_lock"),
            last_global_asid: boot.var("last_global_asid", pool.last),
            global_asid_available: boot.var("global_asid_available", pool.available),
            global_asid_used: boot.var("global_asid_used", pool.used),
            global_asid_freed: boot.var("global_asid_freed", pool.freed),
            global_asid: boot.vars_from("global_asid", global_asid),
            asid_transition: boot.vars("asid_transition", false),
        }
    }
}

impl Tlb {
    /// `mm_global_asid`; 0: none.
    pub(super) async fn mm_global_asid(&self, cpu: Cpu<'_>, mm: u64) -> u64 {
        match index(mm) {
            Some(i) if self.global.on => self.global.global_asid[i].read_acquire(cpu).await,
            _ => 0,
        }
    }

    /// Whether `mm` is to be loaded under another ASID than this, a global one.
    pub(super) async fn mm_needs_global_asid(&self, cpu: Cpu<'_>, mm: u64, asid: u64) -> bool {
        let global = self.mm_global_asid(cpu, mm).await;
        global != 0 && asid != global
    }

    pub(super) async fn mm_in_asid_transition(&self, cpu: Cpu<'_>, mm: u64) -> bool {
        match index(mm) {
            Some(i) if self.global.on => self.global.asid_transition[i].read(cpu).await,
            _ => false,
        }
    }

    /// `reset_global_asid_space`: numbers that were given back may be in any TLB until this.
    async fn reset_global_asid_space(&self, cpu: Cpu<'_>) {
        cpu.goal(GOAL_RESET);
        self.invlpgb_flush_all_nonglobals(cpu).await;
        let g = &self.global;
        let used = g.global_asid_used.read(cpu).await;
        let freed = g.global_asid_freed.read(cpu).await;
        g.global_asid_used.write(cpu, used & !freed).await;
        g.global_asid_freed.write(cpu, 0).await;
        // Unnoticed: a search from the old place that finds nothing begins the pool anew, and
        // then looks from the bottom.
        g.last_global_asid.write(cpu, TLB_NR_DYN_ASIDS).await;
    }

    async fn find_next_zero_bit(&self, cpu: Cpu<'_>, from: u64) -> u64 {
        let used = self.global.global_asid_used.read(cpu).await;
        let max = self.global.max;
        (from..max).find(|i| used >> i & 1 == 0).unwrap_or(max)
    }

    /// `allocate_global_asid`, under the lock; 0: none.
    async fn allocate_global_asid(&self, cpu: Cpu<'_>) -> u64 {
        let g = &self.global;
        if g.last_global_asid.read(cpu).await >= g.max - 1 {
            self.reset_global_asid_space(cpu).await;
        }
        let last = g.last_global_asid.read(cpu).await;
        let mut asid = self.find_next_zero_bit(cpu, last).await;
        if self.bugs.b40 {
            // As it is in 7.3.4: the caller has seen to it that some are available.
            if asid >= g.max && g.global_asid_available.read(cpu).await == 0 {
                cpu.warn("no global ASID is available");
                return 0;
            }
        } else if asid >= g.max {
            // Long-lived mms have the numbers from `last` on.
            cpu.goal(GOAL_FULL_ABOVE);
            self.reset_global_asid_space(cpu).await;
            asid = self.find_next_zero_bit(cpu, TLB_NR_DYN_ASIDS).await;
            if asid >= g.max {
                cpu.warn("no global ASID is available");
                return 0;
            }
        }
        let used = g.global_asid_used.read(cpu).await;
        g.global_asid_used.write(cpu, used | 1 << asid).await;
        // Unnoticed: only says where the next search begins; what is in use, or was given back and
        // is not flushed yet, has its bit set.
        g.last_global_asid.write(cpu, asid).await;
        let available = g.global_asid_available.read(cpu).await;
        g.global_asid_available
            .write(cpu, available.wrapping_sub(1))
            .await;
        asid
    }

    /// `use_global_asid`.
    async fn use_global_asid(&self, cpu: Cpu<'_>, mm: Space) {
        let (g, i) = (&self.global, mm.0 as usize);
        cpu.local_irq_save().await;
        g.global_asid_lock.lock(cpu).await;
        if g.global_asid[i].read(cpu).await == 0 && g.global_asid_available.read(cpu).await != 0 {
            let asid = self.allocate_global_asid(cpu).await;
            if asid != 0 {
                // mm_assign_global_asid: in this order, so that whoever sees the ASID knows that
                // CPUs may be without it.
                g.asid_transition[i].write(cpu, true).await;
                // Unnoticed: the number is lost, and the mm flushed by IPIs as before.
                g.global_asid[i].write_release(cpu, asid).await;
            }
        }
        g.global_asid_lock.unlock(cpu).await;
        cpu.local_irq_enable().await;
    }

    /// `consider_global_asid`.
    pub(super) async fn consider_global_asid(&self, cpu: Cpu<'_>, mm: Space) {
        if self.global.on && self.mm_global_asid(cpu, number(mm)).await == 0 {
            self.use_global_asid(cpu, mm).await;
        }
    }

    /// `mm_free_global_asid`.
    pub(super) async fn mm_free_global_asid(&self, cpu: Cpu<'_>, mm: Space) {
        let (g, i) = (&self.global, mm.0 as usize);
        let asid = self.mm_global_asid(cpu, number(mm)).await;
        if asid == 0 {
            return;
        }
        cpu.local_irq_save().await;
        g.global_asid_lock.lock(cpu).await;
        let freed = g.global_asid_freed.read(cpu).await;
        g.global_asid_freed.write(cpu, freed | 1 << asid).await;
        g.global_asid[i].write(cpu, 0).await;
        // Unnoticed: who is in transition gets more IPIs, and is asked at each flush.
        g.asid_transition[i].write(cpu, false).await;
        let available = g.global_asid_available.read(cpu).await;
        // Unnoticed: numbers that do not count as available are not handed out.
        g.global_asid_available.write(cpu, available + 1).await;
        g.global_asid_lock.unlock(cpu).await;
        cpu.local_irq_enable().await;
    }

    pub(super) async fn invlpgb_flush_all_nonglobals(&self, cpu: Cpu<'_>) {
        cpu.invlpgb(Invlpgb::NonGlobal).await;
        cpu.tlbsync().await;
    }

    /// `broadcast_tlb_flush`.
    pub(super) async fn broadcast_tlb_flush(&self, cpu: Cpu<'_>, info: &FlushTlbInfo) {
        let pcid = self.mm_global_asid(cpu, info.mm).await as u16 + 1;
        if info.units == 0 {
            cpu.invlpgb(Invlpgb::Pcid(pcid)).await;
        }
        for va in info.addresses() {
            let pages = info.pages();
            let last = false;
            cpu.invlpgb(Invlpgb::Addr {
                pcid,
                va,
                pages,
                last,
            })
            .await;
        }
        self.finish_asid_transition(cpu, info).await;
        if !self.bugs.no_tlbsync {
            cpu.tlbsync().await;
        }
    }

    /// `finish_asid_transition`: CPUs that have the mm under an ASID of their own do not hear
    /// the broadcast.
    async fn finish_asid_transition(&self, cpu: Cpu<'_>, info: &FlushTlbInfo) {
        if !self.mm_in_asid_transition(cpu, info.mm).await {
            return;
        }
        let i = info.mm as usize - 1;
        let global = self.mm_global_asid(cpu, info.mm).await;
        let mask = self.mm_cpumask[i].read(cpu).await;
        for target in (0..cpu.config().cpus as usize).filter(|c| mask >> c & 1 != 0) {
            while self.loaded_mm[target].read(cpu).await == SWITCHING {}
            if self.loaded_mm[target].read(cpu).await != info.mm {
                continue;
            }
            // If at least one CPU is not using the global ASID yet, all are told.
            if self.loaded_mm_asid[target].read(cpu).await != global {
                cpu.goal(GOAL_STRAGGLER);
                self.native_flush_tlb_multi(cpu, mask, info).await;
                return;
            }
        }
        cpu.goal(GOAL_TRANSITION);
        // Unnoticed: the next flush looks at the CPUs once more.
        self.global.asid_transition[i].write(cpu, false).await;
    }
}

pub(super) const GOAL_RESET: &str = "pool of global ASIDs begun anew";
pub(super) const GOAL_FULL_ABOVE: &str = "no number free above the last one";
pub(super) const GOAL_STRAGGLER: &str = "flush meets a CPU without the global ASID";
pub(super) const GOAL_TRANSITION: &str = "all CPUs have the global ASID";

#[cfg(test)]
mod tests {
    use super::Pool;

    /// From a fresh boot: two mms, and a daemon that has the last number. How many hand-outs it
    /// takes until one number has two owners.
    fn aliased(b40: bool) -> Option<u32> {
        let max = 8;
        let mut pool = Pool::new(max, b40);
        let mut live = Vec::new();
        for count in 1..200 {
            let asid = pool.allocate();
            if live.contains(&asid) {
                return Some(count);
            }
            // The top number and what comes after it live on, as long as two are available.
            if asid >= max - 1 && pool.available > 1 {
                live.push(asid);
            } else {
                pool.free(asid);
            }
        }
        None
    }

    #[test]
    fn the_allocator_of_7_3_4_hands_a_number_out_twice() {
        assert!(aliased(true).is_some());
    }

    #[test]
    fn the_one_put_right_does_not() {
        assert_eq!(aliased(false), None);
    }
}
