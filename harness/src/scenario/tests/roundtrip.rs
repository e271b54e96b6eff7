// SPDX-License-Identifier: MIT OR Apache-2.0
//! Printing and parsing are inverse, and whatever is made is valid.

use crate::scenario::words::Word;
use crate::scenario::{COLUMNS, Choice, Expect, MAX_NAME, MAX_OPS, MAX_SLOTS, MAX_TEXT};
use crate::scenario::{MAX_VARIANTS, Scenario, Slot, Stop};
use crate::scenario::{crossover, decode, generate, mutate, parse, parse_lenient, print};
use arbitrary::{Arbitrary, Unstructured};
use fastrand::Rng;
use shootdown_machine::{
    Access, Config, Op, OpKind, Operands, PAGE, PAGES, Pick, Prot, Space, Switch, Switches,
};

/// That a scenario is valid, which is that its text says exactly it.
#[track_caller]
fn check(scenario: &Scenario) {
    let text = print(scenario);
    match parse(text.as_bytes()) {
        Ok(parsed) => assert_eq!(parsed, *scenario, "{text}"),
        Err(error) => panic!("{error}\n{text}"),
    }
    let mut repaired = scenario.clone();
    repaired.repair();
    assert_eq!(repaired, *scenario, "repair changed a valid scenario");
    for line in text.lines() {
        let breakable = !line.starts_with("expect") && line.split(' ').count() > 2;
        assert!(line.len() <= COLUMNS || !breakable, "{line}");
    }
    assert!(text.is_ascii() && text.len() <= MAX_TEXT);
    let off = Switches::default();
    let machine = Config {
        switches: off,
        ..scenario.machine
    };
    let harmless = Scenario {
        machine,
        ..scenario.clone()
    };
    assert_eq!(parse_lenient(text.as_bytes()).unwrap(), harmless);
}

/// That fuzz input depends on nothing that the architecture does not promise.
#[track_caller]
fn check_input(scenario: &Scenario) {
    assert_eq!(scenario.machine.switches, Switches::default());
    check(scenario);
}

#[test]
fn generated() {
    for seed in 0..5000 {
        let scenario = generate(&mut Rng::with_seed(seed), shootdown_machine::OpSet::ALL);
        check_input(&scenario);
        assert!((4..=60).contains(&scenario.schedule.len()));
        assert!(
            scenario
                .programs
                .iter()
                .all(|p| (1..=MAX_OPS).contains(&p.len()))
        );
        assert_eq!(
            scenario,
            generate(&mut Rng::with_seed(seed), shootdown_machine::OpSet::ALL)
        );
    }
}

#[test]
fn decoded() {
    for seed in 0..5000 {
        let mut rng = Rng::with_seed(seed);
        let bytes: Vec<u8> = (0..rng.usize(..200)).map(|_| rng.u8(..)).collect();
        let scenario = decode(&bytes);
        check_input(&scenario);
        let arbitrary = Scenario::arbitrary(&mut Unstructured::new(&bytes)).unwrap();
        assert_eq!(scenario, arbitrary);
    }
    check_input(&decode(b""));
    assert_eq!(decode(&[0; 2]).machine, Config::default());
    check_input(&decode(&[0xff; 100_000]));
}

#[test]
fn mutated() {
    for seed in 0..200 {
        let mut rng = Rng::with_seed(seed);
        let mut scenario = wild(&mut rng);
        let variants = scenario.variants.clone();
        for _ in 0..100 {
            mutate(&mut scenario, &mut rng, shootdown_machine::OpSet::ALL);
            check_input(&scenario);
            assert_eq!(scenario.expect, None);
            assert_eq!(scenario.variants, variants);
        }
    }
}

#[test]
fn crossed() {
    for seed in 0..2000 {
        let mut rng = Rng::with_seed(seed);
        let (a, b) = (
            wild(&mut rng),
            generate(&mut rng, shootdown_machine::OpSet::ALL),
        );
        check_input(&crossover(&a, &b, &mut rng));
        check_input(&crossover(&b, &a, &mut rng));
        assert_eq!(crossover(&b, &a, &mut rng).variants, b.variants);
    }
    let nothing = Scenario::default();
    check_input(&crossover(&nothing, &nothing, &mut Rng::with_seed(0)));
}

/// Anything that is valid, whether or not the fuzzer would come up with it.
fn wild(rng: &mut Rng) -> Scenario {
    let mut scenario = invalid(rng);
    scenario.repair();
    scenario
}

/// Any values at all.
fn invalid(rng: &mut Rng) -> Scenario {
    let few = |rng: &mut Rng, most: usize| if rng.bool() { most } else { most / 10 };
    let (ops, slots) = (few(rng, 2 * MAX_OPS), few(rng, 2 * MAX_SLOTS));
    Scenario {
        variants: (0..rng.usize(..6)).map(|_| choice(rng)).collect(),
        machine: config(rng),
        programs: (0..rng.usize(..7))
            .map(|_| (0..rng.usize(..ops)).map(|_| op(rng)).collect())
            .collect(),
        schedule: (0..rng.usize(..slots)).map(|_| slot(rng)).collect(),
        expect: match rng.u32(..3) {
            0 => None,
            1 => Some(Expect::Pass),
            _ => Some(Expect::Breach {
                rule: name(rng),
                by: choice(rng),
            }),
        },
    }
}

fn pick<T: Word>(rng: &mut Rng) -> T {
    T::ALL[rng.usize(..T::ALL.len())]
}

fn number(rng: &mut Rng) -> u8 {
    if rng.u32(..4) == 0 {
        rng.u8(..)
    } else {
        rng.u8(..8)
    }
}

fn config(rng: &mut Rng) -> Config {
    Config {
        cpus: number(rng),
        spaces: number(rng),
        tags: number(rng),
        memory: pick(rng),
        domain: pick(rng),
        bbm: pick(rng),
        levels: number(rng),
        granule: pick(rng),
        switches: Switch::ALL
            .iter()
            .fold(Switches::default(), |s, w| s.with(*w, rng.bool())),
        ..Config::default()
    }
}

fn name(rng: &mut Rng) -> String {
    const LETTERS: &[u8] = b"abcxyzABCXYZ0189-_.";
    let len = if rng.u32(..4) == 0 { MAX_NAME + 1 } else { 12 };
    (0..rng.usize(..=len))
        .map(|_| LETTERS[rng.usize(..LETTERS.len())] as char)
        .collect()
}

fn choice(rng: &mut Rng) -> Choice {
    let variant = name(rng).to_lowercase().replace(['_', '.'], "-");
    let defect = rng.bool().then(|| name(rng).replace(['_', '.'], "-"));
    Choice { variant, defect }
}

fn va(rng: &mut Rng) -> u64 {
    match rng.u32(..8) {
        0 => rng.u64(..),
        _ => rng.u64(..PAGES as u64) * PAGE,
    }
}

fn op(rng: &mut Rng) -> Op {
    let access = if rng.bool() {
        Access::Read
    } else {
        Access::Write
    };
    let kind = pick::<OpKind>(rng);
    kind.with(&Operands {
        space: Space(number(rng)),
        other: Space(number(rng)),
        va: va(rng),
        to: va(rng),
        prot: pick(rng),
        access,
    })
}

fn slot(rng: &mut Rng) -> Slot {
    let cpu = number(rng);
    match rng.u32(..12) {
        10 => Slot::Preempt { cpu },
        11 => Slot::Resume { cpu },
        8 => Slot::Drain {
            cpu,
            last: rng.bool(),
        },
        9 => Slot::Stale {
            cpu,
            by: number(rng),
        },
        0 => Slot::Walk {
            cpu,
            va: va(rng),
            old: rng.bool(),
            steps: rng.bool().then(|| number(rng)),
        },
        1 => Slot::Evict {
            cpu,
            va: rng.bool().then(|| va(rng)),
        },
        2 => Slot::Deliver {
            cpu,
            last: rng.bool(),
        },
        3 => Slot::Ipi { cpu },
        4 => Slot::Resolve {
            cpu,
            pick: pick::<Pick>(rng),
        },
        5 => Slot::Run {
            cpu,
            stop: Stop::Until {
                name: name(rng),
                nth: rng.u16(..),
            },
        },
        6 => Slot::Run {
            cpu,
            stop: Stop::Steps(rng.u16(..)),
        },
        _ => Slot::Run {
            cpu,
            stop: Stop::Steps(rng.u16(..20)),
        },
    }
}

#[test]
fn repaired() {
    for seed in 0..2000 {
        check(&wild(&mut Rng::with_seed(seed)));
    }
}

#[test]
fn the_longest_scenario_fits_into_a_text() {
    let long = "n".repeat(MAX_NAME);
    let by = Choice {
        variant: long.clone(),
        defect: Some(long.clone()),
    };
    let machine = Config {
        cpus: 4,
        spaces: 8,
        tags: 16,
        ..Config::default()
    };
    let until = Stop::Until {
        name: long.clone(),
        nth: 9999,
    };
    check(&Scenario {
        variants: vec![by.clone(); MAX_VARIANTS],
        machine,
        programs: vec![vec![Op::Protect(Space(7), 0xf000, Prot::Ro); MAX_OPS]; 4],
        schedule: vec![
            Slot::Run {
                cpu: 3,
                stop: until
            };
            MAX_SLOTS
        ],
        expect: Some(Expect::Breach { rule: long, by }),
    });
}

/// Damages a text: bytes changed, removed, repeated, or cut off.
fn corrupt(text: &mut Vec<u8>, rng: &mut Rng) {
    const TOKENS: &[&[u8]] = &[
        b";", b",", b"#", b"\n", b"cpu9", b" x99999", b"=", b":", b"\xff",
    ];
    for _ in 0..rng.usize(1..10) {
        let at = rng.usize(..text.len());
        match rng.u32(..5) {
            0 => text[at] = rng.u8(..),
            1 => drop(text.remove(at)),
            2 => drop(text.splice(at..at, TOKENS[rng.usize(..TOKENS.len())].iter().copied())),
            3 => text.extend_from_within(at..),
            _ => text.truncate(at.max(1)),
        }
        if text.is_empty() {
            text.push(b'x');
        }
    }
}

#[test]
fn damaged_texts_are_repaired() {
    let (mut read, mut kept) = (0, 0);
    for seed in 0..20_000 {
        let mut rng = Rng::with_seed(seed);
        let scenario = if seed % 4 == 0 {
            wild(&mut rng)
        } else {
            generate(&mut rng, shootdown_machine::OpSet::ALL)
        };
        let mut text = print(&scenario).into_bytes();
        let head = rng.bool().then(|| text.split_off(10));
        // With its head set aside, a damaged text still begins like a scenario.
        if let Some(mut rest) = head {
            corrupt(&mut rest, &mut rng);
            text.append(&mut rest);
        } else {
            corrupt(&mut text, &mut rng);
        }
        if let Some(repaired) = parse_lenient(&text) {
            read += 1;
            kept += usize::from(repaired.schedule.len() * 2 > scenario.schedule.len());
            check_input(&repaired);
        }
        let _ = parse(&text);
        check_input(&decode(&text));
    }
    assert!(read > 15_000, "{read} texts were read");
    assert!(kept > 8_000, "{kept} texts kept most of their schedule");
}

#[test]
fn a_damaged_item_costs_only_itself() {
    let lenient = |text: &str| print(&parse_lenient(text.as_bytes()).unwrap());
    let text = "> scenario 1 or so\n\
        cpu5: switch Z; unmpa A 0x0; touch 0x12345 wrong; ; touch;sched_out now\n\
        schedule: cpu7 x0, hop cpu0, cpu1 until a-b #0 c, walk cpu0 0x1fff y, cpu0 x7x, cpu1\n\
        nonsense\nmachine cpus=2, spaces=7;;tags=99 bbm=3 domain=private cpus\nvariants a B c/D";
    assert_eq!(
        lenient(text),
        "scenario 1\nvariants a c/D\n\
        machine cpus=2 spaces=7 tags=16 memory=sc domain=private bbm=2 levels=2\n\
        cpu1: switch E; touch 0x2000; sched_out\n\
        schedule: cpu1, cpu1 until a-b #1, walk cpu0 0x1000, cpu1\n"
    );
    assert_eq!(parse_lenient(b"scenari 1\n"), None);
    assert_eq!(parse_lenient(b""), None);
    assert_eq!(parse_lenient(b"> scenario"), parse(b"scenario 1\n").ok());
}
