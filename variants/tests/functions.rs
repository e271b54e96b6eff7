// SPDX-License-Identifier: GPL-2.0-only
//! Source lines are of the functions that they are in.

use shootdown_variants::function;

#[test]
fn a_line_is_of_the_function_above_it() {
    let source = include_str!("../src/arm64/context.rs");
    let of = |text: &str| {
        let line = source.lines().position(|line| line.contains(text)).unwrap() as u32 + 1;
        (line, function("variants/src/arm64/context.rs", line))
    };
    let (line, name) = of("async fn new_context");
    assert_eq!(name, Some("new_context"));
    let last = function("variants/src/arm64/context.rs", line - 3);
    assert!(last.is_some() && last != name, "{last:?}");
    assert_eq!(
        of("self.check_update_reserved_asid(cpu, asid, newasid)").1,
        Some("new_context")
    );
    // Wherever the checkout is, and by its whole path.
    let whole = function("/home/me/shootdown/variants/src/arm64/context.rs", line);
    assert_eq!(whole, Some("new_context"));
}

#[test]
fn other_sources_have_none() {
    assert_eq!(function("variants/src/arm64/context.rs", 1), None);
    assert_eq!(function("harness/src/arm64/context.rs", 100), None);
    assert_eq!(function("my_kernel/src/lib.rs", 100), None);
    assert_eq!(function("src/none.rs", 100), None);
}
