// SPDX-License-Identifier: GPL-2.0-only
//! Lazy harts: a kernel thread goes on with the tables of the mm before it, whose root table
//! is freed by the last who has it (`active_mm`, `mm_count`).

use shootdown_machine::{Boot, Cpu, Lock, Shared, Space};

/// The last lazy hart leaves an mm that has ended.
pub const LAST_LAZY: &str = "the last lazy hart frees the root table";

/// Says of an mm in `active_mm` that it has ended; below the root's address, with its number.
const DEAD: u64 = 8;

/// An mm in `active_mm`.
pub fn active(pgd: u64, mm: Space) -> u64 {
    pgd | mm.0 as u64
}

/// Its root table.
pub fn pgd_of(active: u64) -> u64 {
    active & !0xfff
}

/// The mm, if there is one and it has not ended.
pub fn alive(active: u64) -> Option<Space> {
    (active != 0 && active & DEAD == 0).then_some(Space(active as u8 & 7))
}

/// What every hart has loaded.
#[derive(Clone, Copy, Debug)]
pub struct Lazy {
    /// `current->active_mm`.
    active_mm: [Shared<u64>; 4],
    /// Guards the references of lazy harts (`mm_count` is an atomic in C).
    mm_count: Lock,
}

impl Lazy {
    /// No mm is active.
    pub fn boot(boot: &Boot<'_>) -> Lazy {
        Lazy {
            active_mm: boot.vars("active_mm", 0),
            mm_count: boot.lock("mm_count"),
        }
    }

    /// What this hart has loaded; 0: nothing.
    pub async fn active_mm(&self, cpu: Cpu<'_>) -> u64 {
        self.active_mm[cpu.id() as usize].read(cpu).await
    }

    /// From one running mm to the next: the old one is not this hart's to free.
    pub async fn set_active_mm(&self, cpu: Cpu<'_>, next: u64) {
        self.active_mm[cpu.id() as usize].write(cpu, next).await;
    }

    /// `mmdrop_lazy_tlb` of the mm that was active, which is `next` from now on.
    pub async fn mmdrop(&self, cpu: Cpu<'_>, next: u64) {
        self.mm_count.lock(cpu).await;
        let old = self.active_mm(cpu).await;
        self.set_active_mm(cpu, next).await;
        let last = old & DEAD != 0 && !self.is_active(cpu, old).await;
        self.mm_count.unlock(cpu).await;
        if last {
            cpu.goal(LAST_LAZY);
            cpu.free(pgd_of(old)).await;
        }
    }

    async fn is_active(&self, cpu: Cpu<'_>, mm: u64) -> bool {
        for i in 0..cpu.config().cpus as usize {
            if self.active_mm[i].read(cpu).await == mm {
                return true;
            }
        }
        false
    }

    /// An mm ends. Whether harts are lazy with it, so that its root table, which is empty by
    /// now, must stay.
    pub async fn mark_dead(&self, cpu: Cpu<'_>, mm: u64) -> bool {
        let mut any = false;
        self.mm_count.lock(cpu).await;
        for i in 0..cpu.config().cpus as usize {
            if self.active_mm[i].read(cpu).await == mm {
                // Unnoticed: then nobody frees the root. The rule against leaks looks when a
                // space ends, and lets a hart have it that is lazy then.
                self.active_mm[i].write(cpu, mm | DEAD).await;
                any = true;
            }
        }
        self.mm_count.unlock(cpu).await;
        any
    }
}
