// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which trials there are, and that none is made twice.

use super::store::Finding;
use super::*;
use clap::Parser;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn args(line: &str) -> Result<Args, clap::Error> {
    let words = line.split_ascii_whitespace();
    Line::try_parse_from(["zoo"].into_iter().chain(words)).map(|line| line.args)
}

/// A search for the canary.
pub(super) fn trial(engine: Engine, seed: u32, seconds: u32) -> Trial {
    Trial {
        subject: Subject::parse("canary").unwrap(),
        fingerprint: 7,
        engine,
        seed,
        seconds,
    }
}

/// What it came to: a finding after so much CPU time, or none.
pub(super) fn record(trial: &Trial, found: Option<f64>) -> Record {
    let finding = Finding {
        rule: "break-before-make".into(),
        explained: true,
        operations: 2,
        slots: 1,
        scenario: "scenario 1\n".into(),
    };
    Record {
        defect: trial.subject.name(),
        engine: trial.engine,
        seed: trial.seed,
        seconds: trial.seconds,
        fingerprint: format!("{:016x}", trial.fingerprint),
        executions: found.map_or(1_000_000, |cpu| (cpu * 1000.0) as u64),
        cpu_seconds: found.unwrap_or(trial.seconds.into()),
        finding: found.map(|_| finding),
    }
}

#[test]
fn the_first_seed_comes_first_for_all() {
    let args =
        args("canary arm64-asid/B-1 --seeds 2 --seeds-of pct=1 --seconds 9 --limit pct=5").unwrap();
    let subjects = subjects(&args.names).unwrap();
    let trials = trials(&args, &subjects, &[Engine::Fuzz, Engine::Pct]);
    let said = |t: &Trial| (t.seed, t.subject.name(), t.engine.name(), t.seconds);
    let all: Vec<_> = trials.iter().map(said).collect();
    let of = |seed, name: &str, engine, seconds| (seed, name.to_owned(), engine, seconds);
    assert_eq!(
        all,
        [
            of(1, "canary", "fuzz", 9),
            of(1, "canary", "pct", 5),
            of(1, "arm64-asid/B-1", "fuzz", 9),
            of(1, "arm64-asid/B-1", "pct", 5),
            of(2, "canary", "fuzz", 9),
            of(2, "arm64-asid/B-1", "fuzz", 9),
        ]
    );
    // One defect may have fewer.
    let args = super::tests::args("--seeds 2 --seeds-of arm64-asid/B-1=1").unwrap();
    let fewer = super::trials(&args, &subjects, &[Engine::Fuzz]);
    let said: Vec<_> = fewer.iter().map(|t| (t.seed, t.subject.name())).collect();
    let of = |seed, name: &str| (seed, name.to_owned());
    assert_eq!(
        said,
        [of(1, "canary"), of(1, "arm64-asid/B-1"), of(2, "canary")]
    );
}

#[test]
fn what_is_there_is_not_measured_again() {
    let folder = std::env::temp_dir().join(format!("shootdown-zoo-run-{}", std::process::id()));
    let line = format!(
        "canary --seeds 2 --jobs 1 --state {}",
        folder.join("zoo.json").display()
    );
    let args = args(&line).unwrap();
    let subjects = subjects(&args.names).unwrap();
    let all = trials(&args, &subjects, &[Engine::Run, Engine::Sticky]);
    let mut store = Store::open(&args.state, false).unwrap();
    // One result is there, and one that nothing could come to.
    run(&args, &all[..1], all.len(), &mut store).unwrap();
    store.put(record(&all[1], None)).unwrap();
    let mut old = record(&all[1], None);
    old.fingerprint = format!("{:016x}", all[1].fingerprint);
    store.put(old.clone()).unwrap();
    let mut store = Store::open(&args.state, false).unwrap();
    let first = store.get(&all[0]).unwrap().clone();
    let left = missing(&all, &store);
    assert_eq!(left.len(), 2);
    run(&args, &left, all.len(), &mut store).unwrap();
    assert_eq!(store.get(&all[0]), Some(&first));
    assert_eq!(store.get(&all[1]), Some(&old));
    assert!(missing(&all, &store).is_empty());
    assert!(store.get(&all[3]).unwrap().finding.is_some());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn names_are_defects_variants_or_all() {
    let of = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
        subjects(&names).map(|all| all.iter().map(Subject::name).collect::<Vec<_>>())
    };
    let all = of(&[]).unwrap();
    assert!(all.contains(&"canary".into()) && all.contains(&"arm64-asid/B-1".into()));
    assert!(!all.contains(&"naive".into()) && !all.contains(&"arm64-asid".into()));
    let one = of(&["arm64-asid/B-1", "arm64-asid", "arm64-asid/B-1"]).unwrap();
    assert_eq!(one[0], "arm64-asid/B-1");
    assert!(one.len() > 2 && one[1..].iter().all(|n| n != "arm64-asid/B-1"));
    assert!(of(&["naive"]).is_err() && of(&["arm64-asid/none"]).is_err());
}

#[test]
fn limits_and_the_command_for_the_same_again() {
    let line = "canary --seeds 3 --limit random=20 --seeds-of fuzz=4 \
                --seeds-of arm64-asid/B-1=2 --engine fuzz --markdown m.md";
    let all = args(line).unwrap();
    assert_eq!(
        command(&all),
        "shootdown zoo canary --engine fuzz --seeds 3 --seconds 60 --seeds-of fuzz=4 \
         --seeds-of arm64-asid/B-1=2 --limit random=20 --markdown m.md"
    );
    assert_eq!(seeds(&all), "3 seeds each (fuzz 4, arm64-asid/B-1 2)");
    for bad in ["pct", "none=3", "pct=0", "pct=301", "pct=x"] {
        assert!(args(&format!("--limit {bad}")).is_err(), "{bad}");
    }
    for bad in ["arm64-asid/none=2", "arm64-asid/B-1=0", "arm64-asid/B-1"] {
        assert!(args(&format!("--seeds-of {bad}")).is_err(), "{bad}");
    }
    assert!(args("--seconds 301").is_err());
}
