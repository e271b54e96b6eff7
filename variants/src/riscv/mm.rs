// SPDX-License-Identifier: GPL-2.0-only
//! A RISC-V kernel's mms: the ASID allocator, the page tables, lazy switches and hotplug.

use super::context::{Contexts, MISSED};
use super::lazy::{self, Lazy};
use super::tlbflush::{Remote, TlbFlush};
use crate::pgtable::{PageTables, page_table_ops};
use crate::{Defect, Source, Tagging, Variant};
use core::marker::PhantomData;
use shootdown_machine::arm64::Stage;
use shootdown_machine::riscv::{Fence, satp};
use shootdown_machine::{
    Access, Arch, Boot, Config, Cpu, Done, Lock, OpKind, Outcome, Page, Prot, Shared, Space, Va,
};

/// B-46: a hart that goes offline stays in the masks.
pub const OFFLINE: Defect = Defect {
    name: "B-46-offline",
    about: "a hart that goes offline stays in the masks; the SBI refuses fences for it, and nobody looks",
    source: "ae9e9f3d67dc \"riscv: clear hot-unplugged cores from all task mm_cpumasks to avoid rfence errors\"",
    breaks: &[MISSED],
    needs: &[],
};

/// What a kernel is built with.
pub trait Flavour: 'static {
    /// See [`Variant`].
    const NAME: &'static str;
    /// See [`Variant`].
    const ABOUT: &'static str;
    /// See [`Variant`].
    const SOURCE: Source;
    /// See [`Variant`].
    const DEFECTS: &'static [Defect];
    /// See [`Variant`].
    const GOALS: &'static [&'static str];
    /// See [`Variant`].
    const OPS: &'static [OpKind] = OPS;
    /// There are enough ASIDs.
    const ASIDS: bool = true;
    /// How fences reach other harts.
    const REMOTE: Remote = Remote::Sbi;
    /// Svinval.
    const SVINVAL: bool = false;
}

/// What these kernels implement.
pub const OPS: &[OpKind] = &[
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
    OpKind::Offline,
];

/// The mms of a kernel.
#[derive(Debug)]
pub struct Mms<F> {
    contexts: Contexts,
    tables: PageTables<TlbFlush>,
    lazy: Lazy,
    swapper_pg_dir: u64,
    cpu_online_mask: Shared<u64>,
    cpu_hotplug_lock: Lock,
    stay_in_masks: bool,
    flavour: PhantomData<F>,
}

impl<F: Flavour> Mms<F> {
    /// `stop_machine`: what others do with preemption off is over.
    async fn stop_machine(&self, cpu: Cpu<'_>) {
        let online = self.cpu_online_mask.read(cpu).await;
        for hart in (0..cpu.config().cpus).filter(|h| *h != cpu.id()) {
            if online >> hart & 1 != 0 {
                cpu.send_ipi(hart, STOP).await;
            }
        }
        cpu.wait_ipis().await;
    }
}

/// The message of an IPI that only wants to be answered.
const STOP: u64 = u64::MAX;

/// Places worth reaching, besides those of the allocator.
pub const GOALS: &[&str] = &[LAZY_SAME, lazy::LAST_LAZY, OFFLINE_MASKED];
const LAZY_SAME: &str = "back to the mm that was lazily active";
const OFFLINE_MASKED: &str = "a hart goes offline that was in a mask";

impl<F: Flavour> Variant for Mms<F> {
    const NAME: &'static str = F::NAME;
    const ABOUT: &'static str = F::ABOUT;
    const SOURCE: Source = F::SOURCE;
    const DEFECTS: &'static [Defect] = F::DEFECTS;
    const GOALS: &'static [&'static str] = F::GOALS;
    const OPS: &'static [OpKind] = F::OPS;
    const TAGGING: Tagging = if F::ASIDS {
        Tagging::Global
    } else {
        Tagging::PerCpu
    };

    fn machine(config: Config) -> Config {
        Config {
            arch: Arch::Riscv,
            ..config
        }
    }

    fn boot(boot: &Boot<'_>) -> Self {
        let contexts = Contexts::boot(boot, F::ASIDS);
        let lazy = Lazy::boot(boot);
        let online = boot.var("cpu_online_mask", (1 << boot.config().cpus) - 1);
        let flush = |_| TlbFlush::new(boot, &contexts, online, lazy, F::REMOTE, F::SVINVAL);
        let tables = PageTables::boot(boot, Stage::One, "mmap_lock", flush).free_pgtables();
        Mms {
            contexts,
            tables,
            lazy,
            swapper_pg_dir: boot.reserved_table(),
            cpu_online_mask: online,
            cpu_hotplug_lock: boot.lock("cpu_hotplug_lock"),
            stay_in_masks: boot.has(OFFLINE.name),
            flavour: PhantomData,
        }
    }

    /// `context_switch`, interrupts masked, to an mm: nothing is to be done where the hart has
    /// been lazy with it.
    async fn switch_to(&self, cpu: Cpu<'_>, prev: Option<Space>, next: Space) {
        cpu.local_irq_save().await;
        let was = self.lazy.active_mm(cpu).await;
        let pgd = self.tables.pgd(cpu, next).await;
        if lazy::pgd_of(was) == pgd {
            cpu.goal(LAZY_SAME);
        } else {
            let alive = lazy::alive(was);
            self.contexts.switch_mm(cpu, alive, next, pgd).await;
            let now = lazy::active(pgd, next);
            // finish_task_switch. Who was not lazy has no reference to give back.
            if prev.is_none() && was != 0 {
                self.lazy.mmdrop(cpu, now).await;
            } else {
                self.lazy.set_active_mm(cpu, now).await;
            }
        }
        cpu.local_irq_enable().await;
    }

    /// `enter_lazy_tlb`: the tables stay loaded, and are walked.
    async fn sched_out(&self, _cpu: Cpu<'_>, _prev: Space) {}

    page_table_ops!();

    async fn reclaim(&self, cpu: Cpu<'_>, mm: Space, va: Va) -> Done {
        self.tables.reclaim(cpu, mm, va).await
    }

    /// `exit_mmap` and `mmdrop`; the ASID is not given back, a rollover will collect it.
    async fn exit(&self, cpu: Cpu<'_>, mm: Space) -> Done {
        let done = self.tables.exit(cpu, mm).await;
        self.contexts.init_new_context(cpu, mm).await;
        done
    }

    async fn fault(&self, cpu: Cpu<'_>, mm: Space, va: Va, access: Access, why: Outcome) -> bool {
        self.tables.fault(cpu, mm, va, access, why).await
    }

    async fn ipi(&self, cpu: Cpu<'_>, message: u64) {
        if message != STOP {
            self.tables.flush.ipi(cpu, message).await;
        }
    }

    /// `idle_task_exit`, `__cpu_disable`, `clear_tasks_mm_cpumask`, and the SBI's HART_STOP.
    async fn offline(&self, cpu: Cpu<'_>, _prev: Option<Space>) {
        let me = 1 << cpu.id();
        // Unnoticed: stop_machine would have to know who stops meanwhile, but a hart that has
        // stopped answers IPIs here.
        self.cpu_hotplug_lock.lock(cpu).await;
        self.cpu_online_mask.andnot_relaxed(cpu, me).await;
        cpu.write_satp(satp(self.swapper_pg_dir, 0)).await;
        // Walks that satp has not ended must be over before this hart is in no mask.
        // Unnoticed: it has ended them, but for the switch `inflight`.
        cpu.sfence_vma(Fence::All).await;
        self.lazy.mmdrop(cpu, 0).await;
        if !self.stay_in_masks {
            for mm in 0..cpu.config().spaces as usize {
                let mask = self.contexts.mm_cpumask[mm];
                if mask.fetch_andnot(cpu, me).await & me != 0 {
                    cpu.goal(OFFLINE_MASKED);
                }
            }
        }
        self.stop_machine(cpu).await;
        cpu.hart_stop().await;
        self.cpu_hotplug_lock.unlock(cpu).await;
    }

    /// `smp_callin`: fences for this hart went past it while it was away.
    async fn online(&self, cpu: Cpu<'_>) {
        // Unnoticed: stop_machine would have to know who stops meanwhile, but a hart that has
        // stopped answers IPIs here.
        self.cpu_hotplug_lock.lock(cpu).await;
        cpu.hart_start().await;
        // Unnoticed: it had nothing cached when it went, which hardware is not bound to.
        cpu.sfence_vma(Fence::All).await;
        self.cpu_online_mask.or_relaxed(cpu, 1 << cpu.id()).await;
        self.cpu_hotplug_lock.unlock(cpu).await;
    }
}
