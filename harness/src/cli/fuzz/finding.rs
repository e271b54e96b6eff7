// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the input that ended libFuzzer to a scenario file that replays.

use super::Failure;
use crate::check::{Found, Subject, check};
use crate::exec::Bench;
use crate::findings::{Saved, save};
use crate::fixed::Fixed;
use crate::scenario::{self, Scenario};
use miette::miette;
use std::path::Path;

/// Reads an artifact: the scenario that it is, with `subjects` as its variants on a machine
/// that is `fixed`, and what that breaks. `None`: nothing.
pub fn read(
    bench: &mut Bench,
    artifact: &[u8],
    subjects: &[Subject],
    fixed: Fixed,
) -> Option<(Scenario, Found)> {
    let mut scenario = scenario::decode(artifact);
    fixed.apply(&mut scenario);
    scenario.variants = subjects.iter().map(Subject::choice).collect();
    scenario.expect = None;
    let found = check(bench, &scenario, subjects).found?;
    Some((scenario, found))
}

/// Makes a finding small, writes it to `folder`, and sees that the file replays.
pub fn save_finding(
    bench: &mut Bench,
    scenario: &Scenario,
    found: &Found,
    folder: &Path,
) -> Result<Saved, Failure> {
    let saved = save(bench, scenario, found, folder)
        .map_err(|e| miette!("cannot keep the finding: {e}"))?;
    // What is written is what anyone else will run, so it is read again like any file.
    let bytes = std::fs::read(&saved.path).map_err(|e| super::at(&saved.path, "read", &e))?;
    let again = scenario::parse(&bytes).map_err(|e| miette!("{}: {e}", saved.path.display()))?;
    let subjects = Subject::of(&again).map_err(|e| miette!("{}: {e}", saved.path.display()))?;
    match check(bench, &again, &subjects).found {
        Some(again) if again.expect() == saved.minimized.found.expect() => Ok(saved),
        _ => Err(miette!(
            "this is an error of Shootdown: {} does not replay, though it is a finding",
            saved.path.display()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shootdown_machine::{Memory, Switch, Switches};

    #[test]
    fn a_planted_bug_becomes_a_file_that_replays() {
        let folder = std::env::temp_dir().join(format!("shootdown-{}", std::process::id()));
        let subjects = [Subject::parse("canary").unwrap()];
        let mut bench = Bench::default();
        let mut rng = fastrand::Rng::with_seed(1);
        // A machine that the planted bug does not need, and that has to reach it.
        let fixed = Fixed {
            memory: Some(Memory::Arm),
            switches: Switches::default().with(Switch::Inflight, true),
        };
        let (scenario, found) =
            core::iter::repeat_with(|| scenario::generate(&mut rng, Subject::ops(&subjects)))
                .take(100_000)
                .find_map(|s| read(&mut bench, scenario::print(&s).as_bytes(), &subjects, fixed))
                .expect("the canary is found");
        assert_eq!(scenario.machine.memory, Memory::Arm);
        assert_eq!(scenario.machine.switches, fixed.switches);
        let saved = save_finding(&mut bench, &scenario, &found, &folder).unwrap();
        let least = saved.minimized.scenario.machine;
        assert_eq!(least.memory, Memory::Sc);
        assert_eq!(least.switches, Switches::default());
        let text = std::fs::read(&saved.path).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(scenario::parse(&text).unwrap(), saved.minimized.scenario);
        let name = saved
            .path
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        assert!(name.starts_with(&format!("{}-canary-", found.finding.rule.name)));
        assert!(read(&mut bench, b"scenario 1\n", &subjects, fixed).is_none());
    }
}
