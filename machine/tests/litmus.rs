// SPDX-License-Identifier: MIT OR Apache-2.0
//! The text of litmus tests.

use shootdown_machine::litmus::{ALL, Desc, Final, Instr, Pte, Test, Verdict, parse, print};
use std::collections::BTreeSet;

fn all() -> impl Iterator<Item = Test> {
    ALL.iter().map(|(name, text)| match parse(text) {
        Ok(test) => test,
        Err(e) => panic!("{name}: {e}"),
    })
}

#[test]
fn every_file_is_printed_as_it_was_read() {
    for ((name, text), test) in ALL.iter().zip(all()) {
        assert_eq!(print(&test), *text, "{name}");
        assert_eq!(test.name, *name);
    }
}

#[test]
fn names_are_unique_and_lines_short() {
    let names: BTreeSet<&str> = ALL.iter().map(|(name, _)| *name).collect();
    assert_eq!((names.len(), ALL.len()), (153, 153));
    for (name, text) in ALL {
        let longest = text.lines().map(str::len).max();
        assert!(longest <= Some(75), "{name}: {longest:?}");
    }
}

/// The verdicts as a whole, so that none can be lost.
#[test]
fn verdicts_are_complete() {
    let count = |of: fn(&Test) -> bool| all().filter(of).count();
    assert_eq!(count(|t| t.verdicts.certain()), 61);
    let base = |v| all().filter(|t| t.verdicts.base() == v).count();
    let ets = |v| all().filter(|t| t.verdicts.ets() == v).count();
    let (yes, no) = (Some(Verdict::Allowed), Some(Verdict::Forbidden));
    assert_eq!((base(yes), base(no), base(None)), BASE);
    assert_eq!((ets(yes), ets(no), ets(None)), ETS);
}

/// Allowed, forbidden, not agreed upon.
const BASE: (usize, usize, usize) = (49, 64, 40);
const ETS: (usize, usize, usize) = (41, 91, 21);

fn writes(code: &[Instr]) -> Vec<u8> {
    let of = |i: &Instr| match i {
        Instr::Read { dst, .. }
        | Instr::Set(dst, _)
        | Instr::Mov(dst, _)
        | Instr::Add { dst, .. }
        | Instr::Syndrome { dst, .. }
        | Instr::FaultIpa(dst) => Some(*dst),
        _ => None,
    };
    code.iter().filter_map(of).collect()
}

/// A question about a register that nothing writes would be answered by accident.
#[test]
fn every_question_is_about_something_that_is_written() {
    for test in all() {
        for clause in &test.ask {
            let Final::Reg { thread, reg } = clause.at else {
                continue;
            };
            let thread = &test.threads[usize::from(thread)];
            let mut written = writes(&thread.code);
            written.extend(thread.handlers.iter().flat_map(|h| writes(&h.code)));
            // Published so; the note in the file says it.
            let known = test.name == "RWC.RTR.EL1+ctrl-isb+dsb-tlbi-dsb" && reg == 1;
            assert_eq!(written.contains(&reg), !known, "{}: r{reg}", test.name);
        }
    }
}

fn read(text: &str) -> String {
    match parse(text) {
        Ok(_) => "a test".into(),
        Err(e) => e.to_string(),
    }
}

const SMALL: &str = "\
litmus small
esop22 base=forbidden ets=forbidden
herd base=forbidden ets2=allowed ets3=forbidden
expect base=forbidden
note all that the committed files do not have

virtual x y
intermediate ipa1
physical pa1
place same ipa1 pa1
place apart x y
memory pa1=7

table new stage=1
  x -> page ipa1 ap=el1rw

table main stage=1
  x level=2 -> table new
  y -> invalid

table s2 stage=2
  ipa1 -> page pa1

thread 0 el=2
  init ttbr0_el1 table=new asid=3
  init r1=2 r30=18446744073709551615
  cbz r1, l1
  [y + 4096] = r1 release addr=r1,r2 data=r3
  l1:
  r2 = [pte2(y, main)] acquire addr=r1
  tlbi vmalls12e1
  tlbi vaae1is page=x
  tlbi ipas2le1is page=x
  dmb ishld
  dsb nshst
  msr ttbr0_el2 table=main asid=65535
  eret el=1
  cbnz r2, l2
  r3 = r2 + 1
  l2:
  on el2 from=lower
    cbnz r1, l1
    [pte3(ipa1, s2)] = 5
    l1:
    r4 = syndrome hvc ? 1 : 2
    r5 = fault_ipa
    elr = saved
    eret

ask 0:r2 != pte2(x, main) & *pa1 = 7 & 0:r5 = ipa1
";

#[test]
fn everything_the_text_can_say_survives() {
    let test = parse(SMALL).expect("a test");
    assert_eq!(print(&test), SMALL);
    assert_eq!(test.verdicts.base(), Some(Verdict::Forbidden));
    assert_eq!(test.verdicts.ets(), None);
    let spaced = SMALL.replace(" = ", "=").replace('\n', "  # why\n\n");
    assert_eq!(parse(&spaced), Ok(test));
}

#[test]
fn descriptors_at_the_start() {
    let test = parse(SMALL).expect("a test");
    let named = |name: &str| {
        let at = test.names.iter().position(|s| s.name == name);
        shootdown_machine::litmus::Name(at.expect("declared") as u8)
    };
    let table = shootdown_machine::litmus::TableId;
    let pte = |level, input, t| Pte {
        level,
        input: named(input),
        table: table(t),
    };
    assert_eq!(test.initial(pte(2, "x", 1)), Desc::Table(table(0)));
    assert_eq!(test.initial(pte(2, "y", 1)), Desc::Table(table(1)));
    assert_eq!(test.initial(pte(2, "y", 0)), Desc::Invalid);
    assert_eq!(test.initial(pte(3, "x", 1)), Desc::Invalid);
    assert!(matches!(test.initial(pte(3, "x", 0)), Desc::Page { .. }));
}

/// A text that differs in one place from a right one: where is it wrong, and what is expected?
#[track_caller]
fn wrong(right: &str, instead: &str, place: (usize, usize), expected: &str) {
    assert_eq!(SMALL.matches(right).count(), 1, "{right}");
    let text = SMALL.replacen(right, instead, 1);
    let e = parse(&text).expect_err("a fault");
    assert_eq!((e.place.line, e.place.column), place, "{e}");
    assert!(e.expected.contains(expected), "{e}");
    let before = text.as_bytes()[..e.place.offset].iter();
    assert_eq!(before.filter(|b| **b == b'\n').count() + 1, place.0);
}

#[test]
fn faults_are_placed_and_explained() {
    for (text, says) in [
        (
            "",
            "line 1, column 1: something is missing; expected `litmus`",
        ),
        (
            "litmus a\n",
            "line 2, column 1: something is missing; expected `ask`",
        ),
        (
            "litmus a\nask 0:r0 = 1\n",
            "line 2, column 5: unexpected `0`; expected a thread of this test, `*` or `true`",
        ),
        (
            "litmus a\nask tru\u{e9}\n",
            "line 2, column 8: a character that no test has; expected printable ASCII",
        ),
    ] {
        assert_eq!(read(text), says);
    }
    // Words, names, numbers.
    wrong("nshst", "osh", (35, 7), "`nsh`, `nshld` or `nshst`");
    wrong("[y + 4096]", "[w]", (28, 4), "a declared virtual page");
    wrong("4096", "16384", (28, 8), "a number from 1 to 16383");
    wrong("elr = saved", "elr = back", (47, 11), "`next` or `saved`");
    wrong(
        "init ttbr0_el1 table=new asid",
        "init ttbr0_el1 table=new vmid",
        (25, 28),
        "`asid=`",
    );
    wrong("vaae1is page=x", "vaae1is page=ipa1", (32, 21), "virtual");
    wrong("ask 0:r2", "ask 1:r2", (50, 5), "a thread of this test");
    wrong("r30=", "r31=", (26, 13), "`r0` to `r30`");
    wrong("ap=el1rw", "ap=none", (15, 21), "`el1rw`");
    wrong(
        "base=forbidden ets=forbidden",
        "ets=forbidden base=forbidden",
        (2, 22),
        "the end",
    );
    // What is missing, and what is too much.
    wrong("[y + 4096] =", "[y + 4096]", (28, 14), "`=`");
    wrong("eret el=1", "eret", (37, 7), "`el=`");
    wrong(
        "tlbi vmalls12e1\n",
        "tlbi vmalls12e1 page=x\n",
        (31, 19),
        "the end of the line",
    );
    wrong(
        "\nask 0:r2 != pte2(x, main) & *pa1 = 7 & 0:r5 = ipa1\n",
        "",
        (49, 1),
        "`ask`",
    );
    // Labels.
    wrong("cbnz r2, l2", "cbnz r2, l3", (40, 3), "a branch above");
    wrong("  l2:\n", "", (38, 12), "behind the branch");
    // What means nothing there.
    wrong("  cbz r1, l1", "  eret", (27, 7), "`el=`");
    wrong(
        "= r1 release",
        "= invalid release",
        (28, 16),
        "a number or a register",
    );
    wrong("y -> invalid", "y -> table new", (19, 8), "level 2");
    wrong(
        "y -> invalid",
        "y -> pte3(x, new)",
        (19, 8),
        "`invalid`, `page` or `table`",
    );
    wrong(
        "ipa1 -> page pa1",
        "ipa1 -> page ipa1",
        (22, 11),
        "physical",
    );
    wrong(
        "msr ttbr0_el2 table=main",
        "msr ttbr0_el2 table=s2",
        (36, 23),
        "stage 1",
    );
    wrong("r4 = syndrome", "r4 = symptom", (45, 10), "`syndrome`");
    // Order, and things said twice.
    wrong("thread 0", "thread 1", (24, 8), "threads count from 0");
    wrong(
        "memory pa1=7",
        "memory pa1=7 pa1=8",
        (12, 14),
        "each page once",
    );
    wrong("virtual x y", "virtual x x", (7, 11), "a new name");
    wrong("virtual x y", "virtual x page", (7, 11), "a new name");
    wrong(
        "  y -> invalid",
        "  x level=2 -> invalid",
        (19, 3),
        "each descriptor once",
    );
    wrong("eret el=1", "memory pa1=7", (37, 3), "`thread` or `ask`");
    wrong("herd base", "esop22 base", (3, 1), "each source once");
}

/// The parser refuses or accepts, whatever it is given; what it accepts can be printed.
#[test]
fn nothing_makes_the_parser_panic() {
    let check = |text: &str| {
        if let Ok(test) = parse(text) {
            let printed = print(&test);
            assert_eq!(parse(&printed).map(|t| print(&t)), Ok(printed), "{text}");
        }
    };
    let mut accepted = 0;
    for (at, _) in SMALL.char_indices() {
        check(&SMALL[..at]);
        for piece in [
            "",
            " ",
            "\n",
            "0",
            "x",
            "r9",
            "=",
            "[",
            "#",
            ",",
            "\u{e9}",
            "ask true\n",
        ] {
            let text = format!("{}{piece}{}", &SMALL[..at], &SMALL[at + 1..]);
            accepted += u32::from(parse(&text).is_ok());
            check(&text);
            check(&format!("{}{piece}{}", &SMALL[..at], &SMALL[at..]));
        }
    }
    assert!(accepted > 100, "{accepted}");
    check(&"litmus x\n".repeat(10_000));
}
