// SPDX-License-Identifier: GPL-2.0-only
//! Flushes: `flush_tlb_mm_range`, `flush_tlb_multi`, `flush_tlb_func`, and the batch of reclaim.

use super::info::{FlushTlbInfo, TLB_GENERATION_INVALID};
use super::tlbstate::{INIT_MM, SWITCHING, TLB_NR_DYN_ASIDS, Tlb, number};
use crate::pgtable::Flush;
use shootdown_machine::x86::cr3;
use shootdown_machine::{BLOCK_PAGES, Cpu, PAGE, Space, Va};

/// Units above which a flush is one of everything (33 in the kernel).
const TLB_SINGLE_PAGE_FLUSH_CEILING: u64 = 2;

/// `read_cr3_pa`: a register, so no step.
pub(super) fn read_cr3_pa(cpu: Cpu<'_>) -> u64 {
    cpu.with(|state| state.loaded(cpu.id()).map_or(0, |ctx| ctx.root()))
}

impl Tlb {
    /// `inc_mm_tlb_gen`: a locked instruction, which puts the change of the tables before the look
    /// at who has them loaded.
    async fn inc_mm_tlb_gen(&self, cpu: Cpu<'_>, mm: Space) -> u64 {
        let tlb_gen = &self.tlb_gen[mm.0 as usize];
        if self.bugs.no_flush_mb {
            let new = tlb_gen.read(cpu).await + 1;
            tlb_gen.write(cpu, new).await;
            return new;
        }
        tlb_gen.add_return(cpu, 1).await
    }

    /// `flush_tlb_mm_range`; `units` 0: everything.
    pub(crate) async fn flush_tlb_mm_range(
        &self,
        cpu: Cpu<'_>,
        mm: Space,
        (start, units, stride_block): (Va, u64, bool),
        freed_tables: bool,
    ) {
        let mut info = FlushTlbInfo {
            mm: number(mm),
            freed_tables,
            new_tlb_gen: self.inc_mm_tlb_gen(cpu, mm).await,
            ..FlushTlbInfo::BATCH
        };
        if units <= TLB_SINGLE_PAGE_FLUSH_CEILING {
            (info.start, info.units, info.stride_block) = (start, units, stride_block);
        }
        if self.mm_global_asid(cpu, info.mm).await != 0 {
            self.broadcast_tlb_flush(cpu, &info).await;
            return;
        }
        let me = cpu.id();
        let mask = self.mm_cpumask[mm.0 as usize].read(cpu).await;
        if mask & !(1 << me) != 0 {
            // Once per second in the kernel.
            info.trim_cpumask = !self.features.clear_prev && info.new_tlb_gen.is_multiple_of(4);
            self.flush_tlb_multi(cpu, mask, &info).await;
            self.consider_global_asid(cpu, mm).await;
        } else if self.loaded_mm[me as usize].read(cpu).await == info.mm {
            self.flush_tlb_func_here(cpu, &info).await;
        }
    }

    async fn flush_tlb_func_here(&self, cpu: Cpu<'_>, info: &FlushTlbInfo) {
        cpu.local_irq_save().await;
        self.flush_tlb_func(cpu, info).await;
        cpu.local_irq_enable().await;
    }

    /// `flush_tlb_multi`: as the hypervisor has it, or `native_flush_tlb_multi`.
    async fn flush_tlb_multi(&self, cpu: Cpu<'_>, mut mask: u64, info: &FlushTlbInfo) {
        if self.features.pv {
            mask = self.kvm_flush_tlb_multi(cpu, mask).await;
        }
        if self.features.remote_gen {
            mask = self.remote_flush(cpu, mask, info).await;
        }
        self.native_flush_tlb_multi(cpu, mask, info).await;
    }

    /// IPIs to those of the mask that need one, and waits until they are handled.
    pub(super) async fn native_flush_tlb_multi(
        &self,
        cpu: Cpu<'_>,
        mask: u64,
        info: &FlushTlbInfo,
    ) {
        let all = (info.freed_tables && !self.bugs.skip_lazy_freed)
            || self.mm_in_asid_transition(cpu, info.mm).await;
        let mut here = false;
        for target in (0..cpu.config().cpus).filter(|c| mask >> c & 1 != 0) {
            if !all && !self.should_flush(cpu, target, info).await {
                continue;
            }
            if target == cpu.id() {
                here = true;
            } else {
                cpu.send_ipi(target, info.message()).await;
            }
        }
        if here {
            self.flush_tlb_func_here(cpu, info).await;
        }
        cpu.wait_ipis().await;
    }

    /// `should_flush_tlb` (6.12: `tlb_is_not_lazy`).
    async fn should_flush(&self, cpu: Cpu<'_>, target: u8, info: &FlushTlbInfo) -> bool {
        let target = target as usize;
        let loaded_mm = if self.features.clear_prev {
            SWITCHING
        } else {
            self.loaded_mm[target].read(cpu).await
        };
        // Unnoticed: x86 does not reorder loads; this is a compiler barrier.
        cpu.smp_rmb().await;
        if self.is_lazy[target].read(cpu).await {
            cpu.goal(GOAL_LAZY_SKIPPED);
            return false;
        }
        if info.mm == 0 {
            return true;
        }
        if loaded_mm == SWITCHING {
            if !self.features.clear_prev {
                cpu.goal(GOAL_SWITCHING);
            }
            return !self.bugs.skip_switching;
        }
        loaded_mm == info.mm || info.trim_cpumask
    }

    /// The handler of an IPI.
    pub(crate) async fn handle_ipi(&self, cpu: Cpu<'_>, message: u64) {
        let info = FlushTlbInfo::of(message);
        if info.shoot_lazy {
            self.do_shoot_lazy_tlb(cpu, info.mm).await;
        } else {
            self.flush_tlb_func(cpu, &info).await;
        }
    }

    /// `flush_tlb_func`, interrupts masked.
    async fn flush_tlb_func(&self, cpu: Cpu<'_>, info: &FlushTlbInfo) {
        let me = cpu.id() as usize;
        let loaded_mm = self.loaded_mm[me].read(cpu).await;
        if info.mm != 0 && info.mm != loaded_mm {
            if !self.features.clear_prev {
                cpu.goal(GOAL_TRIM);
                self.mm_cpumask[info.mm as usize - 1]
                    .fetch_andnot(cpu, 1 << me)
                    .await;
            }
            return;
        }
        // Never in a switch: that masks interrupts.
        if loaded_mm == INIT_MM || loaded_mm == SWITCHING {
            return;
        }
        let mut asid = self.loaded_mm_asid[me].read(cpu).await;
        if self.mm_needs_global_asid(cpu, loaded_mm, asid).await {
            self.switch_mm_irqs_off(cpu, loaded_mm).await;
            asid = self.loaded_mm_asid[me].read(cpu).await;
        }
        if asid >= TLB_NR_DYN_ASIDS {
            // Broadcast flushes take care of a global ASID.
            return;
        }
        if self.is_lazy[me].read(cpu).await {
            if self.bugs.stay_lazy {
                return;
            }
            cpu.goal(GOAL_LAZY_DROPS);
            self.switch_mm_irqs_off(cpu, INIT_MM).await;
            return;
        }
        if self.features.remote_gen {
            self.lock_tlbstate(cpu, me).await;
        }
        self.flush_slot(cpu, info, loaded_mm, asid).await;
        if self.features.remote_gen {
            self.unlock_tlbstate(cpu, me).await;
        }
    }

    /// The end of it: what the slot in use lacks.
    async fn flush_slot(&self, cpu: Cpu<'_>, info: &FlushTlbInfo, loaded_mm: u64, asid: u64) {
        let me = cpu.id() as usize;
        let slot = &self.ctxs[asid as usize].tlb_gen[me];
        let local_tlb_gen = slot.read(cpu).await;
        if info.new_tlb_gen != TLB_GENERATION_INVALID {
            let done = info.new_tlb_gen <= local_tlb_gen;
            if if self.bugs.inverted { !done } else { done } {
                // An earlier flush has caught up with this one.
                cpu.goal(GOAL_DONE);
                return;
            }
        }
        let mm_tlb_gen = self.tlb_gen[loaded_mm as usize - 1].read(cpu).await;
        if local_tlb_gen == mm_tlb_gen {
            return;
        }
        let next = info.new_tlb_gen == local_tlb_gen + 1 && info.new_tlb_gen == mm_tlb_gen;
        let partial = info.units != 0
            && info.new_tlb_gen != TLB_GENERATION_INVALID
            && (next || self.bugs.partial_always);
        if partial {
            cpu.goal(GOAL_PARTIAL);
            for va in info.addresses() {
                cpu.invlpg(va).await;
                if self.features.pti && !self.bugs.one_of_pair {
                    cpu.invpcid_addr(self.user_pcid(asid), va).await;
                }
            }
        } else {
            // `flush_tlb_local`.
            self.invalidate_user_asid(cpu, asid).await;
            cpu.write_cr3(cr3(read_cr3_pa(cpu), self.kern_pcid(asid)))
                .await;
        }
        // Unnoticed: a slot that seems older than its entries are is flushed once more.
        slot.write(cpu, mm_tlb_gen).await;
    }

    /// `arch_tlbbatch_add_pending`: the batch's cpumask.
    pub(crate) async fn arch_tlbbatch_add_pending(&self, cpu: Cpu<'_>, mm: Space) -> u64 {
        self.inc_mm_tlb_gen(cpu, mm).await;
        self.mm_cpumask[mm.0 as usize].read(cpu).await
    }

    /// `set_tlb_ubc_flush_pending` of the generic code, under the lock of the tables.
    async fn set_tlb_ubc_flush_pending(&self, cpu: Cpu<'_>, mm: Space) -> u64 {
        let batch = self.arch_tlbbatch_add_pending(cpu, mm).await;
        self.tlb_flush_batched[mm.0 as usize]
            .add_return(cpu, 1)
            .await;
        batch
    }

    /// `flush_tlb_batched_pending`: whoever changes the tables next does not rely on the batch.
    async fn flush_tlb_batched_pending(&self, cpu: Cpu<'_>, mm: Space) {
        let word = &self.tlb_flush_batched[mm.0 as usize];
        let batched = word.read(cpu).await;
        let pending = batched & 0xffff;
        // Others have cleared entries that they have not flushed yet (mm_tlb_flush_pending).
        let gathers = self.tlb_flush_pending[mm.0 as usize].read(cpu).await;
        if pending != batched >> 16 || gathers != 0 {
            cpu.goal(GOAL_BATCHED);
            self.flush_tlb_mm_range(cpu, mm, (0, u64::MAX, false), false)
                .await;
            word.cmpxchg(cpu, batched, pending | pending << 16).await;
        }
    }

    /// `arch_tlbbatch_flush`.
    pub(crate) async fn arch_tlbbatch_flush(&self, cpu: Cpu<'_>, cpumask: u64) {
        let info = FlushTlbInfo::BATCH;
        if self.features.invlpgb {
            self.invlpgb_flush_all_nonglobals(cpu).await;
        } else if cpumask & !(1 << cpu.id()) != 0 {
            self.flush_tlb_multi(cpu, cpumask, &info).await;
        } else if cpumask != 0 {
            self.flush_tlb_func_here(cpu, &info).await;
        }
    }

    /// The end of `__mmdrop`: kernel threads that go on with the tables keep them alive. Instead
    /// of counting those, they are made to let go (CONFIG_MMU_LAZY_TLB_SHOOTDOWN).
    async fn cleanup_lazy_tlbs(&self, cpu: Cpu<'_>, mm: Space) {
        let info = FlushTlbInfo {
            mm: number(mm),
            shoot_lazy: true,
            ..FlushTlbInfo::BATCH
        };
        let mask = self.mm_cpumask[mm.0 as usize].read(cpu).await;
        let me = cpu.id();
        for target in (0..cpu.config().cpus).filter(|c| mask >> c & 1 != 0 && *c != me) {
            // Unnoticed: where all flushes are IPIs, the one of exit has made lazy CPUs let go.
            cpu.send_ipi(target, info.message()).await;
        }
        cpu.local_irq_save().await;
        self.do_shoot_lazy_tlb(cpu, info.mm).await;
        cpu.local_irq_enable().await;
        cpu.wait_ipis().await;
    }

    async fn do_shoot_lazy_tlb(&self, cpu: Cpu<'_>, mm: u64) {
        if self.loaded_mm[cpu.id() as usize].read(cpu).await == mm {
            self.switch_mm_irqs_off(cpu, INIT_MM).await;
        }
    }
}

impl Flush for Tlb {
    async fn leaf(&self, cpu: Cpu<'_>, mm: Space, va: Va, level: u8) {
        let block = level < 3;
        let size = if block {
            BLOCK_PAGES as u64 * PAGE
        } else {
            PAGE
        };
        let range = (va / size * size, 1, block);
        self.flush_tlb_mm_range(cpu, mm, range, false).await;
    }

    async fn restrict(&self, cpu: Cpu<'_>, mm: Space, va: Va, level: u8) {
        self.leaf(cpu, mm, va, level).await;
    }

    /// `pte_flags_need_flush`: none. A page fault removes what is in its way.
    async fn relax(&self, _: Cpu<'_>, _: Space, _: Va, _: u8) {}

    /// `flush_tlb_range`, for tables that are replaced.
    async fn range(&self, cpu: Cpu<'_>, mm: Space, va: Va, size: u64) {
        let range = (va, size / PAGE, false);
        self.flush_tlb_mm_range(cpu, mm, range, !self.bugs.range_keeps_tables)
            .await;
    }

    async fn exit(&self, cpu: Cpu<'_>, mm: Space) {
        self.flush_tlb_mm_range(cpu, mm, (0, u64::MAX, false), true)
            .await;
    }

    async fn destroy(&self, cpu: Cpu<'_>, mm: Space) {
        self.cleanup_lazy_tlbs(cpu, mm).await;
        self.mm_free_global_asid(cpu, mm).await;
    }

    async fn batch_add(&self, cpu: Cpu<'_>, mm: Space, _va: Va) -> u64 {
        self.set_tlb_ubc_flush_pending(cpu, mm).await
    }

    async fn batch_flush(&self, cpu: Cpu<'_>, batch: u64) {
        self.arch_tlbbatch_flush(cpu, batch).await;
    }

    /// `tlb_gather_mmu`.
    async fn gather(&self, cpu: Cpu<'_>, mm: Space) {
        self.tlb_flush_pending[mm.0 as usize]
            .add_return(cpu, 1)
            .await;
    }

    /// `tlb_finish_mmu`.
    async fn finish(&self, cpu: Cpu<'_>, mm: Space) {
        self.tlb_flush_pending[mm.0 as usize]
            .add_return(cpu, u64::MAX)
            .await;
    }

    async fn pending(&self, cpu: Cpu<'_>, mm: Space) {
        self.flush_tlb_batched_pending(cpu, mm).await;
    }

    async fn spurious(&self, _: Cpu<'_>, _: Space, _: Va) {}

    async fn conflict(&self, _: Cpu<'_>, _: Space) {}
}

pub(super) const GOAL_LAZY_SKIPPED: &str = "flush leaves a lazy CPU alone";
pub(super) const GOAL_LAZY_DROPS: &str = "lazy CPU drops the tables";
pub(super) const GOAL_SWITCHING: &str = "flush meets a CPU in a switch";
pub(super) const GOAL_TRIM: &str = "flush for an mm that the CPU has left";
pub(super) const GOAL_DONE: &str = "flush finds itself done already";
pub(super) const GOAL_BATCHED: &str = "tables changed while a batch has still to be flushed";
pub(super) const GOAL_PARTIAL: &str = "partial flush";
