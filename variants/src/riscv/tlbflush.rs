// SPDX-License-Identifier: GPL-2.0-only
//! The flush API of RISC-V (`arch/riscv/mm/tlbflush.c`, Linux 7.3).

use super::cntx2asid;
use super::context::{Contexts, MISSED, STALE_MASK};
use super::lazy::{Lazy, active};
use crate::Defect;
use crate::pgtable::Flush;
use shootdown_machine::riscv::Fence;
use shootdown_machine::{Boot, Cpu, PAGE, PAGES, Shared, Space, Va};

/// B-46 (NEG): nothing is done about a remembered invalid entry.
pub const NO_SPURIOUS: Defect = Defect {
    name: "B-46-absent",
    about: "nothing is fenced when a page is mapped, nor when another hart faults on what it remembers",
    source: "503638e0babf \"riscv: Stop emitting preventive sfence.vma for new vmalloc mappings\"",
    breaks: &[&["recurring-fault"]],
    needs: &[],
};

/// H1: which harts, before it is certain that they see the change.
pub const MASK_FIRST: Defect = Defect {
    name: "H1",
    about: "the mask is read with no fence between it and pmd_clear, a plain store",
    source: "derived: Linux 7.3; as 83b0177a6c48 on x86",
    breaks: &[MISSED],
    needs: &[],
};

/// H2: which ASID, before it is certain that others see the change.
pub const ASID_FIRST: Defect = Defect {
    name: "H2",
    about: "the mm's ASID is read with no fence between it and pmd_clear, a plain store",
    source: "derived: Linux 7.3; as 5e10f9887ed8 on arm64",
    breaks: &[MISSED],
    needs: &[],
};

/// H4: a hart that the batch has met and that is offline by now.
pub const BATCH_OFFLINE: Defect = Defect {
    name: "H4",
    about: "the batch of reclaim is flushed on harts that have gone offline since, and the SBI refuses it for all",
    source: "derived: Linux 7.3, arch_tlbbatch_flush; ae9e9f3d67dc clears the masks of mms only",
    breaks: &[MISSED],
    needs: &[],
};

/// B-24: what reclaim has put off is nobody else's business.
pub const BATCHED: Defect = Defect {
    name: "B-24",
    about: "who changes the tables does not flush what reclaim has put off",
    source: "3ea277194daa \"mm, mprotect: flush TLB if potentially racing with a parallel reclaim leaving stale TLB entries\"",
    breaks: &[MISSED],
    needs: &[],
};

/// A table is taken away with a fence by address.
pub const BY_ADDRESS: Defect = Defect {
    name: "collapse-by-address",
    about: "a table that becomes a block is fenced by address, which leaves pointers to it",
    source: "derived; pmdp_collapse_flush of arch/riscv/mm/pgtable.c says why it does not",
    breaks: &[&[
        "no-walk-of-freed-table",
        "no-use-after-unmap",
        "no-use-of-freed-frame",
        "no-write-after-protect",
        "no-lost-write",
        "TLBEmptyInvalPTE",
    ]],
    needs: &[],
};

/// Pages above which a fence is for the whole ASID (`tlb_flush_all_threshold`: 64 pages of the
/// 512 that a table has there).
const THRESHOLD: u64 = 2;

/// How fences reach other harts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remote {
    /// The SBI does it.
    Sbi,
    /// IPIs, whose handler fences (`riscv_use_sbi_for_rfence` is off).
    Ipi,
}

/// `struct flush_tlb_range_data`, in the message of an IPI.
#[derive(Clone, Copy)]
struct Range {
    start: Va,
    size: u64,
    asid: u16,
}

const WHOLE: u64 = PAGES as u64 * PAGE;

/// FLUSH_TLB_NO_ASID: of every mm.
const NO_ASID: u16 = u16::MAX;

/// A place worth reaching.
pub const GOAL_BATCHED: &str = "an operation meets a batched unmap";

impl Range {
    fn message(self) -> u64 {
        self.start | self.size << 20 | (self.asid as u64) << 48
    }

    fn of(message: u64) -> Range {
        Range {
            start: message & 0xf_ffff,
            size: message >> 20 & 0xfff_ffff,
            asid: (message >> 48) as u16,
        }
    }

    fn is_short(self) -> bool {
        self.size <= THRESHOLD * PAGE
    }
}

/// Flushes by ASID, on the harts of the mm's mask.
#[derive(Debug)]
pub struct TlbFlush {
    context_id: [Shared<u64>; 8],
    mm_cpumask: [Shared<u64>; 8],
    tlb_stale_mask: [Shared<u64>; 8],
    /// `mm->tlb_flush_batched`: pending, and flushed in the upper half.
    tlb_flush_batched: [Shared<u64>; 8],
    cpu_online_mask: Shared<u64>,
    lazy: Lazy,
    remote: Remote,
    svinval: bool,
    stale_mask: bool,
    no_spurious: bool,
    mask_first: bool,
    asid_first: bool,
    by_address: bool,
    batch_offline: bool,
    no_batched: bool,
}

impl TlbFlush {
    /// For these mms.
    pub fn new(
        boot: &Boot<'_>,
        contexts: &Contexts,
        cpu_online_mask: Shared<u64>,
        lazy: Lazy,
        remote: Remote,
        svinval: bool,
    ) -> TlbFlush {
        TlbFlush {
            context_id: contexts.context_id,
            mm_cpumask: contexts.mm_cpumask,
            tlb_stale_mask: contexts.tlb_stale_mask,
            tlb_flush_batched: boot.vars("tlb_flush_batched", 0),
            cpu_online_mask,
            lazy,
            remote,
            svinval,
            stale_mask: boot.has(STALE_MASK.name),
            no_spurious: boot.has(NO_SPURIOUS.name),
            mask_first: boot.has(MASK_FIRST.name),
            asid_first: boot.has(ASID_FIRST.name),
            by_address: boot.has(BY_ADDRESS.name),
            batch_offline: boot.has(BATCH_OFFLINE.name),
            no_batched: boot.has(BATCHED.name),
        }
    }

    /// `local_flush_tlb_range_asid`.
    async fn local_flush_tlb_range_asid(&self, cpu: Cpu<'_>, r: Range) {
        if r.asid == NO_ASID {
            cpu.sfence_vma(Fence::All).await;
            return;
        }
        if !r.is_short() {
            cpu.sfence_vma(Fence::Asid(r.asid)).await;
            return;
        }
        if self.svinval {
            // Unnoticed: the fence before the mask was read has put the stores into memory.
            cpu.sfence_w_inval().await;
        }
        for page in 0..r.size.div_ceil(PAGE) {
            let what = Fence::Both(r.start + page * PAGE, r.asid);
            if self.svinval {
                cpu.sinval_vma(what).await;
            } else {
                cpu.sfence_vma(what).await;
            }
        }
        if self.svinval {
            cpu.sfence_inval_ir().await;
        }
    }

    /// `get_mm_asid`.
    async fn get_mm_asid(&self, cpu: Cpu<'_>, mm: Space) -> u16 {
        cntx2asid(self.context_id[mm.0 as usize].read(cpu).await) as u16
    }

    /// The mm's ASID and its mask. 7.3 has no fence here, and is right as long as what changed
    /// the descriptor was an atomic that orders. Where it was a plain store, a hart may enter
    /// the mask, or the mm get another ASID, and its walker see what was there before.
    async fn asid_and_mask(&self, cpu: Cpu<'_>, mm: Space) -> (u16, u64) {
        let mask = self.mm_cpumask[mm.0 as usize];
        if self.asid_first {
            let asid = self.get_mm_asid(cpu, mm).await;
            cpu.smp_mb().await;
            return (asid, mask.read(cpu).await);
        }
        if self.mask_first {
            let mask = mask.read(cpu).await;
            cpu.smp_mb().await;
            return (self.get_mm_asid(cpu, mm).await, mask);
        }
        cpu.smp_mb().await;
        let asid = self.get_mm_asid(cpu, mm).await;
        (asid, mask.read(cpu).await)
    }

    /// `__flush_tlb_range`, for an mm and its mask.
    async fn flush_tlb_range(&self, cpu: Cpu<'_>, mm: Space, start: Va, size: u64) {
        let me = 1 << cpu.id();
        // get_cpu: stop_machine, and with it a hart that goes offline, waits until put_cpu.
        cpu.local_irq_save().await;
        let (asid, cmask) = self.asid_and_mask(cpu, mm).await;
        if cmask != 0 {
            let r = Range { start, size, asid };
            if self.stale_mask {
                let others = ((1 << cpu.config().cpus) - 1) & !me & !cmask;
                self.tlb_stale_mask[mm.0 as usize].write(cpu, others).await;
            }
            if cmask & !me == 0 {
                self.local_flush_tlb_range_asid(cpu, r).await;
            } else {
                self.flush_remote(cpu, cmask, r).await;
            }
        }
        cpu.local_irq_enable().await;
        if self.remote == Remote::Ipi {
            cpu.wait_ipis().await;
        }
    }

    async fn flush_remote(&self, cpu: Cpu<'_>, cmask: u64, r: Range) {
        match self.remote {
            Remote::Sbi => {
                let what = if r.asid == NO_ASID {
                    Fence::All
                } else if r.is_short() {
                    Fence::Both(r.start, r.asid)
                } else {
                    Fence::Asid(r.asid)
                };
                // An error is printed, and that is all.
                cpu.sbi_remote_sfence_vma(cmask as u8, what, r.size).await;
            }
            // on_each_cpu_mask.
            Remote::Ipi => {
                for hart in (0..cpu.config().cpus).filter(|h| *h != cpu.id()) {
                    if cmask >> hart & 1 != 0 {
                        cpu.send_ipi(hart, r.message()).await;
                    }
                }
                if cmask >> cpu.id() & 1 != 0 {
                    self.local_flush_tlb_range_asid(cpu, r).await;
                }
            }
        }
    }

    /// `arch_tlbbatch_flush`: on the harts that the batch has met, and that have not gone offline
    /// since, which took what they had with them.
    async fn arch_tlbbatch_flush(&self, cpu: Cpu<'_>, mut cmask: u64) {
        let me = 1 << cpu.id();
        cpu.local_irq_save().await; // get_cpu
        if !self.batch_offline {
            cmask &= self.cpu_online_mask.read(cpu).await;
        }
        let r = Range {
            start: 0,
            size: WHOLE,
            asid: NO_ASID,
        };
        if cmask & !me != 0 {
            self.flush_remote(cpu, cmask, r).await;
        } else if cmask != 0 {
            self.local_flush_tlb_range_asid(cpu, r).await;
        }
        cpu.local_irq_enable().await;
        if self.remote == Remote::Ipi {
            cpu.wait_ipis().await;
        }
    }

    /// `__ipi_flush_tlb_range_asid`.
    pub async fn ipi(&self, cpu: Cpu<'_>, message: u64) {
        self.local_flush_tlb_range_asid(cpu, Range::of(message))
            .await;
    }
}

impl Flush for TlbFlush {
    /// `flush_tlb_page`, `flush_pmd_tlb_range`: the leaf goes with any address in it.
    async fn leaf(&self, cpu: Cpu<'_>, mm: Space, va: Va, _level: u8) {
        self.flush_tlb_range(cpu, mm, va, PAGE).await;
    }

    async fn restrict(&self, cpu: Cpu<'_>, mm: Space, va: Va, level: u8) {
        self.leaf(cpu, mm, va, level).await;
    }

    async fn relax(&self, cpu: Cpu<'_>, mm: Space, va: Va, level: u8) {
        self.leaf(cpu, mm, va, level).await;
    }

    /// `pmdp_collapse_flush`: fences by address take leaves only, so it is `flush_tlb_mm`.
    async fn range(&self, cpu: Cpu<'_>, mm: Space, va: Va, size: u64) {
        if self.by_address {
            for page in 0..size / PAGE {
                self.flush_tlb_range(cpu, mm, va + page * PAGE, PAGE).await;
            }
        } else {
            self.flush_tlb_range(cpu, mm, 0, WHOLE).await;
        }
    }

    /// `flush_tlb_mm`.
    async fn exit(&self, cpu: Cpu<'_>, mm: Space) {
        self.flush_tlb_range(cpu, mm, 0, WHOLE).await;
    }

    /// `arch_tlbbatch_add_pending` and the count of `set_tlb_ubc_flush_pending`.
    async fn batch_add(&self, cpu: Cpu<'_>, mm: Space, _va: Va) -> u64 {
        let batch = self.mm_cpumask[mm.0 as usize].read(cpu).await;
        self.tlb_flush_batched[mm.0 as usize]
            .add_return(cpu, 1)
            .await;
        batch
    }

    async fn batch_flush(&self, cpu: Cpu<'_>, batch: u64) {
        self.arch_tlbbatch_flush(cpu, batch).await;
    }

    /// `flush_tlb_batched_pending`.
    async fn pending(&self, cpu: Cpu<'_>, mm: Space) {
        let word = self.tlb_flush_batched[mm.0 as usize];
        let batched = word.read(cpu).await;
        let pending = batched & 0xffff;
        if pending != batched >> 16 && !self.no_batched {
            cpu.goal(GOAL_BATCHED);
            self.flush_tlb_range(cpu, mm, 0, WHOLE).await;
            word.cmpxchg(cpu, batched, pending | pending << 16).await;
        }
    }

    /// `update_mmu_cache`: a valid entry here may be hidden by a remembered invalid one.
    async fn spurious(&self, cpu: Cpu<'_>, _mm: Space, va: Va) {
        if !self.no_spurious {
            cpu.sfence_vma(Fence::Addr(va)).await;
        }
    }

    async fn conflict(&self, _: Cpu<'_>, _mm: Space) {}

    async fn keep_root(&self, cpu: Cpu<'_>, mm: Space, root: u64) -> bool {
        self.lazy.mark_dead(cpu, active(root, mm)).await
    }
}
