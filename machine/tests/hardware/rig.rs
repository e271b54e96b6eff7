// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine with tables in its memory, and the means to take its CPUs and its hardware
//! through steps by hand.

use core::future::Future;
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use shootdown_machine::arm64::{Desc, HCR_TGE, HCR_VM, Kind, Reg, Stage, Tlbi, Ttl, ttbr};
use shootdown_machine::{
    BLOCK_PAGES, Boot, Config, Cpu, Domain, Dsb, Event, Machine, PAGE, Ram, Space, State, Va,
    initial_page, slot_pa,
};

pub const A: Space = Space(0);
pub const B: Space = Space(1);
/// Polls by which every script has ended.
const MOST: usize = 10_000;

pub fn private() -> Config {
    Config {
        domain: Domain::Private,
        ..Config::default()
    }
}

pub fn smt() -> Config {
    Config {
        domain: Domain::Smt,
        ..Config::default()
    }
}

pub struct Rig {
    pub machine: Machine,
    stage: Stage,
}

impl Rig {
    /// Spaces with stage-1 tables: pages at 0x0 and 0x1000, a block at 0x4000.
    pub fn new(config: Config) -> Rig {
        Rig::boot(config, Stage::One)
    }

    /// VMs with such tables at stage 2, and CPUs that run the host.
    pub fn guests(config: Config) -> Rig {
        Rig::boot(config, Stage::Two)
    }

    /// Guests whose stage 1 is on, in VM A: its root is at IPA 0x1000, its last table at
    /// IPA 0x0, and it maps VA 0x1000 to IPA 0x5000, in the block. Stage-1 tables lie in
    /// pages: blocks of this machine cannot hold descriptors.
    pub fn nested(config: Config) -> Rig {
        let rig = Rig::guests(config);
        let pa = |ipa| rig.pa(A, ipa);
        let leaf = Desc::leaf(Stage::One, 3, 0x5000, true);
        rig.set(slot_pa(pa(0x1000), 2, 0x1000), Desc::table(0x0));
        rig.set(slot_pa(pa(0x0), 3, 0x1000), leaf);
        let boot = Boot::new(&rig.machine, None);
        boot.sysreg(Reg::Ttbr0, ttbr::new(0x1000, 0, false));
        boot.sysreg(Reg::Ttbr1, ttbr::new(0, 1, false));
        rig
    }

    fn boot(config: Config, stage: Stage) -> Rig {
        Rig::boot_on(Machine::default(), config, stage)
    }

    /// The same on a machine that has been used.
    pub fn again(self, config: Config) -> Rig {
        Rig::boot_on(self.machine, config, self.stage)
    }

    fn boot_on(machine: Machine, config: Config, stage: Stage) -> Rig {
        machine.reset(config);
        let boot = Boot::new(&machine, None);
        let arch = boot.config().arch;
        for space in [A, B] {
            let mut table = boot.root(space);
            for level in boot.config().first_level()..2 {
                let next = boot.table(space);
                boot.set(slot_pa(table, level, 0), arch.table(next));
                table = next;
            }
            let ptes = boot.table(space);
            boot.set(slot_pa(table, 2, 0), arch.table(ptes));
            for i in 0..2 {
                let pa = boot.page(space, initial_page(space, i));
                let desc = arch.leaf(stage, 3, pa, true);
                boot.set(slot_pa(ptes, 3, i as u64 * PAGE), desc);
            }
            let pa = boot.block(space, initial_page(space, BLOCK_PAGES));
            let desc = arch.leaf(stage, 2, pa, true);
            boot.set(slot_pa(table, 2, BLOCK_PAGES as u64 * PAGE), desc);
        }
        if stage == Stage::Two {
            boot.sysreg(Reg::Hcr, HCR_VM | HCR_TGE);
        }
        Rig { machine, stage }
    }

    pub fn cpu(&self, id: u8) -> Cpu<'_> {
        self.machine.cpu(id)
    }

    /// Performs every step of a script.
    pub fn run<R>(&self, script: impl Future<Output = R>) -> R {
        let mut script = pin!(script);
        poll(script.as_mut(), MOST).expect("a script that ends")
    }

    pub fn hardware<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        act(&mut self.machine.state_mut())
    }

    pub fn walk(&self, cpu: u8, va: Va, steps: Option<u8>) -> bool {
        self.hardware(|state| state.walk(cpu, va, false, steps))
    }

    /// Whether a speculative walk of the CPU is in flight.
    pub fn walking(&self, cpu: u8) -> bool {
        self.machine.state().cpus[cpu as usize].walk.is_some()
    }

    pub fn take_events(&self) -> Vec<Event> {
        self.hardware(|state| core::mem::take(&mut state.events))
    }

    /// What walkers have read and inserted since events were last taken.
    pub fn seen(&self) -> Vec<String> {
        let name = |leaf| if leaf { "leaf" } else { "table" };
        let words = |event: &Event| match event {
            Event::WalkRead { stage, level, .. } => Some(format!("read {stage:?} {level}")),
            Event::Fill { entry: e, .. } => {
                Some(format!("{} {:?} {:#x}", name(e.leaf), e.stage, e.va))
            }
            _ => None,
        };
        self.take_events().iter().filter_map(words).collect()
    }

    /// Addresses of the leaves in a CPU's TLB, lowest first.
    pub fn leaves(&self, cpu: u8, stage: Stage) -> Vec<Va> {
        let state = self.machine.state();
        let entries = state.tlb(cpu).entries.iter();
        let mut leaves: Vec<Va> = entries
            .filter(|e| e.leaf && e.stage == stage)
            .map(|e| e.va)
            .collect();
        leaves.sort();
        leaves
    }

    pub fn tables(&self, cpu: u8) -> usize {
        let state = self.machine.state();
        state.tlb(cpu).entries.iter().filter(|e| !e.leaf).count()
    }

    pub fn root(&self, space: Space) -> u64 {
        self.machine.state().roots[space.0 as usize]
    }

    /// Address of the descriptor that maps `va`.
    pub fn pte(&self, space: Space, va: Va) -> u64 {
        self.machine.state().translate(space, va).expect("a leaf").1
    }

    /// Where `va` is in memory.
    pub fn pa(&self, space: Space, va: Va) -> u64 {
        let leaf = self.machine.state().translate(space, va);
        let (level, _, desc) = leaf.expect("a leaf");
        let pa = self.machine.state().decode(level, desc).pa();
        pa.expect("an address") + va % shootdown_machine::level_size(level)
    }

    pub fn desc(&self, pa: u64) -> Desc {
        self.machine.state().mem.desc(pa)
    }

    /// Writes a descriptor by no CPU's step.
    pub fn set(&self, pa: u64, desc: Desc) {
        let word = Ram::desc_word(pa).expect("a table");
        self.hardware(|state| state.mem.set(word, desc.0));
    }

    /// Loads a space under a tag, with CnP=1 if CPUs may share a TLB, and synchronizes.
    pub async fn load(&self, cpu: Cpu<'_>, space: Space, tag: u16) {
        self.load_cnp(cpu, space, tag, cpu.config().domain == Domain::Smt)
            .await;
    }

    pub async fn load_cnp(&self, cpu: Cpu<'_>, space: Space, tag: u16, cnp: bool) {
        let root = self.root(space);
        match self.stage {
            Stage::One => {
                cpu.write_sysreg(Reg::Ttbr1, ttbr::new(0, tag, false)).await;
                cpu.write_sysreg(Reg::Ttbr0, ttbr::new(root, 0, cnp)).await;
                cpu.isb().await;
            }
            Stage::Two => {
                self.aim(cpu, space, tag).await;
                cpu.write_sysreg(Reg::Vttbr, ttbr::new(root, tag, cnp))
                    .await;
                cpu.enter_guest().await;
            }
        }
    }

    /// Makes the host's TLBIs mean a VM, as `__tlb_switch_to_guest` does.
    pub async fn aim(&self, cpu: Cpu<'_>, vm: Space, vmid: u16) {
        cpu.exit_guest().await;
        let root = self.root(vm);
        cpu.write_sysreg(Reg::Vttbr, ttbr::new(root, vmid, false))
            .await;
        cpu.write_sysreg(Reg::Hcr, HCR_VM).await;
        cpu.isb().await;
    }

    /// Splits the block at `va` in one store, as FEAT_BBM level 2 permits.
    pub fn split(&self, space: Space, va: Va, writable: bool) {
        let pmd = self.pte(space, va);
        let base = self.desc(pmd).addr();
        let table = Boot::new(&self.machine, None).table(space);
        for i in 0..BLOCK_PAGES as u64 {
            let page = Desc::leaf(self.stage, 3, base + i * PAGE, writable);
            self.set(table + i * 8, page);
        }
        self.set(pmd, Desc::table(table));
    }
}

/// Polls so many times; the first only announces a step. The result, if it is there.
pub fn poll<F: Future>(mut script: Pin<&mut F>, times: usize) -> Option<F::Output> {
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..times {
        if let Poll::Ready(result) = script.as_mut().poll(&mut context) {
            return Some(result);
        }
    }
    None
}

/// A TLBI by address without a level hint, for ASID 1.
pub fn by_addr(kind: Kind, va: Va) -> Tlbi {
    Tlbi::addr(kind, va, 1, Ttl::Unknown)
}

/// An invalidation and its completion.
pub async fn flush(cpu: Cpu<'_>, op: Tlbi) {
    cpu.tlbi(op).await;
    cpu.dsb(Dsb::Ish).await;
}
