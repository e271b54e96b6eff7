// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which variants a fuzz target drives.

use shootdown::check::Subject;
use std::path::Path;

/// Names of variants, as in `arm64-asid/B-1`, separated by blanks or commas.
pub const ENVIRONMENT: &str = "SHOOTDOWN_VARIANTS";

/// The subjects of this process: those that the environment names, else the variant that
/// the binary is called after, else every sound one.
///
/// # Errors
/// A sentence, if the environment names one that there is not.
pub fn subjects() -> Result<Vec<Subject>, String> {
    let named = std::env::var(ENVIRONMENT).unwrap_or_default();
    let program = std::env::args_os().next().unwrap_or_default();
    let program = Path::new(&program).file_stem().unwrap_or_default();
    choose(&named, &program.to_string_lossy())
}

fn choose(named: &str, program: &str) -> Result<Vec<Subject>, String> {
    let names = named.split([' ', ',']).filter(|name| !name.is_empty());
    let subjects: Vec<_> = names.map(Subject::parse).collect::<Result<_, _>>()?;
    if !subjects.is_empty() {
        return Ok(subjects);
    }
    let name = program.strip_prefix("differential-").unwrap_or(program);
    Ok(Subject::parse(name).map_or_else(|_| Subject::sound(), |subject| vec![subject]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(named: &str, program: &str) -> Vec<String> {
        choose(named, program)
            .unwrap()
            .iter()
            .map(Subject::name)
            .collect()
    }

    #[test]
    fn the_environment_goes_before_the_name() {
        assert_eq!(
            names("arm64-asid/B-1, naive", "canary"),
            ["arm64-asid/B-1", "naive"]
        );
        assert_eq!(names("", "canary"), ["canary"]);
        assert_eq!(names(" ", "differential-kvm-vmid"), ["kvm-vmid"]);
        assert!(names("", "differential").len() > 1);
        assert!(
            choose("arm64-asid/none", "")
                .unwrap_err()
                .contains("no defect \"none\"")
        );
        assert!(
            choose("no-such", "")
                .unwrap_err()
                .contains("no variant \"no-such\"")
        );
    }
}
