// SPDX-License-Identifier: GPL-2.0-only
//! What a CPU has loaded, and how it goes from one mm to the next: `cpu_tlbstate`,
//! `switch_mm_irqs_off`, `choose_new_asid`, `enter_lazy_tlb`.

use super::defects::Bugs;
use super::global_asid::GlobalAsids;
use shootdown_machine::arm64::Reg;
use shootdown_machine::x86::{NOFLUSH, PCIDE, PGE, cr3};
use shootdown_machine::{Boot, Cpu, Lock, Shared, Space};

/// PCIDs that each CPU hands out for itself (6 in the kernel).
pub const TLB_NR_DYN_ASIDS: u64 = 2;
/// `loaded_mm` while no user's tables are loaded.
pub(super) const INIT_MM: u64 = 0;
/// `loaded_mm` during a switch (LOADED_MM_SWITCHING).
pub(super) const SWITCHING: u64 = 0xff;
/// `init_mm` is never flushed here.
const INIT_MM_TLB_GEN: u64 = 1;
const INIT_MM_CTX_ID: u64 = 1;

/// The number of an mm, as `loaded_mm` says it.
pub(crate) fn number(mm: Space) -> u64 {
    mm.0 as u64 + 1
}

/// Where an mm's variables are; `init_mm` has none, and nor has a switch that did not end.
pub(super) fn index(mm: u64) -> Option<usize> {
    (mm != SWITCHING).then(|| (mm as usize).checked_sub(1))?
}

/// What the kernel is built for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Features {
    /// Booted with `nopcid`.
    pub nopcid: bool,
    /// AMD's INVLPGB, with global ASIDs.
    pub invlpgb: bool,
    /// A guest of KVM, whose host flushes for vCPUs that it has preempted.
    pub pv: bool,
    /// A flush that is done for another CPU also advances its `tlb_gen`.
    pub remote_gen: bool,
    /// As in 6.12: a switch leaves the cpumask of the previous mm.
    pub clear_prev: bool,
    /// Page-table isolation: users run under a PCID of their own, beside the kernel's.
    pub pti: bool,
}

impl Features {
    /// None of them.
    pub const NONE: Features = Features {
        nopcid: false,
        invlpgb: false,
        pv: false,
        remote_gen: false,
        clear_prev: false,
        pti: false,
    };
}

/// `ctxs[i]`, by CPU: whose entries the slot's PCID tags, and how fresh they are.
#[derive(Debug)]
pub(super) struct Ctx {
    pub ctx_id: [Shared<u64>; 4],
    pub tlb_gen: [Shared<u64>; 4],
}

/// Everything that flushing goes by.
#[derive(Debug)]
pub struct Tlb {
    pub(super) features: Features,
    pub(super) bugs: Bugs,
    // cpu_tlbstate, by CPU.
    pub(super) loaded_mm: [Shared<u64>; 4],
    pub(super) loaded_mm_asid: [Shared<u64>; 4],
    next_asid: [Shared<u64>; 4],
    pub(super) is_lazy: [Shared<bool>; 4],
    pub(super) ctxs: [Ctx; TLB_NR_DYN_ASIDS as usize],
    /// `user_pcid_flush_mask`: users' PCIDs to be flushed when the CPU next goes to one.
    pub(super) user_pcid_flush_mask: [Shared<u64>; 4],
    /// Guards `ctxs` where others write them too.
    pub(super) tlbstate_lock: [Lock; 4],
    // mm->context, by mm.
    pub(super) ctx_id: [Shared<u64>; 8],
    pub(super) tlb_gen: [Shared<u64>; 8],
    pub(super) mm_cpumask: [Shared<u64>; 8],
    /// `mm->tlb_flush_batched`: pending, and flushed in the upper half.
    pub(super) tlb_flush_batched: [Shared<u64>; 8],
    /// `mm->tlb_flush_pending`.
    pub(super) tlb_flush_pending: [Shared<u64>; 8],
    last_mm_ctx_id: Shared<u64>,
    pgd: [Shared<u64>; 8],
    pub(super) swapper_pg_dir: u64,
    pub(super) global: GlobalAsids,
    /// `steal_time.preempted`, by CPU.
    pub(super) preempted: [Shared<u64>; 4],
}

/// Where to go.
struct NewAsid {
    asid: u64,
    need_flush: bool,
}

impl Tlb {
    /// For the mms whose root tables these are.
    pub fn boot(boot: &Boot<'_>, mut features: Features, pgd: [Shared<u64>; 8]) -> Tlb {
        let bugs = Bugs::boot(boot);
        features.invlpgb |= bugs.no_pcid_check;
        let swapper_pg_dir = boot.reserved_table();
        let pcide = if features.nopcid { 0 } else { PCIDE };
        boot.sysreg(
            Reg::Cr3,
            cr3(swapper_pg_dir, if features.nopcid { 0 } else { 1 }),
        );
        boot.sysreg(Reg::Cr4, PGE | pcide);
        let preempted = boot.vars("preempted", 0);
        if features.pv {
            boot.steal_time(preempted);
            if bugs.racy_host {
                boot.racy_host();
            }
        }
        let mut ids = INIT_MM_CTX_ID;
        let ctx_id = boot.vars_from(
            "ctx_id",
            core::array::from_fn(|_| {
                ids += 1;
                ids
            }),
        );
        let slot = |ctx_id, tlb_gen| Ctx {
            ctx_id: boot.vars(ctx_id, 0),
            tlb_gen: boot.vars(tlb_gen, 0),
        };
        Tlb {
            features,
            bugs,
            loaded_mm: boot.vars("loaded_mm", INIT_MM),
            loaded_mm_asid: boot.vars("loaded_mm_asid", 0),
            next_asid: boot.vars("next_asid", 1),
            is_lazy: boot.vars("is_lazy", false),
            ctxs: [
                Ctx {
                    ctx_id: boot.vars("ctxs0.ctx_id", INIT_MM_CTX_ID),
                    tlb_gen: boot.vars("ctxs0.tlb_gen", INIT_MM_TLB_GEN),
                },
                slot("ctxs1.ctx_id", "ctxs1.tlb_gen"),
            ],
            user_pcid_flush_mask: boot.vars("user_pcid_flush_mask", 0),
            tlbstate_lock: boot.locks("tlbstate_lock"),
            ctx_id,
            tlb_gen: boot.vars("tlb_gen", 1),
            mm_cpumask: boot.vars("mm_cpumask", 0),
            tlb_flush_batched: boot.vars("tlb_flush_batched", 0),
            tlb_flush_pending: boot.vars("tlb_flush_pending", 0),
            last_mm_ctx_id: boot.var("last_mm_ctx_id", ids),
            pgd,
            swapper_pg_dir,
            global: GlobalAsids::boot(boot, features.invlpgb, bugs.b40),
            preempted,
        }
    }

    /// `mm->context.tlb_gen`.
    async fn tlb_gen_of(&self, cpu: Cpu<'_>, mm: u64) -> u64 {
        match index(mm) {
            Some(i) => self.tlb_gen[i].read(cpu).await,
            None => INIT_MM_TLB_GEN,
        }
    }

    /// `mm->context.ctx_id`, which does not change while the mm lives.
    pub(super) async fn ctx_id_of(&self, cpu: Cpu<'_>, mm: u64) -> u64 {
        match index(mm) {
            Some(i) => self.ctx_id[i].read(cpu).await,
            None => INIT_MM_CTX_ID,
        }
    }

    async fn pgd_of(&self, cpu: Cpu<'_>, mm: u64) -> u64 {
        match index(mm) {
            Some(i) => self.pgd[i].read(cpu).await,
            None => self.swapper_pg_dir,
        }
    }

    /// `init_new_context`.
    pub(crate) async fn init_new_context(&self, cpu: Cpu<'_>, mm: Space) {
        let i = mm.0 as usize;
        let id = self.last_mm_ctx_id.add_return(cpu, 1).await;
        // Unnoticed: with nopcid, where nobody looks for the slot of an mm.
        self.ctx_id[i].write(cpu, id).await;
        // Unnoticed: generations of another ctx_id are never compared.
        self.tlb_gen[i].write(cpu, 1).await;
        // Unnoticed: too many CPUs in the mask only make flushes dearer.
        self.mm_cpumask[i].write(cpu, 0).await;
    }

    async fn choose_new_asid(&self, cpu: Cpu<'_>, next: u64, next_tlb_gen: u64) -> NewAsid {
        let me = cpu.id() as usize;
        if self.features.nopcid {
            return NewAsid {
                asid: 0,
                need_flush: true,
            };
        }
        let global = self.mm_global_asid(cpu, next).await;
        if global != 0 {
            return NewAsid {
                asid: global,
                need_flush: false,
            };
        }
        let id = self.ctx_id_of(cpu, next).await;
        for (asid, ctx) in (0..).zip(&self.ctxs) {
            if ctx.ctx_id[me].read(cpu).await != id {
                continue;
            }
            let stale = ctx.tlb_gen[me].read(cpu).await < next_tlb_gen;
            cpu.goal(if stale { GOAL_SLOT_STALE } else { GOAL_SLOT });
            return NewAsid {
                asid,
                need_flush: stale,
            };
        }
        // We don't currently own an ASID slot on this CPU: take one.
        let asid = self.next_asid[me].read(cpu).await % TLB_NR_DYN_ASIDS;
        // Unnoticed: only says which slot goes next.
        self.next_asid[me].write(cpu, asid + 1).await;
        NewAsid {
            asid,
            need_flush: true,
        }
    }

    /// Loads `next`, interrupts masked.
    pub(crate) async fn switch_mm_irqs_off(&self, cpu: Cpu<'_>, next: u64) {
        let me = cpu.id() as usize;
        let prev = self.loaded_mm[me].read(cpu).await;
        let prev_asid = self.loaded_mm_asid[me].read(cpu).await;
        let was_lazy = self.is_lazy[me].read(cpu).await;
        if was_lazy {
            self.is_lazy[me].write(cpu, false).await;
        }
        let next_tlb_gen;
        let mut same = None;
        if prev == next {
            if !self.mm_needs_global_asid(cpu, next, prev_asid).await {
                if prev_asid >= TLB_NR_DYN_ASIDS || !was_lazy || self.bugs.skip_lazy_check {
                    return;
                }
                // Being lazy, this CPU was left out of flushes; read tlb_gen after is_lazy is
                // seen to be false.
                cpu.smp_mb().await;
                next_tlb_gen = self.tlb_gen_of(cpu, next).await;
                if self.ctxs[prev_asid as usize].tlb_gen[me].read(cpu).await == next_tlb_gen {
                    return;
                }
                cpu.goal(GOAL_LAZY_STALE);
                same = Some(NewAsid {
                    asid: prev_asid,
                    need_flush: true,
                });
            } else {
                next_tlb_gen = self.tlb_gen_of(cpu, next).await;
            }
        } else {
            next_tlb_gen = self.announce_switch(cpu, prev, next).await;
        }
        if self.features.remote_gen {
            self.lock_tlbstate(cpu, me).await;
        }
        let new = match same {
            Some(new) => new,
            None => self.choose_new_asid(cpu, next, next_tlb_gen).await,
        };
        if prev != next && self.features.clear_prev {
            // Unnoticed: interrupts are masked until it is overwritten, and no other CPU asks in
            // 6.12; it is for NMIs that look at the user's memory.
            self.loaded_mm[me].write(cpu, SWITCHING).await;
        }
        self.reload_tlb(cpu, next, next_tlb_gen, &new).await;
        self.loaded_mm[me].write(cpu, next).await;
        // Unnoticed: with nopcid, where it is 0 for ever.
        self.loaded_mm_asid[me].write(cpu, new.asid).await;
        if self.features.remote_gen {
            self.unlock_tlbstate(cpu, me).await;
        }
    }

    /// Lets flushes know that this CPU is about to use `next`, and then reads how far they are:
    /// whoever counts on after that finds this CPU.
    async fn announce_switch(&self, cpu: Cpu<'_>, prev: u64, next: u64) -> u64 {
        let (me, bit) = (cpu.id() as usize, 1 << cpu.id());
        if self.features.clear_prev {
            if let Some(i) = index(prev) {
                self.mm_cpumask[i].fetch_andnot(cpu, bit).await;
            }
            if let Some(i) = index(next) {
                self.mm_cpumask[i].fetch_or(cpu, bit).await;
            }
            return self.tlb_gen_of(cpu, next).await;
        }
        let early = if self.bugs.gen_first {
            Some(self.tlb_gen_of(cpu, next).await)
        } else {
            None
        };
        self.loaded_mm[me].write(cpu, SWITCHING).await;
        let mut barrier = false;
        if let Some(i) = index(next)
            && self.mm_cpumask[i].read(cpu).await & bit == 0
        {
            self.mm_cpumask[i].fetch_or(cpu, bit).await;
            barrier = true;
        }
        if !barrier && !self.bugs.no_switch_mb {
            // Unnoticed: with nopcid, where the MOV to CR3 of every switch, which serializes,
            // flushes whatever a flush that missed this CPU was about.
            cpu.smp_mb().await;
        }
        match early {
            Some(early) => early,
            None => self.tlb_gen_of(cpu, next).await,
        }
    }

    /// `load_new_mm_cr3`.
    async fn reload_tlb(&self, cpu: Cpu<'_>, next: u64, next_tlb_gen: u64, new: &NewAsid) {
        let me = cpu.id() as usize;
        let pgd = self.pgd_of(cpu, next).await;
        if new.need_flush {
            let ctx = &self.ctxs[new.asid as usize];
            let id = self.ctx_id_of(cpu, next).await;
            // Unnoticed: a slot that does not say whose it is, is never found: the next switch
            // to its mm takes one, with a flush.
            ctx.ctx_id[me].write(cpu, id).await;
            ctx.tlb_gen[me].write(cpu, next_tlb_gen).await;
            self.invalidate_user_asid(cpu, new.asid).await;
        }
        let noflush = if new.need_flush { 0 } else { NOFLUSH };
        cpu.write_cr3(cr3(pgd, self.kern_pcid(new.asid)) | noflush)
            .await;
    }

    /// PCID 0 is left to those who know nothing of PCIDs.
    pub(super) fn kern_pcid(&self, asid: u64) -> u16 {
        if self.features.nopcid {
            0
        } else {
            asid as u16 + 1
        }
    }

    /// Whether this CPU runs an mm.
    pub(crate) async fn runs(&self, cpu: Cpu<'_>, mm: u64) -> bool {
        let me = cpu.id() as usize;
        self.loaded_mm[me].read(cpu).await == mm && !self.is_lazy[me].read(cpu).await
    }

    /// A kernel thread goes on with the tables that are loaded.
    pub(crate) async fn enter_lazy_tlb(&self, cpu: Cpu<'_>) {
        let me = cpu.id() as usize;
        if self.loaded_mm[me].read(cpu).await != INIT_MM {
            // Unnoticed: a CPU that does not say so is flushed as one that runs the mm.
            self.is_lazy[me].write(cpu, true).await;
        }
    }
}

/// Places worth reaching in any version.
pub(super) const GOAL_SLOT: &str = "slot of the mm found fresh";
pub(super) const GOAL_SLOT_STALE: &str = "slot of the mm found stale";
pub(super) const GOAL_LAZY_STALE: &str = "back from lazy mode after a flush";
