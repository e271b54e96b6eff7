// SPDX-License-Identifier: GPL-2.0-only
//! A flush that one CPU does for another, and after which it advances the other's `tlb_gen`, so
//! that the work is not done twice (Andy Lutomirski, 25 Jun 2019, "Provide paravirtualized
//! flush_tlb_multi()": with appropriate locking, with a look whether the `ctx_id` still matches,
//! and more complicated for a partial flush).
//!
//! The remote flush is INVLPGB of the PCID that the other CPU uses for the mm; a hypercall would
//! do as well.

use super::info::FlushTlbInfo;
use super::tlbstate::{TLB_NR_DYN_ASIDS, Tlb};
use shootdown_machine::Cpu;
use shootdown_machine::x86::Invlpgb;

/// What is to be flushed on a CPU.
#[derive(Clone, Copy)]
struct Remote {
    asid: u64,
    partial: bool,
}

impl Tlb {
    pub(super) async fn lock_tlbstate(&self, cpu: Cpu<'_>, of: usize) {
        if !self.bugs.no_lock {
            self.tlbstate_lock[of].lock(cpu).await;
        }
    }

    pub(super) async fn unlock_tlbstate(&self, cpu: Cpu<'_>, of: usize) {
        if !self.bugs.no_lock {
            self.tlbstate_lock[of].unlock(cpu).await;
        }
    }

    /// Flushes for CPUs that run the mm. Those in a switch, or lazy, are left to see to it
    /// themselves: the mask of them.
    pub(super) async fn remote_flush(&self, cpu: Cpu<'_>, mask: u64, info: &FlushTlbInfo) -> u64 {
        let Some(mm) = info.mm.checked_sub(1) else {
            return mask;
        };
        let id = self.ctx_id[mm as usize].read(cpu).await;
        let mut todo = [None; 4];
        let mut left = mask;
        for target in (0..cpu.config().cpus as usize).filter(|c| mask >> c & 1 != 0) {
            if target != cpu.id() as usize
                && let Some(remote) = self.begin_remote(cpu, target, info).await
            {
                todo[target] = Some(remote);
                left &= !(1 << target);
            }
        }
        if todo.iter().all(Option::is_none) {
            return left;
        }
        cpu.tlbsync().await;
        for (target, remote) in todo.iter().enumerate() {
            if let Some(remote) = remote {
                self.advance(cpu, target, remote, id, info).await;
            }
        }
        left
    }

    /// Issues the flush for one CPU.
    async fn begin_remote(
        &self,
        cpu: Cpu<'_>,
        target: usize,
        info: &FlushTlbInfo,
    ) -> Option<Remote> {
        cpu.local_irq_save().await;
        self.lock_tlbstate(cpu, target).await;
        let mut remote = None;
        if self.loaded_mm[target].read(cpu).await == info.mm
            && !self.is_lazy[target].read(cpu).await
        {
            let asid = self.loaded_mm_asid[target].read(cpu).await;
            let local = self.ctxs[asid as usize].tlb_gen[target].read(cpu).await;
            let next = local + 1 == info.new_tlb_gen || self.bugs.partial_advances;
            let partial = info.units != 0 && next;
            remote = Some(Remote { asid, partial });
        }
        self.unlock_tlbstate(cpu, target).await;
        cpu.local_irq_enable().await;
        let Remote { asid, partial } = remote?;
        let pcid = self.kern_pcid(asid);
        if !partial {
            cpu.invlpgb(Invlpgb::Pcid(pcid)).await;
            return remote;
        }
        for va in info.addresses() {
            let pages = info.pages();
            cpu.invlpgb(Invlpgb::Addr {
                pcid,
                va,
                pages,
                last: false,
            })
            .await;
        }
        remote
    }

    /// The slot is as fresh as the flush, unless it belongs to another mm by now.
    async fn advance(
        &self,
        cpu: Cpu<'_>,
        target: usize,
        remote: &Remote,
        id: u64,
        info: &FlushTlbInfo,
    ) {
        debug_assert!(remote.asid < TLB_NR_DYN_ASIDS);
        let ctx = &self.ctxs[remote.asid as usize];
        cpu.local_irq_save().await;
        self.lock_tlbstate(cpu, target).await;
        let mine = self.bugs.no_ctx_check || ctx.ctx_id[target].read(cpu).await == id;
        if !mine {
            cpu.goal(GOAL_RECYCLED);
        } else if ctx.tlb_gen[target].read(cpu).await < info.new_tlb_gen {
            cpu.goal(if remote.partial {
                GOAL_PARTIAL
            } else {
                GOAL_FULL
            });
            // Unnoticed: a slot that seems older than its entries are is flushed once more.
            ctx.tlb_gen[target].write(cpu, info.new_tlb_gen).await;
        }
        self.unlock_tlbstate(cpu, target).await;
        cpu.local_irq_enable().await;
    }
}

pub(super) const GOAL_RECYCLED: &str = "slot belongs to another mm after the remote flush";
pub(super) const GOAL_PARTIAL: &str = "partial remote flush advances tlb_gen";
pub(super) const GOAL_FULL: &str = "remote flush of everything advances tlb_gen";
