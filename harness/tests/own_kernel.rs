// SPDX-License-Identifier: MIT OR Apache-2.0
//! A kernel of one's own, tested as a dev-dependency: a `Variant` that no build has listed,
//! driven by `execute`. It flushes other CPUs by IPI, so this is also the test of interrupts
//! on top of what they interrupt.

use shootdown::exec::{Bench, Exec, Input, execute};
use shootdown::scenario::{Scenario, Slot, generate, parse};
use shootdown_machine::arm64::{Desc, Kind, Reg, Stage, Tlbi, ttbr};
use shootdown_machine::{
    Access, BLOCK_PAGES, Boot, Cpu, Done, Dsb, Lock, OpKind, Outcome, PAGE, Page, Prot, Space, Va,
    initial_page, slot_pa,
};
use shootdown_variants::{Source, Tagging, Variant};

/// What is wrong with the kernel; `NONE`: nothing.
const NONE: u8 = 0;
/// It does not wait for the IPIs that it sends.
const NO_WAIT: u8 = 1;
/// It waits for its lock with interrupts masked.
const MASKED: u8 = 2;
/// It keeps a lock for ever.
const NO_UNLOCK: u8 = 3;
/// It calls every fault spurious.
const STUBBORN: u8 = 4;
/// No flaw: its CPUs are virtual, and a host takes them away and gives them back.
const GUEST: u8 = 5;

/// One lock, one ASID; pages come and go where a space has a table first.
struct Kernel<const FLAW: u8> {
    lock: Lock,
    roots: [u64; 8],
    reserved: u64,
}

impl<const FLAW: u8> Kernel<FLAW> {
    async fn flush_here(&self, cpu: Cpu<'_>) {
        cpu.dsb(Dsb::Nshst).await;
        cpu.tlbi(Tlbi::all(Kind::Vmalle1)).await;
        cpu.dsb(Dsb::Nsh).await;
    }

    async fn flush_everywhere(&self, cpu: Cpu<'_>) {
        for other in (0..cpu.config().cpus).filter(|c| *c != cpu.id()) {
            cpu.send_ipi(other, 0).await;
        }
        self.flush_here(cpu).await;
        if FLAW != NO_WAIT {
            cpu.wait_ipis().await;
        }
    }
}

impl<const FLAW: u8> Variant for Kernel<FLAW> {
    const NAME: &'static str = "own";
    const ABOUT: &'static str = "flushes by IPI";
    const SOURCE: Source = Source {
        tree: "this file",
        files: "own_kernel.rs",
    };
    const OPS: &'static [OpKind] = &[
        OpKind::Switch,
        OpKind::SchedOut,
        OpKind::Map,
        OpKind::Unmap,
        OpKind::Touch,
    ];
    const TAGGING: Tagging = Tagging::PerCpu;

    fn boot(boot: &Boot<'_>) -> Self {
        if FLAW == GUEST {
            boot.steal_time(boot.vars("preempted", 0));
        }
        let reserved = boot.reserved_table();
        boot.sysreg(Reg::Ttbr0, reserved);
        let mut roots = [0; 8];
        for i in 0..boot.config().spaces {
            let space = Space(i);
            let root = boot.root(space);
            let (mut table, mut upper) = (root, root);
            for level in boot.config().first_level()..3 {
                let next = boot.table(space);
                boot.set(slot_pa(table, level, 0), Desc::table(next));
                upper = table;
                table = next;
            }
            for page in 0..2 {
                let pa = boot.page(space, initial_page(space, page));
                let at = slot_pa(table, 3, page as u64 * PAGE);
                boot.set(at, Desc::leaf(Stage::One, 3, pa, true));
            }
            let block = boot.block(space, initial_page(space, BLOCK_PAGES));
            let at = slot_pa(upper, 2, BLOCK_PAGES as u64 * PAGE);
            boot.set(at, Desc::leaf(Stage::One, 2, block, true));
            roots[i as usize] = root;
        }
        Kernel {
            lock: boot.lock("big_lock"),
            roots,
            reserved,
        }
    }

    async fn switch_to(&self, cpu: Cpu<'_>, _prev: Option<Space>, next: Space) {
        self.leave_space(cpu).await;
        cpu.write_sysreg(Reg::Ttbr0, ttbr::new(self.roots[next.0 as usize], 0, false))
            .await;
        cpu.isb().await;
    }

    async fn sched_out(&self, cpu: Cpu<'_>, _prev: Space) {
        self.leave_space(cpu).await;
    }

    async fn unmap(&self, cpu: Cpu<'_>, space: Space, va: Va) -> Done {
        if FLAW == MASKED {
            cpu.local_irq_save().await;
        }
        self.lock.lock(cpu).await;
        let mut done = Done::No;
        if let Some(pte) = self.pte(cpu, space, va).await
            && cpu.pte_read(pte).await.valid()
        {
            let old = cpu.pte_xchg(pte, Desc::INVALID).await;
            self.flush_everywhere(cpu).await;
            cpu.free(old.addr()).await;
            done = Done::Yes;
        }
        if FLAW != NO_UNLOCK {
            self.lock.unlock(cpu).await;
        }
        if FLAW == MASKED {
            cpu.local_irq_enable().await;
        }
        done
    }

    async fn fault(&self, _: Cpu<'_>, _: Space, _: Va, _: Access, _: Outcome) -> bool {
        FLAW == STUBBORN
    }

    async fn ipi(&self, cpu: Cpu<'_>, _message: u64) {
        self.flush_here(cpu).await;
    }

    async fn map(&self, cpu: Cpu<'_>, space: Space, va: Va, page: Page) -> Done {
        self.lock.lock(cpu).await;
        let mut done = Done::No;
        if let Some(pte) = self.pte(cpu, space, va).await
            && !cpu.pte_read(pte).await.valid()
        {
            let pa = cpu.alloc_page(space, page).await;
            if pa != 0 {
                cpu.pte_write(pte, Desc::leaf(Stage::One, 3, pa, true))
                    .await;
                cpu.dsb(Dsb::Ishst).await;
                done = Done::Yes;
            }
        }
        self.lock.unlock(cpu).await;
        done
    }
    async fn protect(&self, _: Cpu<'_>, _: Space, _: Va, _: Prot) -> Done {
        Done::No
    }
    async fn remap(&self, _: Cpu<'_>, _: Space, _: Va, _: Page) -> Done {
        Done::No
    }
    async fn split(&self, _: Cpu<'_>, _: Space, _: Va) -> Done {
        Done::No
    }
    async fn collapse(&self, _: Cpu<'_>, _: Space, _: Va, _: Page) -> Done {
        Done::No
    }
    async fn exit(&self, _: Cpu<'_>, _: Space) -> Done {
        Done::No
    }
}

impl<const FLAW: u8> Kernel<FLAW> {
    /// Where the descriptor of a page is; `None`: there is no table for it.
    async fn pte(&self, cpu: Cpu<'_>, space: Space, va: Va) -> Option<u64> {
        let mut table = self.roots[space.0 as usize];
        for level in cpu.config().first_level()..3 {
            let desc = cpu.pte_read(slot_pa(table, level, va)).await;
            if !desc.is_table(level) {
                return None;
            }
            table = desc.addr();
        }
        Some(slot_pa(table, 3, va))
    }

    async fn leave_space(&self, cpu: Cpu<'_>) {
        cpu.write_sysreg(Reg::Ttbr0, self.reserved).await;
        cpu.isb().await;
        self.flush_here(cpu).await;
    }
}

/// Runs a scenario on the kernel; the rule that it breaks.
fn run<V: Variant>(bench: &mut Bench, scenario: &Scenario) -> Option<&'static str> {
    let mut config = scenario.machine;
    config.domain = shootdown_machine::Domain::Private;
    let input = Input {
        config,
        defect: None,
        programs: &scenario.programs,
        sabotage: None,
        trace: false,
    };
    execute::<V>(bench, &input, |exec: &mut dyn Exec| {
        for slot in &scenario.schedule {
            exec.apply(slot);
        }
    });
    bench.oracle.finding.as_ref().map(|f| f.rule.name)
}

/// The rule that the kernel with this flaw breaks.
fn broken<const FLAW: u8>(text: &str) -> Option<&'static str> {
    run::<Kernel<FLAW>>(&mut Bench::default(), &scenario(text))
}

fn scenario(text: &str) -> Scenario {
    parse(text.as_bytes()).expect("a scenario")
}

/// cpu1 has the page cached when cpu0 unmaps it, and is in the middle of a switch when the
/// IPI arrives.
const SHOOTDOWN: &str = "\
scenario 1
machine cpus=2 spaces=2
cpu0: unmap A 0x0
cpu1: switch A; touch 0x0; touch 0x1000; touch 0x0; switch B; switch A
schedule: cpu1 until touch #2, cpu0 until wait_ipi, ipi cpu1
";

#[test]
fn the_sound_kernel_passes_random_scenarios() {
    let mut bench = Bench::default();
    let mut rng = fastrand::Rng::with_seed(3);
    assert_eq!(run::<Kernel<NONE>>(&mut bench, &scenario(SHOOTDOWN)), None);
    assert!(bench.machine.state().cost.ipi > 0, "the IPI was sent");
    for _ in 0..3000 {
        let scenario = generate(&mut rng, shootdown_machine::OpSet::ALL);
        assert_eq!(
            run::<Kernel<NONE>>(&mut bench, &scenario),
            None,
            "{scenario}"
        );
    }
}

#[test]
fn not_waiting_for_the_ipi_leaves_a_stale_entry() {
    let late = SHOOTDOWN.replace("until wait_ipi, ipi cpu1", "x40");
    assert_eq!(broken::<NO_WAIT>(&late), Some("TLBEmptyInvalPTE"));
    assert_eq!(broken::<NONE>(&late), None);
}

#[test]
fn waiting_for_a_lock_with_interrupts_masked_deadlocks() {
    // cpu0 has the lock and waits for cpu1 to handle its IPI.
    let both = "\
scenario 1
machine cpus=2 spaces=2
cpu0: unmap A 0x0
cpu1: unmap B 0x0
schedule: cpu0 until wait_ipi, cpu1 until big_lock
";
    assert_eq!(broken::<MASKED>(both), Some("deadlock"));
    assert_eq!(broken::<NONE>(both), None);
}

#[test]
fn a_lock_kept_for_ever_is_a_deadlock() {
    let twice = "\
scenario 1
machine cpus=2 spaces=1
cpu0: unmap A 0x0
cpu1: unmap A 0x1000
";
    assert_eq!(broken::<NO_UNLOCK>(twice), Some("deadlock"));
    assert_eq!(broken::<NONE>(twice), None);
}

#[test]
fn a_fault_that_is_always_called_spurious_recurs() {
    let unmapped = "\
scenario 1
machine cpus=1 spaces=1
cpu0: switch A; touch 0x8000
";
    assert_eq!(broken::<STUBBORN>(unmapped), Some("recurring-fault"));
    assert_eq!(broken::<NONE>(unmapped), None);
}

/// However long cpu0 faults, cpu1 is about to end that.
#[test]
fn a_fault_that_another_cpu_is_about_to_end_does_not_recur() {
    let text = "\
scenario 1
machine cpus=2 spaces=1
cpu0: switch A; touch 0x2000
cpu1: map A 0x2000
schedule: cpu1 until pte, cpu0 x9999
";
    assert_eq!(broken::<STUBBORN>(text), None);
    // Of another page, cpu1 comes to its end, and cpu0 does not.
    let other = scenario(&text.replace("map A 0x2000", "map A 0x3000"));
    let mut bench = Bench::default();
    assert_eq!(
        run::<Kernel<STUBBORN>>(&mut bench, &other),
        Some("recurring-fault")
    );
    assert!(bench.machine.state().cpus[1].next.is_none());
    // cpu1 has not begun: nobody knows that it will.
    let idle = text.replace("cpu1 until pte, ", "");
    assert_eq!(broken::<STUBBORN>(&idle), Some("recurring-fault"));
}

/// Two that both fault for ever do not wait for each other for ever.
#[test]
fn two_faults_recur_beside_each_other() {
    let text = "\
scenario 1
machine cpus=2 spaces=1
cpu0: switch A; touch 0x8000
cpu1: switch A; touch 0x8000
";
    assert_eq!(broken::<STUBBORN>(text), Some("recurring-fault"));
}

#[test]
fn a_preempted_cpu_takes_no_step_until_it_is_resumed() {
    let text = "\
scenario 1
machine cpus=2 spaces=2
cpu0: switch A; touch 0x0
cpu1: switch B
schedule: cpu0 x2, preempt cpu0, cpu0 x99, preempt cpu1, resume cpu0, cpu0, resume cpu0
";
    fn ready<V: Variant>(text: &str) -> Vec<[bool; 2]> {
        let scenario = scenario(text);
        let input = Input {
            config: scenario.machine,
            defect: None,
            programs: &scenario.programs,
            sabotage: None,
            trace: false,
        };
        let (mut bench, mut seen) = (Bench::default(), Vec::new());
        execute::<V>(&mut bench, &input, |exec: &mut dyn Exec| {
            for slot in &scenario.schedule {
                exec.apply(slot);
                seen.push([0, 1].map(|cpu| exec.ready(cpu)));
            }
        });
        assert!(bench.oracle.finding.is_none(), "all run to the end");
        seen
    }
    let (run, both) = ([true, true], [false, false]);
    let (first, second) = ([false, true], [true, false]);
    assert_eq!(
        ready::<Kernel<GUEST>>(text),
        [run, first, first, both, second, second, second]
    );
    // Where there is no host, nothing is taken away: cpu0 runs to its end.
    let done = [false, true];
    assert_eq!(
        ready::<Kernel<NONE>>(text),
        [run, run, done, done, done, done, done]
    );
}

#[test]
fn a_sound_guest_passes_whatever_its_host_does() {
    let mut bench = Bench::default();
    let mut rng = fastrand::Rng::with_seed(3);
    for _ in 0..1000 {
        let mut scenario = generate(&mut rng, shootdown_machine::OpSet::ALL);
        for _ in 0..rng.usize(1..6) {
            let at = rng.usize(..scenario.schedule.len());
            let cpu = rng.u8(..scenario.machine.cpus);
            let slot = if rng.bool() {
                Slot::Preempt { cpu }
            } else {
                Slot::Resume { cpu }
            };
            scenario.schedule.insert(at, slot);
        }
        let broken = run::<Kernel<GUEST>>(&mut bench, &scenario);
        assert_eq!(broken, None, "{scenario}");
    }
}
