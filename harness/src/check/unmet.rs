// SPDX-License-Identifier: MIT OR Apache-2.0
//! `until` slots that wait for what never comes: a name that is misspelt, or one that the
//! variant has no step of.

use crate::check::{Subject, input, run};
use crate::exec::{Bench, DONE, Exec};
use crate::names::is_named;
use crate::scenario::{Scenario, Slot, Stop};

/// Which `until` slots of a scenario, counted among themselves, are met in no run: the CPU comes to
/// its end, or to where it waits, or spins, without a step of that name.
///
/// What a run did not get to, since a rule was broken, is not among them.
pub fn unmet(bench: &mut Bench, scenario: &Scenario, subjects: &[Subject]) -> Vec<usize> {
    let until = |slot: &&Slot| {
        matches!(
            slot,
            Slot::Run {
                stop: Stop::Until { .. },
                ..
            }
        )
    };
    let mut open = vec![true; scenario.schedule.iter().filter(until).count()];
    for &by in subjects {
        run(bench, by, input(scenario), |exec| {
            let mut seen = vec![false; open.len()];
            follow(exec, scenario, &mut seen);
            for (open, failed) in open.iter_mut().zip(seen) {
                *open &= failed;
            }
        });
    }
    let open = open.iter().enumerate();
    open.filter_map(|(nth, open)| open.then_some(nth)).collect()
}

/// Runs the schedule, and notes which `until` slots end without a step of their name to come.
fn follow(exec: &mut dyn Exec, scenario: &Scenario, failed: &mut [bool]) {
    let mut failed = failed.iter_mut();
    for slot in &scenario.schedule {
        if !exec.apply(slot) {
            return;
        }
        let Slot::Run {
            cpu,
            stop: Stop::Until { name, .. },
        } = slot
        else {
            continue;
        };
        let state = exec.machine().state();
        let next = exec.next(*cpu);
        let here = match next {
            None => name == DONE,
            Some(next) => is_named(&state, &next.act, name),
        };
        if let Some(failed) = failed.next() {
            *failed = !here;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::unmet;
    use crate::check::Subject;
    use crate::exec::Bench;
    use crate::scenario::parse;

    fn of(variants: &str, schedule: &str) -> Vec<usize> {
        let text = format!(
            "scenario 1\nvariants {variants}\nmachine cpus=2\ncpu0: switch A; touch 0x0\n\
             cpu1: switch A; unmap A 0x0\nschedule: {schedule}\n"
        );
        let scenario = parse(text.as_bytes()).expect("a scenario");
        let subjects = Subject::of(&scenario).expect("known names");
        unmet(&mut Bench::default(), &scenario, &subjects)
    }

    #[test]
    fn names_of_steps_registers_and_variables_are_met() {
        let schedule = "cpu0 until touch, cpu1 until active_asids, cpu1 until TTBR0 #2";
        assert!(of("arm64-asid", schedule).is_empty());
    }

    #[test]
    fn a_name_that_nothing_bears_is_not() {
        let schedule = "cpu0 until TTBR0, cpu0 until active_asid, cpu1 until VTTBR, cpu1 until pte";
        assert_eq!(of("arm64-asid", schedule), [1, 2, 3]);
    }

    #[test]
    fn nor_is_one_that_is_met_too_few_times() {
        assert_eq!(of("arm64-asid", "cpu0 until touch #2"), [0]);
    }

    #[test]
    fn one_variant_that_meets_it_is_enough() {
        let schedule = "cpu0 until VTTBR, cpu1 until satp";
        assert_eq!(of("arm64-asid kvm-vmid", schedule), [1]);
        assert!(of("arm64-asid kvm-vmid riscv-asid", schedule).is_empty());
    }

    #[test]
    fn what_a_broken_rule_cuts_short_is_not_judged() {
        let text = "scenario 1\nvariants kvm-vmid/from-zero\nmachine cpus=1\n\
                    cpu0: switch A; touch 0x0\nschedule: cpu0 until no_such_step\n";
        let scenario = parse(text.as_bytes()).expect("a scenario");
        let subjects = Subject::of(&scenario).expect("known names");
        assert!(unmet(&mut Bench::default(), &scenario, &subjects).is_empty());
    }
}
