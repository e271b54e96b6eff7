// SPDX-License-Identifier: GPL-2.0-only
//! A variant out of generic mm code and an architecture.

use super::{Fault, GOALS, Mm, Mmu, SYNC, hugetlb};
use crate::pgtable::page_table_ops;
use crate::{Defect, Source, Tagging, Variant};
use shootdown_machine::{
    Access, Boot, Config, Cpu, Done, Op, OpKind, Outcome, Page, Prot, Space, Va,
};

/// The variant.
#[derive(Debug)]
pub struct Kernel<A> {
    mm: Mm<A>,
}

impl<A: Mmu> Variant for Kernel<A> {
    const NAME: &'static str = A::NAME;
    const ABOUT: &'static str = A::ABOUT;
    const SOURCE: Source = A::SOURCE;
    const DEFECTS: &'static [Defect] = A::DEFECTS;
    const GOALS: &'static [&'static str] = GOALS;
    const TAGGING: Tagging = A::TAGGING;
    const FAULTS_MAP: bool = true;
    const OPS: &'static [OpKind] = &[
        OpKind::Switch,
        OpKind::SchedOut,
        OpKind::Map,
        OpKind::Unmap,
        OpKind::Protect,
        OpKind::Remap,
        OpKind::Split,
        OpKind::Collapse,
        OpKind::Touch,
        OpKind::Exit,
        OpKind::Reclaim,
        OpKind::Zap,
        OpKind::Clean,
        OpKind::Hint,
        OpKind::Gup,
        OpKind::Move,
        OpKind::Fork,
    ];

    fn has(op: Op) -> bool {
        Self::OPS.contains(&op.kind()) && hugetlb::has(op)
    }

    fn machine(config: Config) -> Config {
        A::machine(config)
    }

    fn boot(boot: &Boot<'_>) -> Self {
        Kernel { mm: Mm::boot(boot) }
    }

    async fn switch_to(&self, cpu: Cpu<'_>, prev: Option<Space>, next: Space) {
        let pgd = self.mm.pgd(cpu, next).await;
        self.mm.arch.switch_mm(cpu, prev, next, pgd).await;
    }
    async fn sched_out(&self, cpu: Cpu<'_>, prev: Space) {
        self.mm.arch.switch_to_init_mm(cpu, prev).await;
    }
    page_table_ops!(mm);

    async fn exit(&self, cpu: Cpu<'_>, mm: Space) -> Done {
        let done = self.mm.exit(cpu, mm).await;
        self.mm.arch.destroy_context(cpu, mm).await;
        done
    }
    async fn reclaim(&self, cpu: Cpu<'_>, mm: Space, va: Va) -> Done {
        self.mm.reclaim(cpu, mm, va).await
    }
    async fn zap(&self, cpu: Cpu<'_>, mm: Space, va: Va) -> Done {
        self.mm.zap(cpu, mm, va).await
    }
    async fn clean(&self, cpu: Cpu<'_>, mm: Space, va: Va) -> Done {
        self.mm.clean(cpu, mm, va).await
    }
    async fn hint(&self, cpu: Cpu<'_>, mm: Space, va: Va) -> Done {
        self.mm.hint(cpu, mm, va).await
    }
    async fn gup(&self, cpu: Cpu<'_>, mm: Space, va: Va) -> Done {
        self.mm.gup(cpu, mm, va).await
    }
    async fn mremap(&self, cpu: Cpu<'_>, mm: Space, va: Va, to: Va) -> Done {
        self.mm.mremap(cpu, mm, va, to).await
    }
    async fn fork(&self, cpu: Cpu<'_>, mm: Space, child: Space) -> Done {
        self.mm.fork(cpu, mm, child).await
    }

    async fn fault(&self, _: Cpu<'_>, _: Space, _: Va, _: Access, _: Outcome) -> bool {
        false // fault_in is called instead
    }
    async fn fault_in(
        &self,
        cpu: Cpu<'_>,
        mm: Space,
        va: Va,
        access: Access,
        why: Outcome,
        page: Page,
    ) -> bool {
        let fault = Fault {
            mm,
            va,
            access,
            page,
        };
        self.mm.fault(cpu, fault, why).await
    }

    async fn ipi(&self, cpu: Cpu<'_>, message: u64) {
        if message == SYNC {
            // Unnoticed: the acknowledgement is as much.
            cpu.smp_mb().await;
        } else {
            self.mm.arch.ipi(cpu, message).await;
        }
    }
}
