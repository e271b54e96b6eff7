// SPDX-License-Identifier: GPL-2.0-only
//! The ASID allocator (A1): `arch/arm64/mm/context.c`, Linux 6.12 to 7.3.

use super::defects::{self, Built};
use super::{TAG_BITS, idx};
use shootdown_machine::arm64::{Kind, Reg, Tlbi, ttbr};
use shootdown_machine::{Boot, Cpu, Domain, Done, Dsb, Lock, Shared, Space};

const ASID_FIRST_VERSION: u64 = 1 << TAG_BITS;

const FAST: &str = "fast path";

/// Places worth reaching, by any user of the allocator and of what takes pages away.
pub const GOALS: &[&str] = &[
    GOAL_ROLLOVER,
    GOAL_ROLLOVER_FAST,
    GOAL_RESERVED,
    GOAL_PENDING,
    GOAL_ZERO,
    GOAL_KEPT,
    GOAL_PINNED,
    GOAL_BATCHED,
    GOAL_EMPTY,
];
const GOAL_ROLLOVER: &str = "rollover";
const GOAL_ROLLOVER_FAST: &str = "rollover while another CPU is on its fast path";
const GOAL_RESERVED: &str = "mm finds its ASID reserved";
const GOAL_PENDING: &str = "slow path with a flush pending";
const GOAL_ZERO: &str = "active_asids is 0 at the fast path";
const GOAL_KEPT: &str = "old ASID still free in the new generation";
const GOAL_PINNED: &str = "a pinned mm keeps its ASID over a rollover";

/// See [`TlbFlush`](super::tlbflush::TlbFlush).
pub(super) const GOAL_BATCHED: &str = "an operation meets a batched unmap";
/// See [`unmap`](super::unmap::unmap).
pub(super) const GOAL_EMPTY: &str = "a table that is empty is freed";

/// With KPTI, the ASID that user code runs under: the odd one of a pair.
pub const USER_ASID_FLAG: u64 = 1;
/// The odd numbers, which are never handed out by themselves.
const KPTI_ASID_BITS: u64 = 0xaaaa_aaaa_aaaa_aaaa;

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
    pinned_asid_map: Shared<u64>,
    nr_pinned_asids: Shared<u64>,
    max_pinned_asids: u64,
    /// `mm->context.pinned`.
    pinned: [Shared<u64>; 8],
    reserved_pg_dir: u64,
    built: Built,
}

impl Asids {
    /// `asids_init`; `cnp`: the CPUs have FEAT_TTCNP and it is used.
    pub fn boot(boot: &Boot<'_>, cnp: bool, kpti: bool, built: Built) -> Asids {
        let reserved_pg_dir = boot.reserved_table();
        boot.sysreg(Reg::Ttbr0, reserved_pg_dir);
        let (num_asids, cpus) = (boot.config().tags as u64, boot.config().cpus as u64);
        let reserved_bits = if kpti { KPTI_ASID_BITS } else { 0 };
        Asids {
            num_asids,
            cnp: cnp && boot.config().domain == Domain::Smt,
            asid_generation: boot.var("asid_generation", ASID_FIRST_VERSION),
            asid_map: boot.var("asid_map", reserved_bits),
            cur_idx: boot.var("cur_idx", 1),
            active_asids: boot.vars("active_asids", 0),
            reserved_asids: boot.vars("reserved_asids", 0),
            tlb_flush_pending: boot.var("tlb_flush_pending", 0),
            cpu_asid_lock: boot.lock("cpu_asid_lock"),
            context_id: boot.vars("context_id", 0),
            pinned_asid_map: boot.var("pinned_asid_map", reserved_bits),
            nr_pinned_asids: boot.var("nr_pinned_asids", 0),
            max_pinned_asids: (num_asids >> kpti as u64).saturating_sub(cpus + 2),
            pinned: boot.vars("pinned", 0),
            reserved_pg_dir,
            built,
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
        let mut map = if self.built.with(&defects::UNPINNED) {
            0
        } else {
            self.pinned_asid_map.read(cpu).await
        };
        for i in 0..cpu.config().cpus as usize {
            let mut asid = self.active_asids[i].xchg_relaxed(cpu, 0).await;
            // This CPU has been through a rollover since it last switched: keep what it
            // had reserved then.
            if asid == 0 && !self.built.with(&defects::NO_RESERVED) {
                asid = self.reserved_asids[i].read(cpu).await;
            }
            map |= 1 << idx(asid);
            self.reserved_asids[i].write(cpu, asid).await;
        }
        self.asid_map.write(cpu, map).await;
        if self.built.with(&defects::BROADCAST) {
            cpu.dsb(Dsb::Ishst).await;
            cpu.tlbi(Tlbi::all(Kind::Vmalle1is)).await;
            cpu.dsb(Dsb::Ish).await;
            return;
        }
        if !self.built.with(&defects::NO_PENDING) {
            self.tlb_flush_pending
                .write(cpu, (1 << cpu.config().cpus) - 1)
                .await;
        }
    }

    async fn check_update_reserved_asid(&self, cpu: Cpu<'_>, asid: u64, newasid: u64) -> bool {
        let mut hit = false;
        // Every CPU, with no early exit: several may have it reserved.
        for i in 0..cpu.config().cpus as usize {
            if self.reserved_asids[i].read(cpu).await == asid {
                hit = true;
                if !self.built.with(&defects::NOUPD) {
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
            // Nobody else can have got the number of a pinned one.
            if self.pinned[mm.0 as usize].read(cpu).await != 0 {
                cpu.goal(GOAL_PINNED);
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

    /// `check_and_switch_context`, but for the switch of the registers at its end: gives `mm` an
    /// ASID of this generation that a rollover does not take away.
    pub async fn check_and_switch_context(&self, cpu: Cpu<'_>, mm: Space) {
        if self.cnp && !self.built.with(&defects::TTBR_LATE) {
            self.cpu_set_reserved_ttbr0(cpu).await;
        }
        let asid = self.context_id[mm.0 as usize].read(cpu).await;
        let fast = self.fast_path(cpu, asid).await;
        cpu.phase("");
        if !fast {
            self.slow_path(cpu, mm).await;
        }
    }

    async fn fast_path(&self, cpu: Cpu<'_>, asid: u64) -> bool {
        let active_asid = self.active_asids[cpu.id() as usize];
        if self.built.with(&defects::XCHG) {
            cpu.phase(FAST);
            return self.asid_gen_match(cpu, asid).await
                && active_asid.xchg_relaxed(cpu, asid).await != 0;
        }
        let old_active_asid = active_asid.read(cpu).await;
        if old_active_asid == 0 {
            cpu.goal(GOAL_ZERO);
            if !self.built.with(&defects::NO_ZERO_TEST) {
                return false;
            }
        }
        cpu.phase(FAST);
        // The test is "not 0", not "unchanged": only a rollover writes this slot besides this
        // CPU, and only ever a 0.
        self.asid_gen_match(cpu, asid).await
            && active_asid
                .cmpxchg_relaxed(cpu, old_active_asid, asid)
                .await
                != 0
    }

    async fn slow_path(&self, cpu: Cpu<'_>, mm: Space) {
        let me = cpu.id() as usize;
        cpu.slow_path();
        self.cpu_asid_lock.lock(cpu).await;
        let asid = self.current_context(cpu, mm).await;
        if self.tlb_flush_pending.fetch_andnot(cpu, 1 << me).await >> me & 1 != 0 {
            cpu.goal(GOAL_PENDING);
            self.local_flush_tlb_all(cpu).await;
        }
        let late = self.built.with(&defects::ACTIVE_LATE);
        if !late {
            self.active_asids[me].write(cpu, asid).await;
        }
        self.cpu_asid_lock.unlock(cpu).await;
        if late {
            self.active_asids[me].write(cpu, asid).await;
        }
    }

    /// An ASID of this generation, the mm's own if it has one. Under the lock.
    async fn current_context(&self, cpu: Cpu<'_>, mm: Space) -> u64 {
        let mut asid = self.context_id[mm.0 as usize].read(cpu).await;
        if !self.asid_gen_match(cpu, asid).await {
            asid = self.new_context(cpu, mm).await;
            self.context_id[mm.0 as usize].write(cpu, asid).await;
        }
        asid
    }

    /// `arm64_mm_context_get`: keeps the mm's ASID for a device, as long as enough are left.
    pub async fn arm64_mm_context_get(&self, cpu: Cpu<'_>, mm: Space) -> Done {
        let pinned = self.pinned[mm.0 as usize];
        self.cpu_asid_lock.lock(cpu).await;
        let users = pinned.read(cpu).await;
        let mut done = Done::No;
        if users != 0 {
            // Unnoticed: a device would lose the ASID early, and there are none here.
            pinned.write(cpu, users + 1).await;
            done = Done::Yes;
        } else {
            let nr_pinned_asids = self.nr_pinned_asids.read(cpu).await;
            if nr_pinned_asids < self.max_pinned_asids {
                // It may be of an older generation; then it is a new one that is kept.
                let asid = self.current_context(cpu, mm).await;
                self.nr_pinned_asids.write(cpu, nr_pinned_asids + 1).await;
                self.pinned_asid_map.fetch_or(cpu, 1 << idx(asid)).await;
                // Unnoticed: as above; the mm goes on under another ASID.
                pinned.write(cpu, 1).await;
                done = Done::Yes;
            }
        }
        self.cpu_asid_lock.unlock(cpu).await;
        done
    }

    /// `arm64_mm_context_put`.
    pub async fn arm64_mm_context_put(&self, cpu: Cpu<'_>, mm: Space) -> Done {
        let pinned = self.pinned[mm.0 as usize];
        let asid = self.context_id[mm.0 as usize].read(cpu).await;
        self.cpu_asid_lock.lock(cpu).await;
        let users = pinned.read(cpu).await;
        if users != 0 {
            // Unnoticed: the ASID stays pinned.
            pinned.write(cpu, users - 1).await;
        }
        if users == 1 {
            self.pinned_asid_map.fetch_andnot(cpu, 1 << idx(asid)).await;
            let nr_pinned_asids = self.nr_pinned_asids.read(cpu).await;
            // Unnoticed: fewer can be pinned from now on.
            self.nr_pinned_asids
                .write(cpu, nr_pinned_asids.saturating_sub(1))
                .await;
        }
        self.cpu_asid_lock.unlock(cpu).await;
        if users == 0 { Done::No } else { Done::Yes }
    }

    /// `mm_init` of the next mm. Devices have let go of the one that ended.
    pub async fn init_new_context(&self, cpu: Cpu<'_>, mm: Space) {
        while self.arm64_mm_context_put(cpu, mm).await == Done::Yes {}
        // Unnoticed: the dead mm's entries under its ASID were just flushed; its successor
        // could keep it.
        self.context_id[mm.0 as usize].write(cpu, 0).await;
    }

    async fn cpu_set_reserved_ttbr0(&self, cpu: Cpu<'_>) {
        cpu.write_sysreg(Reg::Ttbr0, self.reserved_pg_dir).await;
        // Unnoticed: only with software PAN, which has that table loaded already.
        cpu.isb().await;
    }

    /// `cpu_do_switch_mm`. The ASID lives in TTBR1, and is read anew: once active_asids
    /// says it, a rollover keeps its number.
    pub async fn cpu_switch_mm(&self, cpu: Cpu<'_>, mm: Space, pgd: u64) {
        let asid = idx(self.context_id[mm.0 as usize].read(cpu).await) as u16;
        let cnp = self.cnp && asid != 0;
        if !self.built.with(&defects::OLD_TABLE) {
            cpu.write_sysreg(Reg::Ttbr0, self.reserved_pg_dir).await;
        }
        cpu.write_sysreg(Reg::Ttbr1, ttbr::new(0, asid, false))
            .await;
        cpu.write_sysreg(Reg::Ttbr0, ttbr::new(pgd, 0, cnp)).await;
        // Unnoticed: until the next synchronization walks may use the old context; what they
        // make goes with the flush that a rollover leaves pending.
        cpu.isb().await;
    }

    /// The scheduler's way to init_mm, which has no user half.
    pub async fn switch_to_init_mm(&self, cpu: Cpu<'_>) {
        cpu.local_irq_save().await;
        if !self.built.with(&defects::INIT_MM) {
            self.cpu_set_reserved_ttbr0(cpu).await;
        }
        // Unnoticed: threads do not migrate between a TLBI and its DSB here, and the ISB has
        // ended the walks of the old context.
        cpu.dsb(Dsb::Ish).await;
        cpu.local_irq_enable().await;
    }

    /// With KPTI, the way to user code and back (`tramp_unmap_kernel`, `tramp_map_kernel`).
    pub async fn tramp(&self, cpu: Cpu<'_>, user: bool) {
        // A CPU's own register, which nobody else writes.
        let ttbr1 = cpu.with(|state| state.regs(cpu.id(), false).ttbr1);
        let kernel = ttbr::tag(ttbr1) & !(USER_ASID_FLAG as u16);
        let asid = kernel | if user { USER_ASID_FLAG as u16 } else { 0 };
        cpu.write_sysreg(Reg::Ttbr1, ttbr::new(0, asid, false))
            .await;
    }

    /// The empty table that the kernel has in TTBR0 for want of a user's.
    pub fn reserved_pg_dir(&self) -> u64 {
        self.reserved_pg_dir
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
