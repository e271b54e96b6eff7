// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernels of one's own on x86 and RISC-V: the machine's other architectures under the judge.
//! Every space has a PCID (ASID) for ever, and nothing is flushed at a switch.

use shootdown::exec::{Bench, Exec, Input, execute};
use shootdown::scenario::{Scenario, generate, parse};
use shootdown_machine::arm64::{Desc, Stage};
use shootdown_machine::riscv::{self, Fence};
use shootdown_machine::x86::{self, FLUSH_TLB, Invlpgb, NOFLUSH, PCIDE, PGE, PREEMPTED};
use shootdown_machine::{
    Access, Arch, BLOCK_PAGES, Boot, Config, Cpu, Decoded, Done, Leaf, Lock, OpKind, Outcome, PAGE,
    Page, Prot, Shared, Space, Va, initial_page, slot_pa,
};
use shootdown_variants::{Source, Tagging, Variant};

/// How a change of a descriptor is followed by a flush, and on which architecture.
trait Flush: Sized {
    const ARCH: Arch;
    fn boot(boot: &Boot<'_>) -> Self;
    async fn page(&self, cpu: Cpu<'_>, tag: u16, va: Va);
    /// Before an access is tried again, after a fault where there is a mapping.
    async fn spurious(&self, _: Cpu<'_>, _tag: u16, _va: Va) {}
    async fn ipi(&self, _: Cpu<'_>, _message: u64) {}
}

fn others(cpu: Cpu<'_>) -> impl Iterator<Item = u8> {
    (0..cpu.config().cpus).filter(move |c| *c != cpu.id())
}

/// Loads a table under a tag, and removes nothing.
async fn load<F: Flush>(cpu: Cpu<'_>, root: u64, tag: u16) {
    match F::ARCH {
        Arch::Riscv => cpu.write_satp(riscv::satp(root, tag)).await,
        _ => cpu.write_cr3(x86::cr3(root, tag) | NOFLUSH).await,
    }
}

/// IPIs, whose handler flushes the PCID that they name, or (`WRONG`) the address in whatever
/// PCID is loaded there.
struct Ipis<const WRONG: bool>;

impl<const WRONG: bool> Flush for Ipis<WRONG> {
    const ARCH: Arch = Arch::X86;
    fn boot(_: &Boot<'_>) -> Self {
        Ipis
    }
    async fn page(&self, cpu: Cpu<'_>, tag: u16, va: Va) {
        for other in others(cpu) {
            cpu.send_ipi(other, va | tag as u64).await;
        }
        cpu.invpcid_addr(tag, va).await;
        cpu.wait_ipis().await;
    }
    async fn ipi(&self, cpu: Cpu<'_>, message: u64) {
        if WRONG {
            cpu.invlpg(message & !0xfff).await;
        } else {
            cpu.invpcid_single(message as u16 & 0xfff).await;
        }
    }
}

/// INVLPGB, with TLBSYNC or (`WRONG`) without.
struct Broadcast<const WRONG: bool>;

impl<const WRONG: bool> Flush for Broadcast<WRONG> {
    const ARCH: Arch = Arch::X86;
    fn boot(_: &Boot<'_>) -> Self {
        Broadcast
    }
    async fn page(&self, cpu: Cpu<'_>, pcid: u16, va: Va) {
        let what = Invlpgb::Addr {
            pcid,
            va,
            pages: 1,
            last: true,
        };
        cpu.invlpgb(what).await;
        if !WRONG {
            cpu.tlbsync().await;
        }
    }
}

/// Remote fences; after a fault that was spurious, a local one or (`WRONG`) none.
struct Sbi<const WRONG: bool>;

impl<const WRONG: bool> Flush for Sbi<WRONG> {
    const ARCH: Arch = Arch::Riscv;
    fn boot(_: &Boot<'_>) -> Self {
        Sbi
    }
    async fn page(&self, cpu: Cpu<'_>, tag: u16, va: Va) {
        let all = (1 << cpu.config().cpus) - 1;
        let what = Fence::Both(va, tag);
        assert!(cpu.sbi_remote_sfence_vma(all, what, PAGE).await);
    }
    async fn spurious(&self, cpu: Cpu<'_>, tag: u16, va: Va) {
        if !WRONG {
            cpu.sfence_vma(Fence::Both(va, tag)).await;
        }
    }
}

/// A guest of KVM: IPIs, but a CPU that its host has taken away is flushed when it comes back.
/// `RACY`: by a host that may overlook the wish.
struct Guest<const RACY: bool> {
    preempted: [Shared<u64>; 4],
}

impl<const RACY: bool> Flush for Guest<RACY> {
    const ARCH: Arch = Arch::X86;
    fn boot(boot: &Boot<'_>) -> Self {
        let preempted = boot.vars("preempted", 0);
        boot.steal_time(preempted);
        if RACY {
            boot.racy_host();
        }
        Guest { preempted }
    }
    async fn page(&self, cpu: Cpu<'_>, tag: u16, va: Va) {
        for other in others(cpu) {
            let word = self.preempted[other as usize];
            let seen = word.read(cpu).await;
            let asked =
                seen & PREEMPTED != 0 && word.cmpxchg(cpu, seen, seen | FLUSH_TLB).await == seen;
            if !asked {
                cpu.send_ipi(other, tag as u64).await;
            }
        }
        cpu.invpcid_addr(tag, va).await;
        cpu.wait_ipis().await;
    }
    async fn ipi(&self, cpu: Cpu<'_>, message: u64) {
        cpu.invpcid_single(message as u16).await;
    }
}

struct Kernel<F> {
    lock: Lock,
    roots: [u64; 8],
    reserved: u64,
    flush: F,
}

impl<F: Flush> Kernel<F> {
    /// Where the page's descriptor lies, if there is a table for it.
    async fn pte(&self, cpu: Cpu<'_>, space: Space, va: Va) -> Option<u64> {
        let mut table = self.roots[space.0 as usize];
        for level in cpu.config().first_level()..3 {
            let desc = cpu.pte_read(slot_pa(table, level, va)).await;
            match F::ARCH.decode(Stage::One, level, desc) {
                Decoded::Table(next) => table = next,
                _ => return None,
            }
        }
        Some(slot_pa(table, 3, va))
    }

    /// The leaf that maps an address, and where its descriptor lies.
    async fn leaf(&self, cpu: Cpu<'_>, space: Space, va: Va) -> Option<(u64, Desc, Leaf)> {
        let mut table = self.roots[space.0 as usize];
        for level in cpu.config().first_level()..=3 {
            let at = slot_pa(table, level, va);
            let desc = cpu.pte_read(at).await;
            match F::ARCH.decode(Stage::One, level, desc) {
                Decoded::Table(next) => table = next,
                other => return other.leaf().map(|leaf| (at, desc, leaf)),
            }
        }
        None
    }

    fn pa(desc: Desc) -> Option<u64> {
        F::ARCH.decode(Stage::One, 3, desc).pa()
    }
}

fn tag(space: Space) -> u16 {
    space.0 as u16 + 1
}

impl<F: Flush + 'static> Variant for Kernel<F> {
    const NAME: &'static str = "own";
    const ABOUT: &'static str = "a PCID or ASID for each space";
    const SOURCE: Source = Source {
        tree: "this file",
        files: "own_archs.rs",
    };
    const OPS: &'static [OpKind] = &[
        OpKind::Switch,
        OpKind::SchedOut,
        OpKind::Map,
        OpKind::Unmap,
        OpKind::Protect,
        OpKind::Touch,
    ];

    fn machine(config: Config) -> Config {
        Config {
            arch: F::ARCH,
            ..config
        }
    }

    fn boot(boot: &Boot<'_>) -> Self {
        let reserved = boot.reserved_table();
        if F::ARCH == Arch::X86 {
            boot.sysreg(shootdown_machine::arm64::Reg::Cr4, PCIDE | PGE);
        }
        let mut roots = [0; 8];
        for i in 0..boot.config().spaces {
            let space = Space(i);
            let root = boot.root(space);
            let (mut table, mut upper) = (root, root);
            for level in boot.config().first_level()..3 {
                let next = boot.table(space);
                boot.set(slot_pa(table, level, 0), F::ARCH.table(next));
                upper = table;
                table = next;
            }
            for page in 0..2 {
                let pa = boot.page(space, initial_page(space, page));
                let at = slot_pa(table, 3, page as u64 * PAGE);
                boot.set(at, F::ARCH.leaf(Stage::One, 3, pa, true));
            }
            let block = boot.block(space, initial_page(space, BLOCK_PAGES));
            let at = slot_pa(upper, 2, BLOCK_PAGES as u64 * PAGE);
            boot.set(at, F::ARCH.leaf(Stage::One, 2, block, true));
            roots[i as usize] = root;
        }
        Kernel {
            lock: boot.lock("big_lock"),
            roots,
            reserved,
            flush: F::boot(boot),
        }
    }

    async fn switch_to(&self, cpu: Cpu<'_>, _prev: Option<Space>, next: Space) {
        load::<F>(cpu, self.roots[next.0 as usize], tag(next)).await;
    }

    async fn sched_out(&self, cpu: Cpu<'_>, _prev: Space) {
        load::<F>(cpu, self.reserved, 0).await;
    }

    async fn map(&self, cpu: Cpu<'_>, space: Space, va: Va, page: Page) -> Done {
        self.lock.lock(cpu).await;
        let mut done = Done::No;
        if let Some(at) = self.pte(cpu, space, va).await
            && !cpu.pte_read(at).await.valid()
        {
            let pa = cpu.alloc_page(space, page).await;
            let desc = F::ARCH.leaf(Stage::One, 3, pa, true);
            cpu.pte_write(at, desc).await;
            done = Done::Yes;
        }
        self.lock.unlock(cpu).await;
        done
    }

    async fn unmap(&self, cpu: Cpu<'_>, space: Space, va: Va) -> Done {
        self.lock.lock(cpu).await;
        let mut done = Done::No;
        if let Some(at) = self.pte(cpu, space, va).await
            && let Some(pa) = Self::pa(cpu.pte_xchg(at, Desc::INVALID).await)
        {
            self.flush.page(cpu, tag(space), va).await;
            cpu.free(pa).await;
            done = Done::Yes;
        }
        self.lock.unlock(cpu).await;
        done
    }

    async fn protect(&self, cpu: Cpu<'_>, space: Space, va: Va, prot: Prot) -> Done {
        self.lock.lock(cpu).await;
        let mut done = Done::No;
        if let Some((at, old, _)) = self.leaf(cpu, space, va).await {
            let new = F::ARCH.with_writable(Stage::One, old, prot == Prot::Rw);
            cpu.pte_xchg(at, new).await;
            self.flush.page(cpu, tag(space), va).await;
            done = Done::Yes;
        }
        self.lock.unlock(cpu).await;
        done
    }

    async fn fault(&self, cpu: Cpu<'_>, space: Space, va: Va, access: Access, _: Outcome) -> bool {
        self.lock.lock(cpu).await;
        let mapped = self.leaf(cpu, space, va).await;
        let good = mapped.is_some_and(|(_, _, leaf)| leaf.writable || access == Access::Read);
        if good {
            self.flush.spurious(cpu, tag(space), va).await;
        }
        self.lock.unlock(cpu).await;
        good
    }

    async fn ipi(&self, cpu: Cpu<'_>, message: u64) {
        self.flush.ipi(cpu, message).await;
    }

    const TAGGING: Tagging = Tagging::Global;

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

/// Runs a scenario on a kernel; the rule that it breaks.
fn run<F: Flush + 'static>(bench: &mut Bench, scenario: &Scenario) -> Option<&'static str> {
    let input = Input {
        config: scenario.machine,
        defect: None,
        programs: &scenario.programs,
        sabotage: None,
        trace: false,
    };
    execute::<Kernel<F>>(bench, &input, |exec: &mut dyn Exec| {
        // A host, if there is one, is busy with CPUs that no slot is about.
        let mut host = fastrand::Rng::with_seed(scenario.schedule.len() as u64);
        for slot in &scenario.schedule {
            exec.apply(slot);
            let (cpu, mut state) = (host.u8(..input.config.cpus), exec.machine().state_mut());
            if host.bool() {
                state.preempt(cpu);
            } else {
                state.resume(cpu);
            }
        }
    });
    bench.oracle.finding.as_ref().map(|f| f.rule.name)
}

fn scenario(text: &str) -> Scenario {
    parse(text.as_bytes()).expect("a scenario")
}

fn passes<F: Flush + 'static>() {
    let mut bench = Bench::default();
    let mut rng = fastrand::Rng::with_seed(5);
    let mut hits = 0;
    for _ in 0..3000 {
        let scenario = generate(&mut rng, shootdown_machine::OpSet::ALL);
        assert_eq!(run::<F>(&mut bench, &scenario), None, "{scenario}");
        hits += bench.machine.state().cost.entries_lost;
    }
    assert!(hits > 0, "a flush that had something to remove");
}

/// B-41.
#[test]
fn a_host_that_overlooks_a_wish_is_noticed() {
    let mut bench = Bench::default();
    let mut rng = fastrand::Rng::with_seed(5);
    let mut broken = (0..20_000).map(|_| {
        run::<Guest<true>>(
            &mut bench,
            &generate(&mut rng, shootdown_machine::OpSet::ALL),
        )
    });
    let first = broken.find_map(|rule| rule);
    assert!(first.is_some());
}

/// Both spaces of cpu1 stay in its TLB. cpu0 takes a page of A away.
const SHOOTDOWN: &str = "\
scenario 1
machine cpus=2 spaces=2
cpu0: unmap A 0x0
cpu1: switch A; touch 0x0; switch B; touch 0x1000; switch A; touch 0x0
schedule: cpu1 until CR3 #3, cpu0 until wait_ipi, ipi cpu1, cpu0 x40
";

#[test]
fn sound_kernels_pass_random_scenarios() {
    passes::<Ipis<false>>();
    passes::<Broadcast<false>>();
    passes::<Sbi<false>>();
    passes::<Guest<false>>();
}

#[test]
fn invlpg_reaches_the_pcid_that_is_loaded_and_no_other() {
    let scenario = scenario(SHOOTDOWN);
    let mut bench = Bench::default();
    let broken = run::<Ipis<true>>(&mut bench, &scenario);
    assert_eq!(broken, Some("TLBEmptyInvalPTE"));
    assert_eq!(run::<Ipis<false>>(&mut bench, &scenario), None);
}

#[test]
fn invlpgb_without_tlbsync_may_be_late() {
    let text = SHOOTDOWN.replace("switch B; touch 0x1000; switch A; touch 0x0", "touch 0x0");
    let scenario = scenario(&text.replace("cpu1 until CR3 #3", "cpu1 until touch #2"));
    let mut bench = Bench::default();
    let broken = run::<Broadcast<true>>(&mut bench, &scenario);
    assert_eq!(broken, Some("TLBEmptyInvalPTE"));
    assert_eq!(run::<Broadcast<false>>(&mut bench, &scenario), None);
}

#[test]
fn a_cached_invalid_entry_needs_a_fence_of_the_fault_handler() {
    let scenario = scenario(
        "\
scenario 1
machine cpus=2 spaces=1
cpu0: map A 0x2000
cpu1: switch A; touch 0x2000; touch 0x2000
schedule: cpu1 until touch #2, cpu0 x40
",
    );
    let mut bench = Bench::default();
    let broken = run::<Sbi<true>>(&mut bench, &scenario);
    assert_eq!(broken, Some("recurring-fault"));
    assert_eq!(run::<Sbi<false>>(&mut bench, &scenario), None);
}
