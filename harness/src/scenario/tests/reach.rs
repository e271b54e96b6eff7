// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whatever can be asked for is asked for, soon.

use crate::scenario::mutate::MUTATIONS;
use crate::scenario::{Scenario, Slot, Stop, decode, generate, mutate};
use fastrand::Rng;
use shootdown_machine::arm64::Granule;
use shootdown_machine::{Bbm, Domain, Memory, OpKind, OpSet, Pick};
use std::collections::BTreeSet;

/// The words for what a scenario contains.
fn features(scenario: &Scenario) -> Vec<String> {
    let machine = &scenario.machine;
    let mut found = vec![
        format!("cpus {}", machine.cpus),
        format!("spaces {}", machine.spaces),
        format!("levels {}", machine.levels),
        format!("{:?}", machine.domain),
        format!("{:?}", machine.bbm),
        format!("{:?}", machine.memory),
        format!("{:?}", machine.granule),
    ];
    found.extend(
        scenario
            .programs
            .iter()
            .flatten()
            .map(|op| op.kind().name().to_string()),
    );
    found.extend(scenario.schedule.iter().map(|slot| match slot {
        Slot::Run {
            stop: Stop::Steps(1),
            ..
        } => "one step".to_string(),
        Slot::Run {
            stop: Stop::Steps(2..=20),
            ..
        } => "burst".to_string(),
        Slot::Run {
            stop: Stop::Steps(_),
            ..
        } => "long burst".to_string(),
        Slot::Run {
            stop: Stop::Until { .. },
            ..
        } => "until".to_string(),
        Slot::Walk { old, steps, .. } => format!("walk {old} {}", steps.is_some()),
        Slot::Evict { va, .. } => format!("evict {}", va.is_some()),
        Slot::Deliver { .. } => "deliver".to_string(),
        Slot::Ipi { .. } => "ipi".to_string(),
        Slot::Resolve { pick, .. } => format!("resolve {pick:?}"),
        Slot::Drain { last, .. } => format!("drain {last}"),
        Slot::Preempt { .. } => "preempt".to_string(),
        Slot::Resume { .. } => "resume".to_string(),
        Slot::Stale { by, .. } => format!("stale {}", by.min(&5)),
    }));
    found
}

/// All of them, but `until`, which only people and the minimizer write.
fn all() -> BTreeSet<String> {
    let mut all: BTreeSet<String> = OpKind::ALL.iter().map(|k| k.name().to_string()).collect();
    all.extend((1..=4).map(|n| format!("cpus {n}")));
    all.extend((2..=5).map(|n| format!("spaces {n}")));
    all.extend((2..=3).map(|n| format!("levels {n}")));
    all.extend([Domain::Private, Domain::Smt].map(|d| format!("{d:?}")));
    all.extend([Bbm::Level0, Bbm::Level1, Bbm::Level2, Bbm::NoAbort].map(|b| format!("{b:?}")));
    all.extend(Granule::ALL.iter().map(|g| format!("{g:?}")));
    all.extend(Memory::ALL.iter().map(|m| format!("{m:?}")));
    all.extend(["drain false", "drain true", "preempt", "resume"].map(String::from));
    all.extend((1..=5).map(|n| format!("stale {n}")));
    let picks = [Pick::Oldest, Pick::Newest, Pick::Abort, Pick::Mix];
    all.extend(picks.map(|p| format!("resolve {p:?}")));
    for words in [
        [
            "one step",
            "burst",
            "long burst",
            "deliver",
            "ipi",
            "evict true",
        ],
        [
            "evict false",
            "walk false false",
            "walk false true",
            "walk true false",
            "walk true true",
            "map",
        ],
    ] {
        all.extend(words.map(String::from));
    }
    all
}

/// Scenarios until all has been seen; what has not been seen of it fails.
fn reach(most: u64, mut next: impl FnMut(u64) -> Scenario) {
    let mut missing = all();
    for seed in 0..most {
        for feature in features(&next(seed)) {
            assert_ne!(feature, "until");
            missing.remove(&feature);
        }
        if missing.is_empty() {
            return;
        }
    }
    panic!("not reached by {most} scenarios: {missing:?}");
}

#[test]
fn generation_reaches_everything() {
    reach(500, |seed| generate(&mut Rng::with_seed(seed), OpSet::ALL));
}

#[test]
fn bytes_reach_everything() {
    reach(500, |seed| {
        let mut rng = Rng::with_seed(seed);
        let bytes: Vec<u8> = (0..300).map(|_| rng.u8(..)).collect();
        let mut scenario = decode(&bytes);
        // Bursts are kept short there: a count has a byte and a schedule many slots.
        scenario.schedule.truncate(200);
        scenario
    });
}

#[test]
fn mutation_reaches_everything() {
    let mut rng = Rng::with_seed(1);
    let mut scenario = Scenario::default();
    reach(20_000, |_| {
        mutate(&mut scenario, &mut rng, OpSet::ALL);
        scenario.clone()
    });
}

#[test]
fn every_mutation_changes_something() {
    for (index, (weight, mutation)) in MUTATIONS.iter().enumerate() {
        assert!(*weight > 0);
        let changed = (0..100).filter(|seed| {
            let mut rng = Rng::with_seed(*seed);
            let before = generate(&mut rng, OpSet::ALL);
            let mut after = before.clone();
            let said = mutation(&mut after, &mut rng, OpSet::ALL);
            after.repair();
            // It may say it did while the change is repaired away, not the reverse.
            assert!(said || after == before, "mutation {index} denies a change");
            after != before
        });
        assert!(
            changed.count() > 20,
            "mutation {index} rarely changes anything"
        );
    }
}

#[test]
fn mutations_leave_an_empty_scenario_valid() {
    let mut empty = Scenario::default();
    empty.machine.cpus = 1;
    empty.repair();
    for seed in 0..50 {
        for (_, mutation) in &MUTATIONS {
            mutation(&mut empty.clone(), &mut Rng::with_seed(seed), OpSet::ALL);
        }
    }
}

#[test]
fn generated_scenarios_are_about_few_spaces_and_tags() {
    let scenarios: Vec<Scenario> = (0..1000)
        .map(|n| generate(&mut Rng::with_seed(n), OpSet::of(OpKind::BASIC)))
        .collect();
    let share = |wanted: fn(&Scenario) -> bool| scenarios.iter().filter(|s| wanted(s)).count();
    assert!(share(|s| s.machine.cpus == 2) > 750);
    assert!(share(|s| s.machine.domain == Domain::Smt) > 600);
    assert!(share(|s| s.machine.memory == Memory::Sc) > 400);
    assert!(share(|s| s.machine.memory == Memory::Arm) > 250);
    assert!(share(|s| s.machine.tags == s.machine.cpus + 2) > 700);
    let switches = |s: &Scenario| {
        s.programs
            .iter()
            .flatten()
            .filter(|op| op.kind() == OpKind::Switch)
            .count()
    };
    let ops: usize = scenarios
        .iter()
        .flat_map(|s| &s.programs)
        .map(Vec::len)
        .sum();
    let switches: usize = scenarios.iter().map(switches).sum();
    assert!(switches * 4 > ops, "{switches} of {ops}");
}

#[test]
fn only_weak_memory_has_drains_and_old_values() {
    let mut drains = 0;
    for seed in 0..1000 {
        let scenario = generate(&mut Rng::with_seed(seed), OpSet::ALL);
        for slot in &scenario.schedule {
            let weak = match slot {
                Slot::Drain { last, .. } => {
                    drains += u32::from(*last);
                    scenario.machine.memory.buffers()
                }
                Slot::Stale { .. } => scenario.machine.memory.stale_reads(),
                _ => true,
            };
            assert!(weak, "{scenario}");
        }
    }
    assert!(drains > 500, "{drains} drains out of order");
}
