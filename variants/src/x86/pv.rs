// SPDX-License-Identifier: GPL-2.0-only
//! `kvm_flush_tlb_multi`: a vCPU that its host has preempted is flushed when it comes back.

use super::tlbstate::Tlb;
use shootdown_machine::Cpu;
use shootdown_machine::x86::{FLUSH_TLB, PREEMPTED};

impl Tlb {
    /// Asks the host, where vCPUs do not run; those that are left to flush.
    pub(super) async fn kvm_flush_tlb_multi(&self, cpu: Cpu<'_>, mask: u64) -> u64 {
        let mut left = mask;
        // The local vCPU is never preempted; the kernel does not skip it either.
        for target in (0..cpu.config().cpus).filter(|c| mask >> c & 1 != 0) {
            let word = &self.preempted[target as usize];
            let state = word.read(cpu).await;
            if state & PREEMPTED == 0 {
                continue;
            }
            if self.bugs.plain_wish {
                word.write(cpu, state | FLUSH_TLB).await;
            } else if word.cmpxchg(cpu, state, state | FLUSH_TLB).await != state {
                cpu.goal(GOAL_BACK);
                continue;
            }
            cpu.goal(GOAL_PREEMPTED);
            left &= !(1 << target);
        }
        left
    }
}

pub(super) const GOAL_PREEMPTED: &str = "flush left to the host";
pub(super) const GOAL_BACK: &str = "vCPU comes back while the guest asks";
