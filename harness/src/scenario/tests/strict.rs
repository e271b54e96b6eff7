// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a strict parse reads, and how it says what it cannot read.

use crate::scenario::{Choice, Expect, MAX_OPS, MAX_SLOTS, MAX_TEXT, Scenario, Slot, Stop};
use crate::scenario::{parse, parse_lenient, print, words};
use shootdown_machine::arm64::Granule;
use shootdown_machine::{Access, Bbm, Config, Domain, Memory, Op, Prot, Space, Switch, Switches};

const EXAMPLE: &str = "\
scenario 1
variants arm64-asid kvm-vmid/B-14
machine cpus=2 spaces=4 tags=4 memory=sc domain=smt bbm=2 levels=2
cpu0: switch A; unmap A 0x1000; touch 0x2000 write
cpu1: switch B; sched_out; touch 0x1000
schedule: cpu1 until asid_generation #2, cpu0 x7, walk cpu1 0x1000
expect: breach own-translations-only in arm64-asid/broadcast-flush
";

fn choice(variant: &str, defect: Option<&str>) -> Choice {
    Choice {
        variant: variant.into(),
        defect: defect.map(Into::into),
    }
}

fn example() -> Scenario {
    Scenario {
        variants: vec![choice("arm64-asid", None), choice("kvm-vmid", Some("B-14"))],
        machine: Config::default(),
        programs: vec![
            vec![
                Op::Switch(Space(0)),
                Op::Unmap(Space(0), 0x1000),
                Op::Touch(0x2000, Access::Write),
            ],
            vec![
                Op::Switch(Space(1)),
                Op::SchedOut,
                Op::Touch(0x1000, Access::Read),
            ],
        ],
        schedule: vec![
            Slot::Run {
                cpu: 1,
                stop: Stop::Until {
                    name: "asid_generation".into(),
                    nth: 2,
                },
            },
            Slot::Run {
                cpu: 0,
                stop: Stop::Steps(7),
            },
            Slot::Walk {
                cpu: 1,
                va: 0x1000,
                old: false,
                steps: None,
            },
        ],
        expect: Some(Expect::Breach {
            rule: "own-translations-only".into(),
            by: choice("arm64-asid", Some("broadcast-flush")),
        }),
    }
}

#[test]
fn the_example_reads_and_prints() {
    assert_eq!(parse(EXAMPLE.as_bytes()).unwrap(), example());
    assert_eq!(parse_lenient(EXAMPLE.as_bytes()).unwrap(), example());
    assert_eq!(print(&example()), EXAMPLE);
    assert_eq!(example().to_string(), EXAMPLE);
}

#[test]
fn quotes_blanks_comments_and_crlf_do_not_matter() {
    let mut text = String::from("> > # pasted from a mail\r\n\r\n>\r\n");
    for line in EXAMPLE.lines() {
        text.push_str(&format!(" > >\t{line}  # why\r\n> \r\n"));
    }
    assert_eq!(parse(text.as_bytes()).unwrap(), example());
}

#[test]
fn a_scenario_may_say_little() {
    let least = parse(b"scenario 1\n").unwrap();
    assert_eq!(least.machine, Config::default());
    assert_eq!(least.programs, [vec![], vec![]]);
    assert_eq!(least.schedule, []);
    assert_eq!(parse(print(&least).as_bytes()).unwrap(), least);
    assert_eq!(
        parse(b"scenario 1\nmachine cpus=4\n").unwrap().machine.tags,
        6
    );
}

#[test]
fn programs_and_schedules_go_on_over_lines() {
    let text = "scenario 1\nmachine cpus=1\nmachine bbm=noabort ooc=on\n\
        cpu0: map A 4096\ncpu0: protect D 0xF000 rw\nschedule: cpu0 x1, ipi cpu0\n\
        schedule: evict cpu0, evict cpu0 0x0\nschedule: walk cpu0 0x1000 x2 old\n";
    let scenario = parse(text.as_bytes()).unwrap();
    assert_eq!(
        print(&scenario),
        "scenario 1\n\
         machine cpus=1 spaces=4 tags=4 memory=sc domain=smt bbm=noabort levels=2\n\
         machine ooc=on\n\
         cpu0: map A 0x1000; protect D 0xf000 rw\n\
         schedule: cpu0, ipi cpu0, evict cpu0, evict cpu0 0x0\n\
         schedule: walk cpu0 0x1000 old x2\n"
    );
    assert_eq!(
        scenario.programs[0][1],
        Op::Protect(Space(3), 0xf000, Prot::Rw)
    );
}

#[test]
fn newer_slots_read_and_print() {
    let text = "scenario 1\nmachine memory=arm\n\
        schedule: drain cpu1, drain cpu0 last, stale cpu1, stale cpu0 x1, stale cpu0 x9\n";
    let scenario = parse(text.as_bytes()).unwrap();
    assert_eq!(scenario.machine.memory, Memory::Arm);
    let drain = |cpu, last| Slot::Drain { cpu, last };
    let stale = |cpu, by| Slot::Stale { cpu, by };
    assert_eq!(
        scenario.schedule,
        [
            drain(1, false),
            drain(0, true),
            stale(1, 1),
            stale(0, 1),
            stale(0, 9)
        ]
    );
    let printed = print(&scenario);
    let end = "\n\
        schedule: drain cpu1, drain cpu0 last, stale cpu1, stale cpu0\n\
        schedule: stale cpu0 x9\n";
    assert!(printed.ends_with(end), "{printed}");
    let host = "schedule: preempt cpu1, resume cpu1\n";
    let scenario = parse(format!("scenario 1\n{host}").as_bytes()).unwrap();
    assert_eq!(
        scenario.schedule,
        [Slot::Preempt { cpu: 1 }, Slot::Resume { cpu: 1 }]
    );
    assert!(print(&scenario).ends_with(host));
    let lenient = parse_lenient(b"scenario 1\nschedule: stale cpu9 x77, drain cpu3 lats\n");
    assert_eq!(lenient.unwrap().schedule, [stale(1, 9), drain(1, false)]);
}

#[test]
fn the_granule_is_printed_where_it_is_not_4k() {
    for (word, granule) in [
        ("4k", Granule::K4),
        ("16k", Granule::K16),
        ("64k", Granule::K64),
    ] {
        let text = format!("scenario 1\nmachine granule={word} levels=3\n");
        let scenario = parse(text.as_bytes()).unwrap();
        assert_eq!(scenario.machine.granule, granule);
        let printed = print(&scenario);
        let said = printed.contains(&format!("granule={word}\n"));
        assert_eq!(said, granule != Granule::K4, "{printed}");
        assert_eq!(parse(printed.as_bytes()).unwrap(), scenario);
    }
    let wrong = parse(b"scenario 1\nmachine granule=8k\n").unwrap_err();
    assert!(wrong.to_string().ends_with("expected one of 4k, 16k, 64k"));
}

#[test]
fn switches_are_kept_as_people_write_them_and_off_in_fuzz_input() {
    let text = b"scenario 1\nmachine ooc=on inflight=on domain=private bbm=0\n";
    let strict = parse(text).unwrap().machine;
    assert!(
        strict
            .switches
            .iter()
            .eq([Switch::OutOfContext, Switch::Inflight])
    );
    assert_eq!((strict.domain, strict.bbm), (Domain::Private, Bbm::Level0));
    let lenient = parse_lenient(text).unwrap().machine;
    assert_eq!(
        lenient,
        Config {
            switches: Switches::default(),
            ..strict
        }
    );
}

/// A text that breaks off or goes wrong, and all that is said about it. KEYS and SLOTS are the
/// lists of all.
const WRONG: &[(&str, &str)] = &[
    (
        "",
        "line 1, column 1: the text ends here; expected `scenario 1` as the first line",
    ),
    (
        "machine cpus=2\n",
        "line 1, column 1: unexpected \"machine\"; expected `scenario 1` as the first line",
    ),
    (
        "scenario\n",
        "line 1, column 9: the line ends here; expected `1`, the version",
    ),
    (
        "scenario 2\n",
        "line 1, column 10: unsupported version \"2\"; expected version 1",
    ),
    (
        "scenario 1 1\n",
        "line 1, column 12: unexpected \"1\"; expected the end of the line",
    ),
    (
        "scenario 1\nscenario 1\n",
        "line 2, column 1: the line \"scenario\" is given twice; expected it once",
    ),
    // Truncated.
    (
        "scenario 1",
        "line 1, column 11: the text ends in mid-line; expected a newline after the last line",
    ),
    (
        "scenario 1\ncpu0: switch",
        "line 2, column 13: the text ends here; expected a space, A to D",
    ),
    (
        "scenario 1\ncpu0: touch 0x1000",
        "line 2, column 19: the text ends in mid-line; expected a newline after the last line",
    ),
    (
        "scenario 1\ncpu0: touch 0x1",
        "line 2, column 13: \"0x1\" is no page address; expected a multiple of 0x1000 below 0x10000",
    ),
    (
        "scenario 1\ncpu0: touch   # where?\n",
        "line 2, column 12: the line ends here; expected an address such as 0x1000",
    ),
    (
        "scenario 1\ncpu0",
        "line 2, column 5: the text ends here; expected `:`",
    ),
    (
        "scenario 1\nschedule: cpu0,\n",
        "line 2, column 16: the line ends here; expected one of SLOTS",
    ),
    (
        "scenario 1\nmachine cpus",
        "line 2, column 13: the text ends here; expected `=` and a value",
    ),
    (
        "scenario 1\nexpect: breach no-lost-write in\n",
        "line 2, column 32: the line ends here; expected the name of a variant",
    ),
    // Misspelt.
    (
        "scenario 1\ncpu0: touch 0x0; unmpa A 0x1000\n",
        "line 2, column 18: unknown operation \"unmpa\"; expected one of switch, sched_out, map, unmap, protect, remap, split, collapse, touch, exit, reclaim, zap, clean, hint, age, gup, move, fork, pin, unpin, offline (did you mean `unmap`?)",
    ),
    (
        "scenario 1\n  schedul: cpu0\n",
        "line 2, column 3: unknown line \"schedul\"; expected one of variants, machine, cpu0, schedule, expect (did you mean `schedule`?)",
    ),
    (
        "scenario 1\nmachine cpu=2\n",
        "line 2, column 9: unknown key \"cpu\"; expected one of KEYS (did you mean `cpus`?)",
    ),
    (
        "scenario 1\nmachine memory=weak\n",
        "line 2, column 16: unknown memory model \"weak\"; expected one of sc, tso, arm",
    ),
    (
        "scenario 1\nmachine domain=\n",
        "line 2, column 16: the line ends here; expected one of private, smt",
    ),
    (
        "scenario 1\nschedule: cpu0 x2, wlak cpu0 0x0\n",
        "line 2, column 20: unknown slot \"wlak\"; expected one of SLOTS (did you mean `walk`?)",
    ),
    (
        "scenario 1\nschedule: resolve cpu0 first\n",
        "line 2, column 24: unknown entry \"first\"; expected one of oldest, newest, abort, mix",
    ),
    (
        "scenario 1\ncpu0: protect A 0x0 r\n",
        "line 2, column 21: unknown permission \"r\"; expected one of ro, rw",
    ),
    (
        "scenario 1\nexpect: fail\n",
        "line 2, column 9: unknown verdict \"fail\"; expected one of pass, breach",
    ),
    (
        "scenario 1\nschedule: walk 0 0x0\n",
        "line 2, column 16: unexpected \"0\"; expected a CPU such as cpu0",
    ),
    // Out of range.
    (
        "scenario 1\nmachine cpus=5\n",
        "line 2, column 14: \"5\" is out of range; expected a number from 1 to 4",
    ),
    (
        "scenario 1\nmachine cpus=two\n",
        "line 2, column 14: unexpected \"two\"; expected a number",
    ),
    (
        "scenario 1\nmachine tags=4 cpus=3\n",
        "line 2, column 14: \"4\" tags are too few for this many CPUs; expected at least 5, the CPUs and two",
    ),
    (
        "scenario 1\ncpu2: sched_out\n",
        "line 2, column 1: there is no \"cpu2\"; expected cpu0 to cpu1",
    ),
    (
        "scenario 1\nschedule: cpu0 x0\n",
        "line 2, column 17: \"0\" is out of range; expected a number from 1 to 9999",
    ),
    (
        "scenario 1\nschedule: cpu0 until x #10000\n",
        "line 2, column 25: \"10000\" is out of range; expected a number from 1 to 9999",
    ),
    (
        "scenario 1\nschedule: walk cpu0 0x0 x256\n",
        "line 2, column 26: \"256\" is out of range; expected a number from 1 to 255",
    ),
    (
        "scenario 1\nschedule: stale cpu0 x10\n",
        "line 2, column 23: \"10\" is out of range; expected a number from 1 to 9",
    ),
    (
        "scenario 1\nschedule: drain cpu0 first\n",
        "line 2, column 22: unexpected \"first\"; expected `last`, `,` or the end of the line",
    ),
    (
        "scenario 1\nschedule: stale cpu0 2\n",
        "line 2, column 22: unexpected \"2\"; expected `x2`, `,` or the end of the line",
    ),
    (
        "scenario 1\ncpu0: exit E\n",
        "line 2, column 12: unexpected \"E\"; expected a space, A to D",
    ),
    (
        "scenario 1\ncpu0: touch 0x99999999999999999999\n",
        "line 2, column 13: \"0x99999999999999999999\" is no page address; expected a multiple of 0x1000 below 0x10000",
    ),
    // Names.
    (
        "scenario 1\nvariants Foo\n",
        "line 2, column 10: \"Foo\" is no name; expected 1 to 40 of a-z, 0-9 and `-`, for a variant",
    ),
    (
        "scenario 1\nschedule: cpu0 until 2nd\n",
        "line 2, column 22: \"2nd\" is no name; expected 1 to 40 of A-Z, a-z, 0-9, `_`, `.` and `-`",
    ),
    // Too much of it.
    (
        "scenario 1\nmachine cpus=2\nmachine cpus=2\n",
        "line 3, column 9: the key \"cpus\" is given twice; expected it once",
    ),
    (
        "scenario 1\ncpu0: sched_out\nmachine cpus=2\n",
        "line 3, column 1: the machine comes too late; expected it before the first cpu or schedule line",
    ),
    (
        "scenario 1\nexpect: pass\nexpect: pass\n",
        "line 3, column 1: the line \"expect\" is given twice; expected it once",
    ),
    (
        "scenario 1\nexpect: pass please\n",
        "line 2, column 14: unexpected \"please\"; expected the end of the line",
    ),
    (
        "scenario 1\ncpu0: touch 0x0 quickly\n",
        "line 2, column 17: unexpected \"quickly\"; expected `write`, `;` or the end of the line",
    ),
    (
        "scenario 1\ncpu0: switch A, switch B\n",
        "line 2, column 15: unexpected \",\"; expected `;` or the end of the line",
    ),
    (
        "scenario 1\nschedule: cpu0 7\n",
        "line 2, column 16: unexpected \"7\"; expected `x7`, `until`, `,` or the end of the line",
    ),
    // No text.
    (
        "scenario 1\ncpu0: \0\n",
        "line 2, column 7: byte 0x00 is no ASCII text; expected printable ASCII, blanks and newlines",
    ),
    (
        "scenario 1\n# \u{fc}\n",
        "line 2, column 3: byte 0xc3 is no ASCII text; expected printable ASCII, blanks and newlines",
    ),
];

#[test]
fn errors_say_where_what_and_what_instead() {
    let mut wrong = String::new();
    let (keys, slots) = (words::keys().join(", "), words::slots().join(", "));
    for (text, message) in WRONG {
        let message = message.replace("KEYS", &keys).replace("SLOTS", &slots);
        let said = match parse(text.as_bytes()) {
            Ok(_) => "no error".to_string(),
            Err(error) => error.to_string(),
        };
        if said != message {
            wrong.push_str(&format!("{text:?}\n  said {said}\n  want {message}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn errors_have_a_span() {
    let text = b"> scenario 1\n> cpu0: touch 0x0; unmpa A 0x0\n";
    let error = parse(text).unwrap_err();
    assert_eq!((error.line, error.column), (2, 20));
    assert_eq!(&text[error.offset..error.offset + error.length], b"unmpa");
    assert_eq!(error.message, "unknown operation \"unmpa\"");
}

#[test]
fn limits_are_exact() {
    let fits = |text: &str| parse(text.as_bytes()).map_err(|e| e.to_string());
    let ops = |n| format!("scenario 1\ncpu0: {}\n", vec!["sched_out"; n].join("; "));
    assert_eq!(fits(&ops(MAX_OPS)).unwrap().programs[0].len(), MAX_OPS);
    assert_eq!(
        fits(&ops(MAX_OPS + 1)).unwrap_err(),
        "line 2, column 359: too many operations on one CPU; expected at most 32"
    );
    let slots = |n| format!("scenario 1\nschedule: {}\n", vec!["cpu0"; n].join(", "));
    assert_eq!(fits(&slots(MAX_SLOTS)).unwrap().schedule.len(), MAX_SLOTS);
    assert_eq!(
        fits(&slots(MAX_SLOTS + 1)).unwrap_err(),
        "line 2, column 3083: too many slots; expected at most 512"
    );
    let bytes = |n: usize| format!("scenario 1\n{}", "\n".repeat(n - 11));
    assert!(fits(&bytes(MAX_TEXT)).is_ok());
    assert_eq!(
        fits(&bytes(MAX_TEXT + 1)).unwrap_err(),
        "line 65527, column 1: the text has 65537 bytes; expected at most 65536"
    );
}

#[test]
fn every_truncation_is_an_error() {
    for end in 0..EXAMPLE.len() - 1 {
        let cut = &EXAMPLE[..end];
        assert_eq!(parse(cut.as_bytes()).is_ok(), cut.ends_with('\n'), "{cut}");
    }
}

#[test]
fn an_until_that_is_never_met_has_its_place() {
    let text =
        "scenario 1\nschedule: cpu0 until a #2, cpu1\n> schedule: cpu1 until b, cpu0 until c\n";
    let said = |nth: &[usize]| -> Vec<String> {
        let errors = Scenario::never_met(text.as_bytes(), nth);
        errors.iter().map(|e| e.to_string()).collect()
    };
    let says = |place: &str, name: &str| {
        format!(
            "{place}: \"{name}\" is never met; expected a step that the CPU comes to: a variable, \
             a register or a word such as `tlbi`"
        )
    };
    assert!(said(&[]).is_empty());
    assert_eq!(
        said(&[0, 2]),
        [
            says("line 2, column 22", "a"),
            says("line 3, column 38", "c")
        ]
    );
}
