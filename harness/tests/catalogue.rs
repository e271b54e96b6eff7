// SPDX-License-Identifier: MIT OR Apache-2.0
//! docs/catalogue.md names the defects that there are.

use std::collections::BTreeSet;
use std::path::Path;

/// What stands between backquotes and has a slash.
fn named() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/catalogue.md");
    let text = std::fs::read_to_string(path).expect("the catalogue");
    let rows = text.lines().filter(|line| line.starts_with('|'));
    rows.flat_map(|row| row.split('`').skip(1).step_by(2))
        .filter(|name| name.contains('/'))
        .map(str::to_owned)
        .collect()
}

fn defects() -> impl Iterator<Item = (&'static str, &'static str)> {
    let all = shootdown_variants::all().iter();
    all.flat_map(|info| info.defects.iter().map(|d| (info.name, d.name)))
}

#[test]
fn every_defect_that_the_catalogue_names_exists() {
    let there: BTreeSet<_> = defects().map(|(v, d)| format!("{v}/{d}")).collect();
    let named = named();
    assert!(named.len() > 10, "{named:?}");
    let missing: Vec<_> = named.difference(&there).collect();
    assert!(missing.is_empty(), "no such defect: {missing:?}");
}

#[test]
fn every_defect_with_a_label_is_in_the_catalogue() {
    let labelled = defects().filter(|(_, d)| d.starts_with("B-"));
    let labelled: BTreeSet<_> = labelled.map(|(v, d)| format!("{v}/{d}")).collect();
    let missing: Vec<_> = labelled.difference(&named()).cloned().collect();
    assert!(missing.is_empty(), "not in docs/catalogue.md: {missing:?}");
}
