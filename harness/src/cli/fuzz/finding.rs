// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the input that ended libFuzzer to a scenario file that replays.

use super::{Failure, at};
use crate::check::{Found, Subject, check};
use crate::exec::Bench;
use crate::minimize::minimize;
use crate::scenario::{self, Scenario};
use miette::miette;
use std::path::{Path, PathBuf};

/// A finding, as a file.
pub struct Saved {
    /// The file.
    pub path: PathBuf,
    /// What is in it.
    pub scenario: Scenario,
    /// What it breaks.
    pub found: Found,
}

/// Reads an artifact: the scenario that it is, for those of `subjects` that it takes, and
/// what that breaks. `None`: nothing.
pub fn read(bench: &mut Bench, artifact: &[u8], subjects: &[Subject]) -> Option<(Scenario, Found)> {
    let mut scenario = scenario::decode(artifact);
    let found = check(bench, &scenario, subjects).found?;
    let same = |other: Option<Found>| {
        other.is_some_and(|o| o.expect() == found.expect())
    };
    let alone = [found.by];
    // One that breaks the rule by itself is enough, unless it is the comparison that failed.
    let subjects = if same(check(bench, &scenario, &alone).found) { &alone } else { subjects };
    scenario.variants = subjects.iter().map(Subject::choice).collect();
    scenario.expect = Some(found.expect());
    Some((scenario, found))
}

/// Makes a finding small, sees that it replays, and writes it to `folder`.
pub fn save_finding(
    bench: &mut Bench,
    scenario: Scenario,
    found: Found,
    folder: &Path,
) -> Result<Saved, Failure> {
    let fail = |message: String| miette!("{message}");
    let (scenario, found) = match minimize(bench, &scenario).map_err(fail)? {
        Some(small) => (small.scenario, small.found),
        None => (scenario, found),
    };
    let text = scenario::print(&scenario);
    verify(bench, &text, &found)?;
    std::fs::create_dir_all(folder).map_err(|e| at(folder, "make", &e))?;
    let by = found.by.name().replace('/', "-");
    let name = format!("{}-{by}-{:08x}.scenario", found.finding.rule.name, hash(&text));
    let path = folder.join(name);
    std::fs::write(&path, &text).map_err(|e| at(&path, "write", &e))?;
    Ok(Saved { path, scenario, found })
}

/// What is written is what anyone else will run, so it is read again like any file.
fn verify(bench: &mut Bench, text: &str, found: &Found) -> Result<(), Failure> {
    let scenario = scenario::parse(text.as_bytes()).map_err(|e| miette!("{e}, in\n{text}"))?;
    let subjects = Subject::of(&scenario).map_err(|e| miette!("{e}"))?;
    match check(bench, &scenario, &subjects).found {
        Some(again) if again.expect() == found.expect() => Ok(()),
        _ => Err(miette!("this is an error of Shootdown: a finding does not replay\n{text}")),
    }
}

/// Short names for texts (FNV-1a).
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planted_bug_becomes_a_file_that_replays() {
        let folder = std::env::temp_dir().join(format!("shootdown-{}", std::process::id()));
        let subjects = [Subject::parse("canary").unwrap()];
        let mut bench = Bench::default();
        let mut rng = fastrand::Rng::with_seed(1);
        let (scenario, found) = core::iter::repeat_with(|| scenario::generate(&mut rng))
            .take(100_000)
            .find_map(|s| read(&mut bench, scenario::print(&s).as_bytes(), &subjects))
            .expect("the canary is found");
        let rule = found.finding.rule.name;
        let saved = save_finding(&mut bench, scenario, found, &folder).unwrap();
        let text = std::fs::read(&saved.path).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        let again = scenario::parse(&text).unwrap();
        assert_eq!(again, saved.scenario);
        assert_eq!(again.expect, Some(saved.found.expect()));
        let name = saved.path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(name.starts_with(&format!("{rule}-canary-")) && name.ends_with(".scenario"));
        assert!(read(&mut bench, b"scenario 1\n", &subjects).is_none());
    }
}
