// SPDX-License-Identifier: GPL-2.0-only
//! The ASID allocator (A1): `arch/arm64/mm/context.c`, Linux 6.12 to 7.3.

use super::{TAG_BITS, idx};
use crate::Defect;
use crate::consequences::{ALIASED, DIVERGED};
use shootdown_machine::arm64::{Kind, Reg, Tlbi, ttbr};
use shootdown_machine::{Boot, Cpu, Domain, Dsb, Lock, Shared, Space};

const ASID_FIRST_VERSION: u64 = 1 << TAG_BITS;

/// B-1: the fast path replaces a 0 in active_asids.
pub const XCHG: Defect = Defect {
    name: "B-1",
    about: "fast path exchanges active_asids unconditionally, even when it is already 0",
    source: "a8ffaaa060b8 \"arm64: asid: Do not replace active_asids if already 0\"",
    breaks: &[ALIASED, DIVERGED],
};

/// B-4: reserved ASIDs fall behind their mm after two rollovers.
pub const NOUPD: Defect = Defect {
    name: "B-4",
    about: "a hit among the reserved ASIDs does not update them to the new generation",
    source: "0ebea8088095 \"arm64: mm: keep reserved ASIDs in sync with mm after multiple rollovers\"",
    breaks: &[DIVERGED, ALIASED],
};

/// Broadcast instead of local flush on rollover.
pub const BROADCAST: Defect = Defect {
    name: "broadcast-flush",
    about: "rollover broadcasts one TLBI instead of making every CPU flush for itself",
    source: "Will Deacon, 22 Jul 2021, \"Align the VMID allocation with the arm64 ASID one\"",
    breaks: &[ALIASED],
};

/// B-2: no reserved TTBR0 before active_asids changes.
pub const TTBR_LATE: Defect = Defect {
    name: "B-2",
    about: "TTBR0 keeps the old table while active_asids already says the new ASID",
    source: "5ffdfaedfa0a \"arm64: mm: Support Common Not Private translations\"",
    breaks: &[ALIASED],
};

const FAST: &str = "fast path";

/// Places worth reaching, by any user of the allocator.
pub const GOALS: &[&str] = &[
    GOAL_ROLLOVER,
    GOAL_ROLLOVER_FAST,
    GOAL_RESERVED,
    GOAL_PENDING,
    GOAL_ZERO,
    GOAL_KEPT,
];
const GOAL_ROLLOVER: &str = "rollover";
const GOAL_ROLLOVER_FAST: &str = "rollover while another CPU is on its fast path";
const GOAL_RESERVED: &str = "mm finds its ASID reserved";
const GOAL_PENDING: &str = "slow path with a flush pending";
const GOAL_ZERO: &str = "active_asids is 0 at the fast path";
const GOAL_KEPT: &str = "old ASID still free in the new generation";

/// The allocator's state.
#[derive(Debug)]
pub struct Asids {
    num_asids: u64,
    cnp: bool,
    asid_generation: Shared<u64>,
    asid_map: Shared<u64>,
    cur_idx: Shared<u64>,
    active_asids: [Shared<u64>; 4],
    reserved_asids: [Shared<u64>; 4],
    tlb_flush_pending: Shared<u64>,
    cpu_asid_lock: Lock,
    /// `mm->context.id`.
    pub context_id: [Shared<u64>; 8],
    reserved_pg_dir: u64,
    xchg: bool,
    noupd: bool,
    broadcast: bool,
    ttbr_late: bool,
}

impl Asids {
    /// `asids_init`; `cnp`: the CPUs have FEAT_TTCNP and it is used.
    pub fn boot(boot: &Boot<'_>, cnp: bool) -> Asids {
        let reserved_pg_dir = boot.reserved_table();
        boot.sysreg(Reg::Ttbr0, reserved_pg_dir);
        Asids {
            num_asids: boot.config().tags as u64,
            cnp: cnp && boot.config().domain == Domain::Smt,
            asid_generation: boot.var("asid_generation", ASID_FIRST_VERSION),
            asid_map: boot.var("asid_map", 0),
            cur_idx: boot.var("cur_idx", 1),
            active_asids: boot.vars("active_asids", 0),
            reserved_asids: boot.vars("reserved_asids", 0),
            tlb_flush_pending: boot.var("tlb_flush_pending", 0),
            cpu_asid_lock: boot.lock("cpu_asid_lock"),
            context_id: boot.vars("context_id", 0),
            reserved_pg_dir,
            xchg: boot.has(XCHG.name),
            noupd: boot.has(NOUPD.name),
            broadcast: boot.has(BROADCAST.name),
            ttbr_late: boot.has(TTBR_LATE.name),
        }
    }

    async fn asid_gen_match(&self, cpu: Cpu<'_>, asid: u64) -> bool {
        (asid ^ self.asid_generation.read(cpu).await) >> TAG_BITS == 0
    }

    async fn flush_context(&self, cpu: Cpu<'_>) {
        cpu.goal(GOAL_ROLLOVER);
        if cpu.another_in(FAST) {
            cpu.goal(GOAL_ROLLOVER_FAST);
        }
        let mut map = 0;
        for i in 0..cpu.config().cpus as usize {
            let mut asid = self.active_asids[i].xchg_relaxed(cpu, 0).await;
            // This CPU has been through a rollover since it last switched: keep what it
            // had reserved then.
            if asid == 0 {
                asid = self.reserved_asids[i].read(cpu).await;
            }
            map |= 1 << idx(asid);
            self.reserved_asids[i].write(cpu, asid).await;
        }
        self.asid_map.write(cpu, map).await;
        if self.broadcast {
            cpu.dsb(Dsb::Ishst).await;
            cpu.tlbi(Tlbi::all(Kind::Vmalle1is)).await;
            cpu.dsb(Dsb::Ish).await;
            return;
        }
        self.tlb_flush_pending
            .write(cpu, (1 << cpu.config().cpus) - 1)
            .await;
    }

    async fn check_update_reserved_asid(&self, cpu: Cpu<'_>, asid: u64, newasid: u64) -> bool {
        let mut hit = false;
        // Every CPU, with no early exit: several may have it reserved.
        for i in 0..cpu.config().cpus as usize {
            if self.reserved_asids[i].read(cpu).await == asid {
                hit = true;
                if !self.noupd {
                    self.reserved_asids[i].write(cpu, newasid).await;
                }
            }
        }
        hit
    }

    /// The number of the first zero bit at or after `from`.
    async fn find_next_zero_bit(&self, cpu: Cpu<'_>, from: u64) -> Option<u64> {
        let map = self.asid_map.read(cpu).await;
        (from..self.num_asids).find(|i| map >> i & 1 == 0)
    }

    async fn new_context(&self, cpu: Cpu<'_>, mm: Space) -> u64 {
        let asid = self.context_id[mm.0 as usize].read(cpu).await;
        let mut generation = self.asid_generation.read(cpu).await;
        if asid != 0 {
            let newasid = generation | idx(asid);
            if self.check_update_reserved_asid(cpu, asid, newasid).await {
                cpu.goal(GOAL_RESERVED);
                return newasid;
            }
            // Not reserved, but free in this generation: keep the number.
            if self.asid_map.fetch_or(cpu, 1 << idx(asid)).await >> idx(asid) & 1 == 0 {
                cpu.goal(GOAL_KEPT);
                return newasid;
            }
        }
        let cur_idx = self.cur_idx.read(cpu).await;
        let mut found = self.find_next_zero_bit(cpu, cur_idx).await;
        if found.is_none() {
            generation = self
                .asid_generation
                .add_return_relaxed(cpu, ASID_FIRST_VERSION)
                .await;
            self.flush_context(cpu).await;
            found = self.find_next_zero_bit(cpu, 1).await;
        }
        let Some(asid) = found else {
            cpu.warn("no ASID is free after a rollover");
            return generation | 1;
        };
        self.asid_map.fetch_or(cpu, 1 << asid).await;
        // Unnoticed: only says where the next search begins.
        self.cur_idx.write(cpu, asid).await;
        generation | asid
    }

    /// `check_and_switch_context`: gives `mm` an ASID of this generation and loads it.
    pub async fn check_and_switch_context(&self, cpu: Cpu<'_>, mm: Space, pgd: u64) {
        let me = cpu.id() as usize;
        if self.cnp && !self.ttbr_late {
            self.cpu_set_reserved_ttbr0(cpu).await;
        }
        let asid = self.context_id[mm.0 as usize].read(cpu).await;
        let fast = if self.xchg {
            cpu.phase(FAST);
            self.asid_gen_match(cpu, asid).await
                && self.active_asids[me].xchg_relaxed(cpu, asid).await != 0
        } else {
            let old_active_asid = self.active_asids[me].read(cpu).await;
            if old_active_asid == 0 {
                cpu.goal(GOAL_ZERO);
            } else {
                cpu.phase(FAST);
            }
            // The test is "not 0", not "unchanged": only a rollover writes this slot
            // besides this CPU, and only ever a 0.
            old_active_asid != 0
                && self.asid_gen_match(cpu, asid).await
                && self.active_asids[me]
                    .cmpxchg_relaxed(cpu, old_active_asid, asid)
                    .await
                    != 0
        };
        cpu.phase("");
        if !fast {
            self.slow_path(cpu, mm).await;
        }
        self.cpu_switch_mm(cpu, mm, pgd).await;
    }

    async fn slow_path(&self, cpu: Cpu<'_>, mm: Space) {
        let me = cpu.id() as usize;
        cpu.slow_path();
        self.cpu_asid_lock.lock(cpu).await;
        let mut asid = self.context_id[mm.0 as usize].read(cpu).await;
        if !self.asid_gen_match(cpu, asid).await {
            asid = self.new_context(cpu, mm).await;
            self.context_id[mm.0 as usize].write(cpu, asid).await;
        }
        if self.tlb_flush_pending.fetch_andnot(cpu, 1 << me).await >> me & 1 != 0 {
            cpu.goal(GOAL_PENDING);
            self.local_flush_tlb_all(cpu).await;
        }
        self.active_asids[me].write(cpu, asid).await;
        self.cpu_asid_lock.unlock(cpu).await;
    }

    async fn cpu_set_reserved_ttbr0(&self, cpu: Cpu<'_>) {
        cpu.write_sysreg(Reg::Ttbr0, self.reserved_pg_dir).await;
        cpu.isb().await;
    }

    /// `cpu_do_switch_mm`. The ASID lives in TTBR1, and is read anew: once active_asids
    /// says it, a rollover keeps its number.
    async fn cpu_switch_mm(&self, cpu: Cpu<'_>, mm: Space, pgd: u64) {
        let asid = idx(self.context_id[mm.0 as usize].read(cpu).await) as u16;
        let cnp = self.cnp && asid != 0;
        cpu.write_sysreg(Reg::Ttbr0, self.reserved_pg_dir).await;
        cpu.write_sysreg(Reg::Ttbr1, ttbr::new(0, asid, false))
            .await;
        cpu.write_sysreg(Reg::Ttbr0, ttbr::new(pgd, 0, cnp)).await;
        // Unnoticed: until the next synchronization walks may use the old context; what they
        // make goes with the flush that a rollover leaves pending.
        cpu.isb().await;
    }

    /// Switching to init_mm, which has no user half.
    pub async fn switch_to_init_mm(&self, cpu: Cpu<'_>) {
        self.cpu_set_reserved_ttbr0(cpu).await;
    }

    /// `local_flush_tlb_all`.
    pub async fn local_flush_tlb_all(&self, cpu: Cpu<'_>) {
        // Unnoticed: descriptors are changed under locks, whose release makes them visible.
        cpu.dsb(Dsb::Nshst).await;
        cpu.tlbi(Tlbi::all(Kind::Vmalle1)).await;
        // Unnoticed: the DSB at the end of the switch completes the TLBI too, before any access.
        cpu.dsb(Dsb::Nsh).await;
        // Unnoticed: the switch that flushes goes on to an ISB of its own before any access.
        cpu.isb().await;
    }
}
