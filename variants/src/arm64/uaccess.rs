// SPDX-License-Identifier: GPL-2.0-only
//! Software PAN: the kernel runs with the reserved table in TTBR0, and each thread has saved
//! what is to be loaded for its user (`arch/arm64/include/asm/uaccess.h`, mmu_context.h).

use super::context::Asids;
use super::defects::{self, Built};
use super::idx;
use shootdown_machine::arm64::{Reg, ttbr};
use shootdown_machine::{Boot, Cpu, Shared, Space};

/// Threads of an mm that a CPU has. They take turns: a switch to the mm is one to the thread
/// that did not run last.
const THREADS: usize = 2;
const SPACES: usize = 8;

/// The saved values.
#[derive(Debug)]
pub struct SavedTtbr0 {
    /// `thread_info->ttbr0`, of each CPU's threads of each mm.
    ttbr0: [Shared<u64>; 4 * SPACES * THREADS],
    /// Of each CPU: a bit for each mm, which of the two threads ran last.
    ran: [Shared<u64>; 4],
    reserved_pg_dir: u64,
    built: Built,
}

impl SavedTtbr0 {
    /// Threads that have not run yet.
    pub fn boot(boot: &Boot<'_>, asids: &Asids, built: Built) -> SavedTtbr0 {
        SavedTtbr0 {
            ttbr0: boot.vars("thread_info.ttbr0", asids.reserved_pg_dir()),
            ran: boot.vars("ran", 0),
            reserved_pg_dir: asids.reserved_pg_dir(),
            built,
        }
    }

    /// What the two threads of an mm on a CPU have saved: the one that ran last, then the other.
    fn of(&self, cpu: u8, mm: Space, ran: u64) -> [Shared<u64>; THREADS] {
        let first = (cpu as usize * SPACES + mm.0 as usize) * THREADS;
        let thread = (ran >> mm.0 & 1) as usize;
        [self.ttbr0[first + thread], self.ttbr0[first + (thread ^ 1)]]
    }

    /// The scheduler picks the mm's other thread on this CPU.
    pub async fn pick_next_task(&self, cpu: Cpu<'_>, mm: Space) {
        let ran = self.ran[cpu.id() as usize];
        let before = ran.read(cpu).await;
        // Unnoticed: without it, the same thread runs again.
        ran.write(cpu, before ^ 1 << mm.0).await;
    }

    /// `update_saved_ttbr0`, for the thread that was picked. Its mm may have another ASID than
    /// when it ran last, though the mm was not switched to.
    pub async fn update_saved_ttbr0(
        &self,
        cpu: Cpu<'_>,
        asids: &Asids,
        prev: Option<Space>,
        mm: Space,
        pgd: u64,
    ) {
        if prev == Some(mm) && self.built.with(&defects::STALE_TTBR0) {
            return;
        }
        let ran = self.ran[cpu.id() as usize].read(cpu).await;
        let asid = idx(asids.context_id[mm.0 as usize].read(cpu).await) as u16;
        let ttbr0 = ttbr::new(pgd, asid, false);
        let [mine, clone] = self.of(cpu.id(), mm, ran);
        mine.write(cpu, ttbr0).await;
        // A thread begins as a copy of the one that makes it.
        if clone.read(cpu).await == self.reserved_pg_dir {
            // Unnoticed: it is saved anew before it is used.
            clone.write(cpu, ttbr0).await;
        }
    }

    /// The threads of an mm end with it.
    pub async fn exit(&self, cpu: Cpu<'_>, mm: Space) {
        for other in 0..cpu.config().cpus {
            for saved in self.of(other, mm, 0) {
                // Unnoticed: what a new thread has is saved anew before it is used.
                saved.write(cpu, self.reserved_pg_dir).await;
            }
        }
    }

    /// `__uaccess_ttbr0_enable`: the ASID goes to TTBR1, which has the reserved one with the
    /// reserved table.
    pub async fn uaccess_ttbr0_enable(&self, cpu: Cpu<'_>, mm: Space) {
        cpu.local_irq_save().await;
        let ran = self.ran[cpu.id() as usize].read(cpu).await;
        let ttbr0 = self.of(cpu.id(), mm, ran)[0].read(cpu).await;
        let asid = ttbr::tag(ttbr0);
        cpu.write_sysreg(Reg::Ttbr1, ttbr::new(0, asid, false))
            .await;
        let table = ttbr::new(ttbr::table(ttbr0), 0, false);
        cpu.write_sysreg(Reg::Ttbr0, table).await;
        // Unnoticed: user code begins with an exception return.
        cpu.isb().await;
        cpu.local_irq_enable().await;
    }

    /// `__uaccess_ttbr0_disable`, in the order that never has the user's table under the
    /// reserved ASID.
    pub async fn uaccess_ttbr0_disable(&self, cpu: Cpu<'_>) {
        cpu.local_irq_save().await;
        cpu.write_sysreg(Reg::Ttbr0, self.reserved_pg_dir).await;
        cpu.write_sysreg(Reg::Ttbr1, 0).await;
        // Unnoticed: until the next synchronization the kernel walks as the user did.
        cpu.isb().await;
        cpu.local_irq_enable().await;
    }
}
