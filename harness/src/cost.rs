// SPDX-License-Identifier: MIT OR Apache-2.0
//! What variants pay for the same operations: instructions that invalidate, barriers,
//! interrupts, and TLB entries that were lost and had to be made again.

use crate::check::{Subject, input, run};
use crate::exec::{Bench, Exec, Input};
use crate::scenario::{Scenario, Slot, Stop};
use shootdown_machine::arm64::{Kind, Scope, Stage, Tlbi};
use shootdown_machine::{Config, Done, Drop, Entry, Event, OpSet};
use std::collections::HashMap;

/// Counts over many runs of one variant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Costs {
    /// Operations that were carried out.
    pub operations: u64,
    /// Steps, of CPUs and of hardware.
    pub steps: u64,
    /// Invalidations for the issuing CPU only.
    pub local: u64,
    /// Invalidations for other CPUs too.
    pub broadcast: u64,
    /// Of both: those for one address.
    pub page: u64,
    /// For a range of addresses.
    pub range: u64,
    /// For all of one ASID or PCID.
    pub tag: u64,
    /// For more than that.
    pub all: u64,
    /// DSBs.
    pub dsb: u64,
    /// IPIs.
    pub ipi: u64,
    /// Entries that invalidations removed.
    pub lost: u64,
    /// Of these: made again later, for the same space and just as they were.
    pub again: u64,
    /// Walks that an access had to wait for.
    pub refills: u64,
    /// Faults.
    pub faults: u64,
    /// Slow paths that ports name.
    pub slow: u64,
}

/// Columns, in the order of [`Costs::numbers`].
pub const COLUMNS: [&str; 15] = [
    "ops", "steps", "local", "bcast", "page", "range", "tag", "all", "dsb", "ipi", "lost", "again",
    "refill", "fault", "slow",
];

impl Costs {
    /// All of them.
    pub fn numbers(&self) -> [u64; COLUMNS.len()] {
        [
            self.operations,
            self.steps,
            self.local,
            self.broadcast,
            self.page,
            self.range,
            self.tag,
            self.all,
            self.dsb,
            self.ipi,
            self.lost,
            self.again,
            self.refills,
            self.faults,
            self.slow,
        ]
    }

    fn invalidation(&mut self, op: &Tlbi) {
        let row = op.kind.row();
        *match row.scope {
            _ if row.range => &mut self.range,
            Scope::Va | Scope::VaOwn | Scope::VaAllAsid | Scope::Ipa => &mut self.page,
            Scope::Asid => &mut self.tag,
            Scope::All | Scope::NonGlobal | Scope::VmBoth | Scope::Vm => &mut self.all,
        } += 1;
    }

    /// Takes in a run, by its events.
    fn events(&mut self, bench: &Bench, machine: &Config) {
        let mut held: HashMap<u32, (usize, Entry)> = HashMap::new();
        let mut lost: Vec<(usize, Entry)> = Vec::new();
        for (_, event) in &bench.trace {
            match event {
                // A page fault's own invalidation is not the kernel's.
                Event::Tlbi { op, .. } if op.kind != Kind::PageFault => self.invalidation(op),
                Event::End { done, .. } => self.operations += u64::from(*done == Done::Yes),
                Event::Fill { cpu, entry, .. } => {
                    let tlb = machine.tlb_of(*cpu);
                    held.insert(entry.id, (tlb, *entry));
                    if let Some(at) = lost.iter().position(|(t, e)| *t == tlb && same(e, entry)) {
                        lost.swap_remove(at);
                        self.again += 1;
                    }
                }
                Event::Dropped {
                    entry,
                    why: Drop::Tlbi(..),
                    ..
                } => lost.extend(held.get(entry)),
                _ => {}
            }
        }
    }
}

/// Whether two entries translate the same for the same space, under whatever tags.
fn same(a: &Entry, b: &Entry) -> bool {
    let key = |e: &Entry| (e.va, e.size, e.level, e.pa, e.writable, e.owner);
    key(a) == key(b) && (a.stage == Stage::Two) == (b.stage == Stage::Two)
}

/// Scenarios that can be compared: only operations that each of `subjects` implements.
pub fn comparable(scenarios: &[Scenario], subjects: &[Subject]) -> Vec<Scenario> {
    let all = |kind| subjects.iter().all(|s| OpSet::of(s.info.ops).has(kind));
    let cut = |scenario: &Scenario| {
        let mut scenario = scenario.clone();
        for program in &mut scenario.programs {
            program.retain(|op| all(op.kind()));
        }
        scenario
    };
    scenarios.iter().map(cut).collect()
}

/// Runs a variant on every scenario without its schedule: CPUs take turns of an operation each,
/// and hardware does nothing unasked.
///
/// # Errors
/// A sentence, if it breaks a rule.
pub fn measure(bench: &mut Bench, by: Subject, scenarios: &[Scenario]) -> Result<Costs, String> {
    let mut costs = Costs::default();
    for scenario in scenarios {
        let traced = Input {
            trace: true,
            ..input(scenario)
        };
        let cpus = scenario.machine.cpus;
        run(bench, by, traced, |exec| in_turns(exec, cpus));
        if let Some(finding) = &bench.oracle.finding {
            let (name, rule) = (by.name(), finding.rule.name);
            return Err(format!("{name} breaks {rule} in\n{scenario}"));
        }
        let cost = bench.machine.state().cost;
        costs.steps += cost.steps;
        costs.local += cost.tlbi_local;
        costs.broadcast += cost.tlbi_broadcast;
        costs.dsb += cost.dsb;
        costs.ipi += cost.ipi;
        costs.lost += cost.entries_lost;
        costs.refills += cost.refills;
        costs.faults += cost.faults;
        costs.slow += cost.slow_paths;
        let config = (by.info.machine)(scenario.machine).clamp();
        costs.events(bench, &config);
    }
    Ok(costs)
}

/// An operation of each CPU in turn; one that has to wait goes on when its turn comes again.
fn in_turns(exec: &mut dyn Exec, cpus: u8) {
    let mut moved = true;
    while moved {
        moved = false;
        for cpu in 0..cpus {
            loop {
                if !exec.apply(&Slot::Ipi { cpu }) {
                    return;
                }
                if !exec.ready(cpu) {
                    break;
                }
                moved = true;
                let stop = Stop::Steps(1);
                exec.apply(&Slot::Run { cpu, stop });
                if exec.next(cpu).is_none() {
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::parse;

    fn of(name: &str, text: &str) -> Costs {
        let scenarios = [parse(text.as_bytes()).unwrap()];
        let by = Subject::parse(name).unwrap();
        measure(&mut Bench::default(), by, &scenarios).unwrap()
    }

    const MACHINE: &str = "scenario 1\nmachine domain=private\n";

    #[test]
    fn an_unmap_is_one_broadcast_of_one_page() {
        let text = format!("{MACHINE}cpu0: switch A; touch 0x1000; touch 0x0; unmap A 0x1000\n");
        let costs = of("arm64-asid", &text);
        assert_eq!((costs.operations, costs.refills), (4, 2));
        assert_eq!((costs.broadcast, costs.page, costs.local), (1, 1, 0));
        // The page is lost for good, and what led to it.
        assert!(costs.lost > 0 && costs.again == 0);
    }

    #[test]
    fn what_is_made_again_was_lost_for_nothing() {
        let text = format!(
            "{MACHINE}cpu0: switch A; touch 0x1000; touch 0x0; unmap A 0x1000; touch 0x0\n"
        );
        // It flushes everything, always.
        let costs = of("naive", &text);
        assert!(costs.all > 0 && costs.again > 0, "{costs:?}");
        assert!(costs.again <= costs.lost);
        assert!(costs.refills > of("arm64-asid", &text).refills);
    }

    #[test]
    fn only_common_operations_are_compared() {
        let text =
            format!("{MACHINE}cpu0: switch A; unmap A 0x0; pin A; exit A\ncpu1: touch 0x0\n");
        let scenario = parse(text.as_bytes()).unwrap();
        let subjects = Subject::sound();
        let cut = comparable(&[scenario], &subjects).remove(0);
        for op in cut.programs.iter().flatten() {
            assert!(
                subjects.iter().all(|s| s.info.ops.contains(&op.kind())),
                "{op}"
            );
        }
        assert!(cut.programs[0].len() < 4 && cut.schedule.is_empty());
    }

    #[test]
    fn cpus_take_turns() {
        // B is loaded on cpu1 while cpu0 still has operations to do: its entry survives them.
        let text = format!(
            "{MACHINE}cpu0: switch A; switch B; unmap A 0x1000\ncpu1: switch B; touch 0x0; touch 0x0\n"
        );
        let costs = of("arm64-asid", &text);
        assert_eq!((costs.operations, costs.refills, costs.lost), (6, 1, 0));
    }
}
