// SPDX-License-Identifier: GPL-2.0-only
//! The flush API of arm64 (`arch/arm64/include/asm/tlbflush.h`, Linux 7.3).

use super::idx;
use super::mm::NSH;
use crate::Defect;
use crate::consequences::DIVERGED;
use crate::pgtable::Flush;
use shootdown_machine::arm64::{Kind, Tlbi, Ttl};
use shootdown_machine::{Boot, Cpu, Dsb, PAGE, Shared, Space, Va};

/// B-3: the flush may name an ASID that a rollover has replaced.
pub const ASID_FIRST: Defect = Defect {
    name: "B-3",
    about: "flushes read the mm's ASID before the DSB that makes the descriptor visible",
    source: "5e10f9887ed8 \"arm64: mm: Fix TLBI vs ASID rollover\"",
    breaks: &[DIVERGED],
};

/// Flushes by ASID, in every CPU.
#[derive(Debug)]
pub struct TlbFlush {
    /// `mm->context.id`.
    context_id: [Shared<u64>; 8],
    /// B-20 (nsh): permission changes are flushed on this CPU only.
    nsh: bool,
    /// B-3: the id is read before the DSB.
    asid_first: bool,
}

impl TlbFlush {
    /// For the mms whose ids these are.
    pub fn new(boot: &Boot<'_>, context_id: [Shared<u64>; 8]) -> TlbFlush {
        TlbFlush {
            context_id,
            nsh: boot.has(NSH.name),
            asid_first: boot.has(ASID_FIRST.name),
        }
    }

    /// `dsb(ishst)` (or nshst) and `ASID(mm)`, in this order: a rollover that is not seen here
    /// cannot have let a walker see the old descriptor under a newer ASID.
    async fn dsb_then_asid(&self, cpu: Cpu<'_>, dsb: Dsb, mm: Space) -> u16 {
        if self.asid_first {
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

    async fn flush_tlb_page_local(&self, cpu: Cpu<'_>, mm: Space, va: Va, ttl: Ttl) {
        let granule = cpu.config().granule;
        let asid = self.dsb_then_asid(cpu, Dsb::Nshst, mm).await;
        cpu.tlbi(Tlbi::addr_in(granule, Kind::Vale1, va, asid, ttl))
            .await;
        cpu.dsb(Dsb::Nsh).await;
    }
}

impl Flush for TlbFlush {
    /// `flush_tlb_page`: the last level, with its hint.
    async fn leaf(&self, cpu: Cpu<'_>, mm: Space, va: Va, level: u8) {
        let granule = cpu.config().granule;
        let asid = self.dsb_then_asid(cpu, Dsb::Ishst, mm).await;
        cpu.tlbi(Tlbi::addr_in(
            granule,
            Kind::Vale1is,
            va,
            asid,
            Ttl::Level(level),
        ))
        .await;
        cpu.dsb(Dsb::Ish).await;
    }

    async fn restrict(&self, cpu: Cpu<'_>, mm: Space, va: Va, level: u8) {
        if self.nsh {
            self.flush_tlb_page_local(cpu, mm, va, Ttl::Level(level))
                .await;
        } else {
            self.leaf(cpu, mm, va, level).await;
        }
    }

    /// mprotect flushes whether it takes or gives.
    async fn relax(&self, cpu: Cpu<'_>, mm: Space, va: Va, level: u8) {
        self.restrict(cpu, mm, va, level).await;
    }

    /// `__flush_tlb_range` with level and walk cache unknown: an odd page by itself, the rest
    /// by range operations, largest scale first.
    async fn range(&self, cpu: Cpu<'_>, mm: Space, va: Va, size: u64) {
        let granule = cpu.config().granule;
        let asid = self.dsb_then_asid(cpu, Dsb::Ishst, mm).await;
        let (mut addr, mut pages) = (va, size / PAGE);
        let mut scale = 3;
        while pages > 0 {
            if pages == 1 {
                cpu.tlbi(Tlbi::addr_in(
                    granule,
                    Kind::Vae1is,
                    addr,
                    asid,
                    Ttl::Unknown,
                ))
                .await;
                break;
            }
            // The largest NUM of this scale that stays inside; none: the next scale.
            let units = (pages >> (5 * scale + 1)).min(32);
            if units == 0 {
                scale -= 1;
                continue;
            }
            let op = Tlbi::range_in(
                granule,
                Kind::Rvae1is,
                addr,
                scale,
                units as u8 - 1,
                asid,
                Ttl::Unknown,
            );
            cpu.tlbi(op).await;
            addr += (units << (5 * scale + 1)) * PAGE;
            pages -= units << (5 * scale + 1);
        }
        cpu.dsb(Dsb::Ish).await;
    }

    /// `flush_tlb_mm`: exit frees tables, and walk caches may point to them.
    async fn exit(&self, cpu: Cpu<'_>, mm: Space) {
        let asid = self.dsb_then_asid(cpu, Dsb::Ishst, mm).await;
        // Unnoticed: no walk of an unloaded context is in flight (switch `inflight`), and a
        // rollover flushes before the ASID is used again.
        cpu.tlbi(Tlbi::asid(Kind::Aside1is, asid)).await;
        cpu.dsb(Dsb::Ish).await;
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
}
