// SPDX-License-Identifier: MIT OR Apache-2.0
//! The committed corpus: scenario files, read strictly.

use crate::scenario::{Scenario, parse};
use std::io;
use std::path::{Path, PathBuf};

/// The scenarios of a folder and its sub-folders, sorted by path.
///
/// # Errors
/// If a folder or file cannot be read, or a file is no scenario; the message says which and
/// where.
pub fn load(folder: &Path) -> io::Result<Vec<(PathBuf, Scenario)>> {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)?
        .map(|e| Ok(e?.path()))
        .collect::<io::Result<_>>()?;
    entries.sort();
    let mut scenarios = Vec::new();
    for path in entries {
        if path.is_dir() {
            scenarios.extend(load(&path)?);
        } else if path.extension().is_some_and(|e| e == "scenario") {
            let text = std::fs::read(&path)?;
            let scenario =
                parse(&text).map_err(|e| io::Error::other(format!("{}: {e}", path.display())))?;
            scenarios.push((path, scenario));
        }
    }
    Ok(scenarios)
}

/// The root of the checkout that contains `from`: the folder with `corpus` and `variants`.
pub fn checkout(from: &Path) -> Option<&Path> {
    from.ancestors()
        .find(|f| f.join("corpus").is_dir() && f.join("variants/src/ports").is_dir())
}
