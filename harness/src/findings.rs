// SPDX-License-Identifier: MIT OR Apache-2.0
//! What becomes of a finding: minimized, replayed, written down.

use crate::check::Found;
use crate::exec::Bench;
use crate::minimize::{Minimized, minimize};
use crate::scenario::Scenario;
use std::io;
use std::path::{Path, PathBuf};

/// A finding that has been written down.
#[derive(Clone, Debug)]
pub struct Saved {
    /// The minimized scenario and what it breaks.
    pub minimized: Minimized,
    /// Where its scenario is.
    pub path: PathBuf,
    /// What a maintainer reads.
    pub report: String,
}

/// FNV-1a of bytes: a short name for what they say, the same on every machine.
pub(crate) fn hash(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Minimizes a scenario that broke a rule, and writes it into `folder`.
///
/// # Errors
/// If the folder cannot be made or the file not be written, or if the scenario does not
/// break the rule again: then something in a run depends on more than its scenario.
pub fn save(
    bench: &mut Bench,
    scenario: &Scenario,
    found: &Found,
    folder: &Path,
) -> io::Result<Saved> {
    let mut alone = scenario.clone();
    if found.finding.rule.name != shootdown_oracle::rules::one_result::RULE.name {
        alone = found.by.alone(scenario, None);
    }
    let minimized = minimize(bench, &alone).map_err(io::Error::other)?;
    let minimized = minimized.ok_or_else(|| {
        io::Error::other("the finding does not replay: a run is not a function of its scenario")
    })?;
    std::fs::create_dir_all(folder)?;
    let text = minimized.scenario.to_string();
    let hash = hash(text.bytes());
    let by = minimized.found.by.name().replace('/', "-");
    let rule = minimized.found.finding.rule.name;
    let path = folder.join(format!("{rule}-{by}-{:08x}.scenario", hash >> 32));
    std::fs::write(&path, &text)?;
    let report = crate::report::report(bench, &minimized.scenario, &minimized.found);
    Ok(Saved {
        minimized,
        path,
        report,
    })
}
