// SPDX-License-Identifier: GPL-2.0-only
//! The flush API of arm64 (`arch/arm64/include/asm/tlbflush.h`, `tlbbatch.h`, Linux 7.3).

use super::context::{GOAL_BATCHED, USER_ASID_FLAG};
use super::defects::{self, Built};
use super::idx;
use super::mm::NSH;
use crate::pgtable::Flush;
use shootdown_machine::arm64::{Kind, Tlbi, Ttl};
use shootdown_machine::{Boot, Cpu, Dsb, PAGE, SLOTS, Shared, Space, Va, level_size};

/// Operations without a range that are worth it: as many as a table has entries.
const MAX_DVM_OPS: u64 = SLOTS as u64;
/// What one operation with a range can cover: the largest NUM of the largest SCALE.
const MAX_TLBI_RANGE_PAGES: u64 = 32 << (5 * 3 + 1);

/// What `__flush_tlb_range` is told about a range.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// First address.
    pub start: Va,
    /// Bytes.
    pub size: u64,
    /// Bytes between two leaves.
    pub stride: u64,
    /// Level of the leaves.
    pub level: Ttl,
    /// TLBF_NOWALKCACHE: no table was freed.
    pub last_level: bool,
}

/// What a kernel's CPUs have.
#[derive(Clone, Copy, Debug)]
pub struct Features {
    /// ASIDs come in pairs, and each operation has a twin for the user's.
    pub kpti: bool,
    /// FEAT_TLBIRANGE.
    pub tlb_range: bool,
}

/// Flushes by ASID, in every CPU.
#[derive(Debug)]
pub struct TlbFlush {
    /// `mm->context.id`.
    context_id: [Shared<u64>; 8],
    /// `mm->tlb_flush_batched`: batched unmaps below, those of them that were flushed above.
    tlb_flush_batched: [Shared<u64>; 8],
    features: Features,
    /// B-20 (nsh): permission changes are flushed on this CPU only.
    nsh: bool,
    built: Built,
}

const FLUSHED_SHIFT: u32 = 16;
const PENDING_MASK: u64 = (1 << FLUSHED_SHIFT) - 1;

impl TlbFlush {
    /// For the mms whose ids these are.
    pub fn new(
        boot: &Boot<'_>,
        context_id: [Shared<u64>; 8],
        features: Features,
        built: Built,
    ) -> TlbFlush {
        TlbFlush {
            context_id,
            tlb_flush_batched: boot.vars("tlb_flush_batched", 0),
            features,
            nsh: boot.has(NSH.name),
            built,
        }
    }

    /// `dsb(ishst)` (or nshst) and `ASID(mm)`, in this order: a rollover that is not seen here
    /// cannot have let a walker see the old descriptor under a newer ASID.
    async fn dsb_then_asid(&self, cpu: Cpu<'_>, dsb: Dsb, mm: Space) -> u16 {
        if self.built.with(&defects::ASID_FIRST) {
            let asid = self.asid(cpu, mm).await;
            cpu.dsb(dsb).await;
            return asid;
        }
        cpu.dsb(dsb).await;
        self.asid(cpu, mm).await
    }

    /// `ASID(mm)`.
    async fn asid(&self, cpu: Cpu<'_>, mm: Space) -> u16 {
        idx(self.context_id[mm.0 as usize].read(cpu).await) as u16
    }

    /// `__tlbi` and `__tlbi_user`.
    async fn tlbi(&self, cpu: Cpu<'_>, asid: u16, op: impl Fn(u16) -> Tlbi) {
        cpu.tlbi(op(asid)).await;
        if self.features.kpti && !self.built.with(&defects::ONE_OF_PAIR) {
            cpu.tlbi(op(asid | USER_ASID_FLAG as u16)).await;
        }
    }

    async fn tlbi_page(&self, cpu: Cpu<'_>, kind: Kind, va: Va, asid: u16, ttl: Ttl) {
        let granule = cpu.config().granule;
        self.tlbi(cpu, asid, |asid| {
            Tlbi::addr_in(granule, kind, va, asid, ttl)
        })
        .await;
    }

    /// `flush_tlb_mm`.
    pub async fn flush_tlb_mm(&self, cpu: Cpu<'_>, mm: Space) {
        let asid = self.dsb_then_asid(cpu, Dsb::Ishst, mm).await;
        self.tlbi(cpu, asid, |asid| Tlbi::asid(Kind::Aside1is, asid))
            .await;
        cpu.dsb(Dsb::Ish).await;
    }

    /// `flush_tlb_page_nosync`: the last level, with its hint; a DSB is to follow.
    pub async fn flush_tlb_page_nosync(&self, cpu: Cpu<'_>, mm: Space, va: Va, level: u8) {
        let asid = self.dsb_then_asid(cpu, Dsb::Ishst, mm).await;
        self.tlbi_page(cpu, Kind::Vale1is, va, asid, Ttl::Level(level))
            .await;
    }

    /// The same with TLBF_NOBROADCAST, complete.
    async fn flush_tlb_page_local(&self, cpu: Cpu<'_>, mm: Space, va: Va, ttl: Ttl) {
        let asid = self.dsb_then_asid(cpu, Dsb::Nshst, mm).await;
        self.tlbi_page(cpu, Kind::Vale1, va, asid, ttl).await;
        // Unnoticed: only permissions that were given are flushed so. An entry that is left
        // makes one more fault, whose handler comes here again.
        cpu.dsb(Dsb::Nsh).await;
    }

    /// `__flush_tlb_range`.
    pub async fn __flush_tlb_range(&self, cpu: Cpu<'_>, mm: Space, range: Range) {
        let pages = range.size / PAGE;
        let excess = if self.features.tlb_range {
            pages > MAX_TLBI_RANGE_PAGES
        } else {
            range.size >= MAX_DVM_OPS * range.stride
        };
        if excess {
            self.flush_tlb_mm(cpu, mm).await;
            return;
        }
        let asid = self.dsb_then_asid(cpu, Dsb::Ishst, mm).await;
        self.__flush_tlb_range_op(cpu, asid, range).await;
        cpu.dsb(Dsb::Ish).await;
    }

    /// An odd page by itself, the rest by range operations, largest scale first.
    async fn __flush_tlb_range_op(&self, cpu: Cpu<'_>, asid: u16, range: Range) {
        let granule = cpu.config().granule;
        let (one, many) = if range.last_level {
            (Kind::Vale1is, Kind::Rvale1is)
        } else {
            (Kind::Vae1is, Kind::Rvae1is)
        };
        let (mut addr, mut pages) = (range.start, range.size / PAGE);
        let mut scale = 3;
        while pages > 0 {
            if pages == 1 || !self.features.tlb_range {
                self.tlbi_page(cpu, one, addr, asid, range.level).await;
                addr += range.stride;
                pages = pages.saturating_sub(range.stride / PAGE);
                continue;
            }
            // The largest NUM of this scale that stays inside; none: the next scale.
            let units = self.range_units(pages, scale);
            if units == 0 && scale == 0 {
                break; // only with B-12b
            }
            if units == 0 {
                scale -= 1;
                continue;
            }
            self.tlbi(cpu, asid, |asid| {
                Tlbi::range_in(
                    granule,
                    many,
                    addr,
                    scale,
                    units as u8 - 1,
                    asid,
                    range.level,
                )
            })
            .await;
            addr += (units << (5 * scale + 1)) * PAGE;
            pages -= units << (5 * scale + 1);
        }
    }

    /// `__TLBI_RANGE_NUM`, and 1.
    fn range_units(&self, pages: u64, scale: u8) -> u64 {
        let units = pages >> (5 * scale + 1);
        if self.built.with(&defects::RANGE_NUM) {
            units & 31
        } else {
            units.min(32)
        }
    }

    /// `flush_hugetlb_tlb_range`. Blocks are pages of hugetlbfs, and what changes their permission
    /// changes that of their VMA: as many as one operation can cover, of which this is the first
    /// that is populated.
    async fn flush_hugetlb_tlb_range(&self, cpu: Cpu<'_>, mm: Space, va: Va) {
        let stride = level_size(2);
        let range = Range {
            start: va / stride * stride,
            size: MAX_TLBI_RANGE_PAGES * PAGE,
            stride,
            level: Ttl::Level(2),
            last_level: true,
        };
        self.__flush_tlb_range(cpu, mm, range).await;
    }

    /// `arch_tlbbatch_add_pending` and the count of `set_tlb_ubc_flush_pending`: the TLBI at once,
    /// its DSB at the end of the batch.
    pub async fn set_tlb_ubc_flush_pending(&self, cpu: Cpu<'_>, mm: Space, va: Va) {
        self.flush_tlb_page_nosync(cpu, mm, va, 3).await;
        let batched = self.tlb_flush_batched[mm.0 as usize];
        batched.add_return_relaxed(cpu, 1).await;
    }

    /// `arch_tlbbatch_flush`.
    pub async fn arch_tlbbatch_flush(&self, cpu: Cpu<'_>) {
        cpu.dsb(Dsb::Ish).await;
    }
}

impl Flush for TlbFlush {
    /// `flush_tlb_page`.
    async fn leaf(&self, cpu: Cpu<'_>, mm: Space, va: Va, level: u8) {
        self.flush_tlb_page_nosync(cpu, mm, va, level).await;
        cpu.dsb(Dsb::Ish).await;
    }

    async fn restrict(&self, cpu: Cpu<'_>, mm: Space, va: Va, level: u8) {
        if self.nsh {
            self.flush_tlb_page_local(cpu, mm, va, Ttl::Level(level))
                .await;
        } else if level == 2 {
            self.flush_hugetlb_tlb_range(cpu, mm, va).await;
        } else {
            self.leaf(cpu, mm, va, level).await;
        }
    }

    /// mprotect flushes whether it takes or gives.
    async fn relax(&self, cpu: Cpu<'_>, mm: Space, va: Va, level: u8) {
        self.restrict(cpu, mm, va, level).await;
    }

    /// `flush_tlb_range`: level and walk cache unknown.
    async fn range(&self, cpu: Cpu<'_>, mm: Space, va: Va, size: u64) {
        let range = Range {
            start: va,
            size,
            stride: PAGE,
            level: Ttl::Unknown,
            last_level: false,
        };
        self.__flush_tlb_range(cpu, mm, range).await;
    }

    /// `tlb_flush` of a whole mm: exit frees tables, and walk caches may point to them.
    async fn exit(&self, cpu: Cpu<'_>, mm: Space) {
        // Unnoticed: no walk of an unloaded context is in flight (switch `inflight`), and a
        // rollover flushes before the ASID is used again.
        self.flush_tlb_mm(cpu, mm).await;
    }

    /// `flush_tlb_fix_spurious_fault`: other CPUs take a fault of their own.
    async fn spurious(&self, cpu: Cpu<'_>, mm: Space, va: Va) {
        self.flush_tlb_page_local(cpu, mm, va, Ttl::Unknown).await;
    }

    /// A conflict abort, which no operation by address is certain to resolve.
    async fn conflict(&self, cpu: Cpu<'_>, _mm: Space) {
        cpu.dsb(Dsb::Nshst).await;
        cpu.tlbi(Tlbi::all(Kind::Vmalle1)).await;
        cpu.dsb(Dsb::Nsh).await;
        cpu.isb().await;
    }

    /// `flush_tlb_batched_pending`: the DSB of the batch is somebody else's, and completes
    /// nothing for this CPU.
    async fn pending(&self, cpu: Cpu<'_>, mm: Space) {
        let tlb_flush_batched = self.tlb_flush_batched[mm.0 as usize];
        let batch = tlb_flush_batched.read(cpu).await;
        let pending = batch & PENDING_MASK;
        if pending == batch >> FLUSHED_SHIFT {
            return;
        }
        cpu.goal(GOAL_BATCHED);
        if self.built.with(&defects::BATCH_DSB) {
            cpu.dsb(Dsb::Ish).await;
        } else {
            self.flush_tlb_mm(cpu, mm).await;
        }
        // If the number has grown meanwhile, the next in line flushes again.
        tlb_flush_batched
            .cmpxchg(cpu, batch, pending | pending << FLUSHED_SHIFT)
            .await;
    }
}
