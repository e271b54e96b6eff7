// SPDX-License-Identifier: MIT OR Apache-2.0
//! Scripts for the rules' tests: steps of two CPUs and acts of hardware in the order in which
//! they are written, shown to a judge as a run of a scenario is.
//!
//! An `.await` on a step of a CPU performs that step, so that one `async` block interleaves
//! both CPUs by hand. Space A and B have the pages that every run starts with.

pub use crate::Oracle;
pub use shootdown_machine::arm64::{Desc, HCR_TGE, HCR_VM, Kind, Reg, Stage, Tlbi, Ttl, ttbr};
pub use shootdown_machine::{
    Access, Act, BLOCK_PAGES, Bbm, Boot, Config, Cpu, Domain, Done, Dsb, Event, Machine, Op,
    Outcome, PAGE, Page, Prot, SLOTS, Space, State, Switch, Switches, Va, initial_page, slot_pa,
};

use core::cell::RefCell;
use core::pin::pin;
use core::task::{Context, Waker};

/// The first space.
pub const A: Space = Space(0);
/// The second.
pub const B: Space = Space(1);
/// The page that an operation of CPU 0 may create.
pub const FRESH: u16 = 128;
/// The page that an operation of a CPU may create, which no other may.
pub fn fresh(cpu: u8) -> Page {
    Page(FRESH + (cpu as usize * BLOCK_PAGES) as u16)
}

/// Polls by which every script has ended.
const MOST: u32 = 10_000;

/// Two CPUs with a TLB each.
pub fn private() -> Config {
    Config {
        spaces: 2,
        domain: Domain::Private,
        ..Config::default()
    }
}

/// Two siblings on one TLB; tables are loaded with CnP=1.
pub fn smt() -> Config {
    Config {
        domain: Domain::Smt,
        ..private()
    }
}

/// A machine, its judge, and what a script needs to drive them.
pub struct Scene<'m> {
    machine: &'m Machine,
    oracle: RefCell<Oracle>,
    stage: Stage,
    /// A table with nothing in it, for TTBR0 while the ASID changes.
    reserved: u64,
    /// CPU 0.
    pub c0: Cpu<'m>,
    /// CPU 1.
    pub c1: Cpu<'m>,
}

/// The first rule that a script of processes breaks.
pub fn stage1(config: Config, script: impl AsyncFnOnce(&Scene<'_>)) -> Option<&'static str> {
    broken(&play(config, Stage::One, script))
}

/// The first rule that a script of VMs breaks.
pub fn stage2(config: Config, script: impl AsyncFnOnce(&Scene<'_>)) -> Option<&'static str> {
    broken(&play(config, Stage::Two, script))
}

fn broken(oracle: &Oracle) -> Option<&'static str> {
    oracle.finding.as_ref().map(|f| f.rule.name)
}

/// Plays a script to its end, and gives the judge.
pub fn play(config: Config, stage: Stage, script: impl AsyncFnOnce(&Scene<'_>)) -> Oracle {
    let machine = Machine::default();
    machine.reset(config);
    let boot = Boot::new(&machine, None);
    let mut oracle = Oracle::default();
    oracle.reset(&boot.config(), !0);
    for space in (0..boot.config().spaces).map(Space) {
        boot_space(&boot, space, stage);
    }
    if stage == Stage::Two {
        boot.sysreg(Reg::Hcr, HCR_VM | HCR_TGE);
    }
    let scene = Scene {
        machine: &machine,
        oracle: RefCell::new(oracle),
        stage,
        reserved: boot.reserved_table(),
        c0: machine.cpu(0),
        c1: machine.cpu(1),
    };
    {
        let mut script = pin!(script(&scene));
        let mut context = Context::from_waker(Waker::noop());
        let mut polls = 0;
        while script.as_mut().poll(&mut context).is_pending() {
            scene.judge();
            polls += 1;
            assert!(polls < MOST, "the script does not end");
        }
    }
    scene.judge();
    let mut oracle = scene.oracle.into_inner();
    oracle.facts.summary.finish(&machine.state());
    oracle
}

/// The tables that every variant boots with.
fn boot_space(boot: &Boot<'_>, space: Space, stage: Stage) {
    let mut table = boot.root(space);
    for level in boot.config().first_level()..2 {
        let next = boot.table(space);
        boot.set(slot_pa(table, level, 0), Desc::table(next));
        table = next;
    }
    let ptes = boot.table(space);
    boot.set(slot_pa(table, 2, 0), Desc::table(ptes));
    for i in 0..2 {
        let pa = boot.page(space, initial_page(space, i));
        let desc = Desc::leaf(stage, 3, pa, true);
        boot.set(slot_pa(ptes, 3, i as u64 * PAGE), desc);
    }
    let pa = boot.block(space, initial_page(space, BLOCK_PAGES));
    let desc = Desc::leaf(stage, 2, pa, true);
    boot.set(slot_pa(table, 2, BLOCK_PAGES as u64 * PAGE), desc);
}

impl Scene<'_> {
    /// Shows the judge what has happened.
    fn judge(&self) {
        let events = core::mem::take(&mut self.machine.state_mut().events);
        let state = self.machine.state();
        let mut oracle = self.oracle.borrow_mut();
        for event in &events {
            oracle.event(&state, event);
        }
    }

    /// What the judge knows.
    pub fn oracle<R>(&self, look: impl FnOnce(&Oracle, &State) -> R) -> R {
        self.judge();
        look(&self.oracle.borrow(), &self.machine.state())
    }

    /// Something that hardware does on its own.
    pub fn hardware<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        self.judge();
        let result = act(&mut self.machine.state_mut());
        self.judge();
        result
    }

    /// A speculative walk: so many steps of the one in flight, or a whole one.
    pub fn walk(&self, cpu: Cpu<'_>, va: Va, steps: Option<u8>) {
        self.hardware(|state| state.walk(cpu.id(), va, false, steps));
    }

    /// Tells the judge something that the machine does not know.
    pub fn emit(&self, event: Event) {
        self.hardware(|state| state.events.push(event));
    }

    /// A logical operation begins.
    pub fn begin(&self, cpu: Cpu<'_>, op: Op) {
        let (cpu, index, page) = (cpu.id(), 0, fresh(cpu.id()).0);
        self.emit(Event::Begin {
            cpu,
            index,
            op,
            page,
        });
    }

    /// It returns.
    pub fn end(&self, cpu: Cpu<'_>, op: Op, done: Done) {
        let (cpu, index, page) = (cpu.id(), 0, fresh(cpu.id()).0);
        self.emit(Event::End {
            cpu,
            index,
            op,
            page,
            done,
        });
    }

    /// A fault handler that may change a mapping begins, or returns.
    pub fn fault(&self, cpu: Cpu<'_>, space: Space, va: Va, begins: bool) {
        let cpu = cpu.id();
        self.emit(if begins {
            Event::Faulting { cpu, space, va }
        } else {
            Event::Faulted { cpu, space, va }
        });
    }

    /// The variant promises to have these bits of a space's tags the same on all CPUs.
    pub fn same_tag(&self, bits: u16) {
        self.oracle.borrow_mut().facts.same_tag = bits;
    }

    /// The table with nothing in it, under the ASID 0.
    pub async fn load_reserved(&self, cpu: Cpu<'_>) {
        cpu.write_sysreg(Reg::Ttbr0, self.reserved).await;
        cpu.write_sysreg(Reg::Ttbr1, 0).await;
        cpu.isb().await;
    }

    /// The CPU goes into the switch code.
    pub fn switching(&self, cpu: Cpu<'_>) {
        let (cpu, space, switching) = (cpu.id(), None, true);
        self.emit(Event::Settled {
            cpu,
            space,
            switching,
        });
    }

    /// It comes out of it, to run a space.
    pub fn settled(&self, cpu: Cpu<'_>, space: Option<Space>) {
        let space = space.map(|s| self.machine.state().life(s));
        let (cpu, switching) = (cpu.id(), false);
        self.emit(Event::Settled {
            cpu,
            space,
            switching,
        });
    }

    /// Writes the registers that make a CPU walk a space's tables under a tag: as
    /// `cpu_do_switch_mm` does, or `__load_stage2` and a guest entry.
    pub async fn load(&self, cpu: Cpu<'_>, space: Space, tag: u16) {
        let root = self.machine.state().roots[space.0 as usize];
        let cnp = cpu.config().domain == Domain::Smt;
        match self.stage {
            Stage::One => {
                let reserved = ttbr::new(self.reserved, 0, false);
                cpu.write_sysreg(Reg::Ttbr0, reserved).await;
                cpu.write_sysreg(Reg::Ttbr1, ttbr::new(0, tag, false)).await;
                cpu.write_sysreg(Reg::Ttbr0, ttbr::new(root, 0, cnp)).await;
                cpu.isb().await;
            }
            Stage::Two => {
                cpu.exit_guest().await;
                cpu.write_sysreg(Reg::Vttbr, ttbr::new(root, tag, cnp))
                    .await;
                cpu.write_sysreg(Reg::Hcr, HCR_VM).await;
                cpu.enter_guest().await;
            }
        }
    }

    /// A whole switch to a space.
    pub async fn switch(&self, cpu: Cpu<'_>, space: Space, tag: u16) {
        self.switching(cpu);
        self.load(cpu, space, tag).await;
        self.settled(cpu, Some(space));
    }

    /// Leaves the loaded space for the idle task, or for the host.
    pub async fn leave(&self, cpu: Cpu<'_>) {
        self.switching(cpu);
        match self.stage {
            Stage::One => {
                let reserved = ttbr::new(self.reserved, 0, false);
                cpu.write_sysreg(Reg::Ttbr0, reserved).await;
            }
            Stage::Two => {
                cpu.exit_guest().await;
                cpu.write_sysreg(Reg::Hcr, HCR_VM | HCR_TGE).await;
            }
        }
        cpu.isb().await;
        self.settled(cpu, None);
    }

    /// The address of the leaf descriptor that maps `va`.
    pub fn pte(&self, space: Space, va: Va) -> u64 {
        let leaf = self.machine.state().translate(space, va);
        leaf.expect("a mapped address").1
    }

    /// The address of the level-2 descriptor for `va` in tables of two levels.
    pub fn pmd(&self, space: Space, va: Va) -> u64 {
        slot_pa(self.machine.state().roots[space.0 as usize], 2, va)
    }

    /// A table that translates as the block at `va` does, not linked yet.
    pub async fn split_table(&self, cpu: Cpu<'_>, space: Space, va: Va) -> u64 {
        let block = cpu.pte_read(self.pmd(space, va)).await;
        let table = cpu.alloc_table(space).await;
        for i in 0..SLOTS as u64 {
            let page = Desc::leaf(self.stage, 3, block.addr() + i * PAGE, true);
            cpu.pte_write(table + i * 8, page).await;
        }
        table
    }
}

/// A TLBI by address without a level hint, for ASID 1.
pub fn by_addr(kind: Kind, va: Va) -> Tlbi {
    Tlbi::addr(kind, va, 1, Ttl::Unknown)
}

/// A store made visible to walkers, an invalidation, and its completion.
pub async fn flush(cpu: Cpu<'_>, op: Tlbi) {
    cpu.dsb(Dsb::Ishst).await;
    cpu.tlbi(op).await;
    cpu.dsb(Dsb::Ish).await;
}
