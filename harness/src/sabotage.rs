// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sabotage: the machine ignores one call site of a port at a time. If nobody notices, then
//! either the site is not needed, or the harness could not tell if it were missing.
//!
//! A site that is known to go unnoticed says why in the port, in a comment just above it
//! that begins with `Unnoticed:`, or with `Unnoticed by VARIANT:` where others notice it.

use crate::check::{Subject, check_ignoring, input, run_one};
use crate::exec::{Bench, Input};
use crate::explore::{self, Search};
use crate::fixed::Fixed;
use crate::scenario::{Scenario, generate};
use fastrand::Rng;
use shootdown_machine::{Act, Event, Sabotage, State};
use std::collections::BTreeMap;
use std::path::Path;

/// A call site of a port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Site {
    /// Source file, from the workspace's root.
    pub file: &'static str,
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

impl Site {
    /// The reason that the port's source gives for the site going unnoticed, by this variant or
    /// by every one.
    pub fn reason(&self, root: &Path, variant: &str) -> Option<String> {
        let source = std::fs::read_to_string(root.join(self.file)).ok()?;
        let lines: Vec<&str> = source.lines().take(self.line as usize - 1).collect();
        let comment: Vec<&str> = lines
            .iter()
            .rev()
            .map(|line| line.trim())
            // The statement may have begun a few lines above its call.
            .skip_while(|line| !line.starts_with("//") && !ends_statement(line))
            .map_while(|line| line.strip_prefix("//"))
            .map(str::trim)
            .collect();
        let text = comment.into_iter().rev().collect::<Vec<_>>().join(" ");
        let own = format!("Unnoticed by {variant}:");
        let (_, reason) = [own.as_str(), "Unnoticed:"]
            .iter()
            .find_map(|mark| text.split_once(mark))?;
        Some(reason.trim().to_owned())
    }
}

fn ends_statement(line: &str) -> bool {
    line.ends_with(';') || line.ends_with('{') || line.ends_with('}') || line.is_empty()
}

/// Who noticed.
#[derive(Clone, Debug)]
pub struct Noticed {
    /// The rule that broke.
    pub rule: &'static str,
    /// Scenarios tried.
    pub runs: u32,
}

/// Random scenarios for a variant.
fn random(by: Subject, runs: u32, seed: u64) -> impl Iterator<Item = Scenario> {
    let mut rng = Rng::with_seed(seed);
    let scenario = move || generate(&mut rng, Subject::ops(&[by]));
    core::iter::repeat_with(scenario).take(runs as usize)
}

/// The maintenance sites of a variant that `scenarios` and `runs` random ones execute, each
/// with what it does.
pub fn sites(
    bench: &mut Bench,
    by: Subject,
    scenarios: &[Scenario],
    runs: u32,
    seed: u64,
) -> BTreeMap<Site, String> {
    let mut sites = BTreeMap::new();
    for scenario in scenarios.iter().cloned().chain(random(by, runs, seed)) {
        run_one(
            bench,
            by,
            &scenario,
            Input {
                trace: true,
                ..input(&scenario)
            },
        );
        let state = bench.machine.state();
        for (_, event) in &bench.trace {
            if let Event::Did { act, site, .. } = event
                && act.is_maintenance()
                // What the harness itself does is not the port's.
                && !site.file().starts_with("harness")
            {
                let site = Site {
                    file: site.file(),
                    line: site.line(),
                    column: site.column(),
                };
                sites.entry(site).or_insert_with(|| describe(&state, act));
            }
        }
    }
    sites
}

fn describe(state: &State, act: &Act) -> String {
    let name = crate::names::variable(state, act).map(|n| n.name);
    match (act, name) {
        (Act::Tlbi(op), _) => op.kind.to_string(),
        (Act::Dsb(kind), _) => format!("dsb {}", kind.name()),
        (Act::Store(..), Some(name)) => format!("{name} :="),
        (Act::Lock(_), Some(name)) => format!("lock {name}"),
        (Act::Unlock(_), Some(name)) => format!("unlock {name}"),
        (Act::ReadLock(_), Some(name)) => format!("read_lock {name}"),
        (Act::ReadUnlock(_), Some(name)) => format!("read_unlock {name}"),
        (act, _) => act.word().to_owned(),
    }
}

/// Runs scenarios with one site ignored, and then a search's, until a rule breaks; `None`: nobody
/// noticed. The search begins anew for each site: what is said of one does not depend on others.
pub fn notice(
    bench: &mut Bench,
    by: Subject,
    site: &Site,
    scenarios: &[Scenario],
    most: u32,
    seed: u64,
) -> Option<Noticed> {
    let sabotage = Sabotage::Site {
        file: site.file,
        line: site.line,
        column: site.column,
    };
    let subjects = [by];
    let search = Search::new(&subjects, None, Fixed::default(), explore::rng(seed, 0));
    let mut search = search.ignoring(sabotage);
    let mut kept = scenarios.iter();
    (1..=scenarios.len() as u32 + most).find_map(|runs| {
        let found = match kept.next() {
            Some(scenario) => check_ignoring(bench, scenario, &subjects, Some(sabotage)).found,
            None => search.next(bench).0,
        };
        let rule = found?.finding.rule.name;
        Some(Noticed { rule, runs })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_notices_what_is_needed() {
        let mut bench = Bench::default();
        let by = Subject::parse("arm64-asid").unwrap();
        let sites = sites(&mut bench, by, &[], 200, 1);
        let mut notice = |site: &Site| notice(&mut bench, by, site, &[], 3000, 1);
        let flush = |what: &&String| *what == "tlbi vmalle1";
        let (site, _) = sites.iter().find(|(_, what)| flush(what)).unwrap();
        assert_eq!(notice(site).unwrap().rule, "flush-before-reuse");
        let elsewhere = Site {
            line: site.line + 1000,
            ..site.clone()
        };
        assert!(notice(&elsewhere).is_none());
    }

    #[test]
    fn a_reason_is_every_variants_or_ones_own() {
        let root = std::env::temp_dir().join(format!("shootdown-reason-{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        let text = "// Unnoticed: all.\na();\n// Unnoticed by one: its own.\nb();\nc();\n";
        std::fs::write(root.join("port.rs"), text).unwrap();
        let reason = |line, variant| {
            let (file, column) = ("port.rs", 1);
            Site { file, line, column }.reason(&root, variant)
        };
        let found = [(2, "one"), (4, "one"), (4, "another"), (5, "one")];
        let found = found.map(|(line, variant)| reason(line, variant));
        std::fs::remove_dir_all(&root).unwrap();
        let expected = [Some("all."), Some("its own."), None, None];
        assert_eq!(found.each_ref().map(Option::as_deref), expected);
    }
}
