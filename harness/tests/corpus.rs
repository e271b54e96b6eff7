// SPDX-License-Identifier: MIT OR Apache-2.0
//! The committed corpus: verdicts, defects, goals.

use shootdown::check::{Subject, check};
use shootdown::corpus::load;
use shootdown::exec::Bench;
use shootdown::minimize::minimize;
use shootdown::scenario::{Expect, Scenario, parse, print};
use shootdown_machine::arm64::Granule;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn corpus() -> Vec<(PathBuf, Scenario)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus");
    load(&root).expect("the corpus parses")
}

#[test]
fn every_scenario_ends_as_it_says() {
    let mut bench = Bench::default();
    for (path, scenario) in corpus() {
        let subjects = Subject::of(&scenario).expect("known names");
        let found = check(&mut bench, &scenario, &subjects).found;
        let got = found.as_ref().map_or(Expect::Pass, |f| f.expect());
        assert_eq!(scenario.expect, Some(got), "{}", path.display());
    }
}

/// Kernels build TLBI operands for the granule that the machine has.
#[test]
fn sound_variants_pass_with_every_granule() {
    let mut bench = Bench::default();
    for (path, mut scenario) in corpus() {
        for granule in [Granule::K16, Granule::K64] {
            scenario.machine.granule = granule;
            let found = check(&mut bench, &scenario, &Subject::sound()).found;
            assert!(found.is_none(), "{}: {found:?}", path.display());
        }
    }
}

#[test]
fn sound_variants_pass_every_scenario() {
    let mut bench = Bench::default();
    for (path, scenario) in corpus() {
        let found = check(&mut bench, &scenario, &Subject::sound()).found;
        assert!(found.is_none(), "{}: {found:?}", path.display());
    }
}

#[test]
fn every_defect_has_a_scenario_that_breaks_a_rule_it_must_break() {
    let mut bench = Bench::default();
    let corpus = corpus();
    for info in shootdown_variants::all() {
        for defect in info.defects {
            let by = Subject {
                info,
                defect: Some(defect),
            };
            let mine = corpus.iter().filter(|(_, s)| s.variants == [by.choice()]);
            let mut enough = false;
            for (path, scenario) in mine {
                enough |= scenario.machine.switches == by.needs();
                let found = check(&mut bench, scenario, &[by]).found.expect("a breach");
                let rule = found.finding.rule.name;
                assert!(defect.explains(rule), "{}: {rule}", path.display());
                let sound = Subject { info, defect: None };
                assert!(
                    check(&mut bench, scenario, &[sound]).found.is_none(),
                    "{}",
                    path.display()
                );
            }
            assert!(enough, "{} has no scenario with its switches", by.name());
        }
    }
}

#[test]
fn the_rules_that_defects_name_exist() {
    for info in shootdown_variants::all() {
        for defect in info.defects {
            for rule in defect.breaks.iter().flat_map(|list| *list) {
                assert!(
                    shootdown_oracle::rule(rule).is_some(),
                    "{rule} of {}",
                    defect.name
                );
            }
        }
    }
}

#[test]
fn the_corpus_reaches_every_goal() {
    let mut bench = Bench::default();
    for (_, scenario) in corpus() {
        check(&mut bench, &scenario, &Subject::sound());
    }
    let goals = |info: &'static shootdown_variants::Info| {
        info.goals.iter().map(move |goal| (info.name, *goal))
    };
    let wanted: BTreeSet<_> = shootdown_variants::all().iter().flat_map(goals).collect();
    let missed: Vec<_> = wanted.difference(&bench.coverage.goals).collect();
    assert!(missed.is_empty(), "not reached: {missed:#?}");
}

#[test]
fn a_scenario_prints_as_what_it_parses_to() {
    for (path, scenario) in corpus() {
        let again = parse(print(&scenario).as_bytes()).expect("what is printed parses");
        assert_eq!(again, scenario, "{}", path.display());
    }
}

#[test]
fn what_is_minimized_stays_as_it_is() {
    let mut bench = Bench::default();
    for (path, scenario) in corpus() {
        let Some(once) = minimize(&mut bench, &scenario).unwrap() else {
            continue;
        };
        let size = |s: &Scenario| {
            let (operations, turns) = s.size();
            operations + turns
        };
        assert!(
            size(&once.scenario) <= size(&scenario),
            "{}",
            path.display()
        );
        let twice = minimize(&mut bench, &once.scenario).unwrap().unwrap();
        assert_eq!(once.scenario, twice.scenario, "{}", path.display());
    }
}
