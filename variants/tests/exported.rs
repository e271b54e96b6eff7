// SPDX-License-Identifier: GPL-2.0-only
//! flush-before-reuse broken by arm64-asid/B-1.
//! Written by `shootdown report --format rust-test`.
//!
//! B-1: fast path exchanges active_asids unconditionally, even when it is already 0.
//! (a8ffaaa060b8 "arm64: asid: Do not replace active_asids if already 0")

use shootdown::check::input;
use shootdown::exec::{Bench, Input, execute};
use shootdown::scenario::parse;

/// The kernel: any type that implements `shootdown_variants::Variant`.
type Kernel = shootdown_variants::ports::arm64_asid::Port;

/// What it is built with.
const DEFECT: &str = "B-1";

/// The rule that it breaks.
const RULE: &str = "flush-before-reuse";

/// What runs, and in which order; `shootdown replay -` takes it, too.
const SCENARIO: &str = "\
scenario 1
variants arm64-asid/B-1
machine cpus=2 spaces=4 tags=4 memory=sc domain=private bbm=2 levels=2
cpu0: switch A; switch B; switch A
cpu1: switch C; switch D
schedule: cpu0 until active_asids #3, cpu1 until done #1
schedule: cpu1 until context_id #5, cpu0 until isb #1, walk cpu0 0x1000
expect: breach flush-before-reuse in arm64-asid/B-1
";

/// Runs it; the rule that the kernel breaks.
fn broken(defect: Option<&'static str>) -> Option<&'static str> {
    let scenario = parse(SCENARIO.as_bytes()).expect("a scenario");
    let input = Input {
        defect,
        ..input(&scenario)
    };
    let mut bench = Bench::default();
    execute::<Kernel>(&mut bench, &input, |exec| {
        for slot in &scenario.schedule {
            exec.apply(slot);
        }
    });
    bench.oracle.finding.as_ref().map(|f| f.rule.name)
}

#[test]
fn the_rule_is_broken() {
    assert_eq!(broken(Some(DEFECT)), Some(RULE));
}

#[test]
fn without_the_defect_none_is() {
    assert_eq!(broken(None), None);
}
