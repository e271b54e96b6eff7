// SPDX-License-Identifier: GPL-2.0-only
//! Page-table isolation: the user's PCID of an mm, a twin of the kernel's
//! (`arch/x86/entry/calling.h`, `invalidate_user_asid`). The user's root table, which has the same
//! user mappings as the kernel's, is the kernel's here.

use super::flush::read_cr3_pa;
use super::tlbstate::Tlb;
use shootdown_machine::Cpu;
use shootdown_machine::x86::{NOFLUSH, cr3};

/// X86_CR3_PTI_PCID_USER_BIT.
const USER: u16 = 1 << 11;

pub(super) const GOAL_TWIN: &str = "the user's PCID is flushed on the way to the user";

impl Tlb {
    pub(super) fn user_pcid(&self, asid: u64) -> u16 {
        self.kern_pcid(asid) | USER
    }

    /// `invalidate_user_asid`, interrupts masked.
    pub(super) async fn invalidate_user_asid(&self, cpu: Cpu<'_>, asid: u64) {
        if self.features.pti && !self.bugs.no_user_mask {
            let mask = &self.user_pcid_flush_mask[cpu.id() as usize];
            let others = mask.read(cpu).await;
            mask.write(cpu, others | 1 << self.kern_pcid(asid)).await;
        }
    }

    /// Whether the CPU is with the user: a register, so no step.
    pub(super) fn is_user(&self, cpu: Cpu<'_>) -> bool {
        let loaded = cpu.with(|state| state.loaded(cpu.id()));
        self.features.pti && loaded.is_some_and(|ctx| ctx.tags.asid & USER != 0)
    }

    /// `SWITCH_TO_USER_CR3`, on the way out of the kernel.
    pub(super) async fn switch_to_user_cr3(&self, cpu: Cpu<'_>) {
        if !self.features.pti {
            return;
        }
        cpu.local_irq_save().await;
        let me = cpu.id() as usize;
        let asid = self.loaded_mm_asid[me].read(cpu).await;
        let bit = 1 << self.kern_pcid(asid);
        let mask = self.user_pcid_flush_mask[me].read(cpu).await;
        let mut noflush = NOFLUSH;
        if mask & bit != 0 {
            cpu.goal(GOAL_TWIN);
            // Unnoticed: without it the twin is flushed again and again.
            self.user_pcid_flush_mask[me].write(cpu, mask & !bit).await;
            noflush = 0;
        }
        cpu.write_cr3(cr3(read_cr3_pa(cpu), self.user_pcid(asid)) | noflush)
            .await;
        cpu.local_irq_enable().await;
    }

    /// `SWITCH_TO_KERNEL_CR3`, on the way in.
    pub(super) async fn switch_to_kernel_cr3(&self, cpu: Cpu<'_>) {
        if !self.features.pti {
            return;
        }
        cpu.local_irq_save().await;
        let asid = self.loaded_mm_asid[cpu.id() as usize].read(cpu).await;
        let kernel = cr3(read_cr3_pa(cpu), self.kern_pcid(asid));
        cpu.write_cr3(kernel | NOFLUSH).await;
        cpu.local_irq_enable().await;
    }
}
