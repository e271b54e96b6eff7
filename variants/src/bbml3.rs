// SPDX-License-Identifier: GPL-2.0-only
//! arm64 kernels that change the size of live mappings under BBML3 (FEAT_BBM level 2 without
//! conflict aborts; until 7.2 bbml2_noabort): the mainline ASID allocator over tables of their own.

use crate::arm64::context::Asids;
use crate::arm64::defects::Built;
use crate::pgtable::page_table_ops;
use crate::{Defect, Source, Variant};
use shootdown_machine::{
    Access, Boot, Config, Cpu, Done, Dsb, OpKind, Outcome, Page, Prot, Shared, Space, Va,
};

/// Tables, and how they are changed; the operations are those of [`Variant`].
#[allow(missing_docs)]
pub trait Tables: Sized + 'static {
    const NAME: &'static str;
    const ABOUT: &'static str;
    const SOURCE: Source;
    const OPS: &'static [OpKind];
    const DEFECTS: &'static [Defect];
    const GOALS: &'static [&'static str];
    fn machine(config: Config) -> Config {
        config
    }
    fn boot(boot: &Boot<'_>, context_id: [Shared<u64>; 8]) -> Self;
    async fn pgd(&self, cpu: Cpu<'_>, space: Space) -> u64;
    async fn map(&self, cpu: Cpu<'_>, space: Space, va: Va, page: Page) -> Done;
    async fn unmap(&self, cpu: Cpu<'_>, space: Space, va: Va) -> Done;
    async fn protect(&self, cpu: Cpu<'_>, space: Space, va: Va, prot: Prot) -> Done;
    async fn remap(&self, _cpu: Cpu<'_>, _space: Space, _va: Va, _page: Page) -> Done {
        Done::No
    }
    async fn split(&self, cpu: Cpu<'_>, space: Space, va: Va) -> Done;
    async fn collapse(&self, _cpu: Cpu<'_>, _space: Space, _va: Va, _page: Page) -> Done {
        Done::No
    }
    async fn age(&self, _cpu: Cpu<'_>, _space: Space, _va: Va) -> Done {
        Done::No
    }
    async fn exit(&self, cpu: Cpu<'_>, space: Space) -> Done;
    async fn fault(&self, cpu: Cpu<'_>, space: Space, va: Va, access: Access, why: Outcome)
    -> bool;
}

/// A kernel with such tables.
#[derive(Debug)]
pub struct Kernel<T> {
    asids: Asids,
    tables: T,
}

impl<T: Tables> Variant for Kernel<T> {
    const NAME: &'static str = T::NAME;
    const ABOUT: &'static str = T::ABOUT;
    const SOURCE: Source = T::SOURCE;
    const OPS: &'static [OpKind] = T::OPS;
    const DEFECTS: &'static [Defect] = T::DEFECTS;
    const GOALS: &'static [&'static str] = T::GOALS;

    fn machine(config: Config) -> Config {
        T::machine(config)
    }

    fn boot(boot: &Boot<'_>) -> Self {
        let asids = Asids::boot(boot, false, false, Built::of(boot, &[]));
        let tables = T::boot(boot, asids.context_id);
        Kernel { asids, tables }
    }

    async fn switch_to(&self, cpu: Cpu<'_>, _prev: Option<Space>, next: Space) {
        cpu.local_irq_save().await;
        let pgd = self.tables.pgd(cpu, next).await;
        self.asids.check_and_switch_context(cpu, next).await;
        self.asids.cpu_switch_mm(cpu, next, pgd).await;
        // Unnoticed: threads do not migrate between a TLBI and its DSB here, and the ISB has
        // ended the walks of the old context.
        cpu.dsb(Dsb::Ish).await;
        cpu.local_irq_enable().await;
    }

    async fn sched_out(&self, cpu: Cpu<'_>, _prev: Space) {
        self.asids.switch_to_init_mm(cpu).await;
    }

    page_table_ops!();

    async fn age(&self, cpu: Cpu<'_>, space: Space, va: Va) -> Done {
        self.tables.age(cpu, space, va).await
    }

    async fn exit(&self, cpu: Cpu<'_>, space: Space) -> Done {
        let done = self.tables.exit(cpu, space).await;
        // Unnoticed: the dead mm's entries under its ASID were just flushed; its successor
        // could keep it.
        self.asids.context_id[space.0 as usize].write(cpu, 0).await;
        done
    }

    async fn fault(&self, cpu: Cpu<'_>, mm: Space, va: Va, access: Access, why: Outcome) -> bool {
        self.tables.fault(cpu, mm, va, access, why).await
    }
}
