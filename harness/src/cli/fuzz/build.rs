// SPDX-License-Identifier: MIT OR Apache-2.0
//! Building the instrumented target, with the stable toolchain and without cargo-fuzz.

use super::{Failure, at};
use indicatif::{ProgressBar, ProgressStyle};
use miette::miette;
use std::io::{BufRead, BufReader, IsTerminal, stderr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Instrumentation by flags that are stable. A counter for each function, not for each edge
/// as cargo-fuzz has it: 1.6 to 1.9 times the runs in a CPU second, and (three defects, three
/// seeds) about as many runs to a finding. Comparisons are not traced, since only libFuzzer's
/// own mutators would look at them.
const FLAGS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=1",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Ccodegen-units=1",
    "--cfg",
    "fuzzing",
];

const COMPILER: &str = "\
libFuzzer is C++ and needs a compiler for C++17. Install one:
    Debian, Ubuntu:  apt install g++
    Fedora:          dnf install gcc-c++
    Arch:            pacman -S gcc
    macOS:           xcode-select --install
or name one in the environment variable CXX.";

/// The checkout that the current folder is in.
pub fn root() -> Result<PathBuf, Failure> {
    let here = std::env::current_dir().map_err(|e| miette!("no current folder: {e}"))?;
    let ours = |dir: &&Path| {
        std::fs::read_to_string(dir.join("fuzz/Cargo.toml"))
            .is_ok_and(|manifest| manifest.contains("name = \"shootdown-fuzz\""))
    };
    here.ancestors()
        .find(ours)
        .map(Path::to_owned)
        .ok_or_else(|| {
            miette!(
                help = "run it from a clone of the Shootdown repository: the instrumented \
                    target is built from there",
                "{} is not in a checkout of Shootdown",
                here.display()
            )
        })
}

/// Builds the target `differential`. Gives the program.
pub fn build(root: &Path) -> Result<PathBuf, Failure> {
    let host = host()?;
    let folder = root.join("target/fuzz");
    let mut cargo = Command::new(cargo());
    cargo
        .current_dir(root)
        .args([
            "build",
            "--release",
            "-p",
            "shootdown-fuzz",
            "--bin",
            "differential",
        ])
        // A target that is named keeps build scripts from being instrumented.
        .args(["--target", &host, "--color", "never", "--target-dir"])
        .arg(&folder)
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = cargo
        .spawn()
        .map_err(|e| at(Path::new("cargo"), "run", &e))?;
    let output = child.stderr.take().map(follow).unwrap_or_default();
    let status = child
        .wait()
        .map_err(|e| at(Path::new("cargo"), "wait for", &e))?;
    if !status.success() {
        return Err(failed(&output));
    }
    Ok(folder
        .join(host)
        .join("release/differential")
        .with_extension(std::env::consts::EXE_EXTENSION))
}

fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn failed(output: &str) -> Failure {
    let missing = [
        "ToolNotFound",
        "failed to find tool",
        "is not installed",
        "Is `c++` installed",
    ];
    if output.contains("libfuzzer-sys") && missing.iter().any(|sign| output.contains(sign)) {
        return miette!(help = COMPILER, "there is no C++ compiler");
    }
    miette!("{output}\nthe instrumented target does not build")
}

/// The triple of the toolchain's own machine.
fn host() -> Result<String, Failure> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(&rustc).arg("-vV").output();
    let output = output.map_err(|e| at(Path::new(&rustc), "run", &e))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host
        .ok_or_else(|| miette!("`rustc -vV` does not name its host"))?
        .to_owned())
}

/// Shows what cargo is at, as one line on a terminal. Gives all it said.
fn follow(from: impl std::io::Read) -> String {
    let bar = if stderr().is_terminal() {
        ProgressBar::new_spinner()
    } else {
        ProgressBar::hidden()
    };
    if let Ok(style) = ProgressStyle::with_template("{spinner} building {wide_msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    let mut all = String::new();
    let mut crates = 0;
    for line in BufReader::new(from).lines().map_while(Result::ok) {
        if let Some(name) = line.trim_start().strip_prefix("Compiling ") {
            crates += 1;
            bar.set_message(name.split(" (").next().unwrap_or(name).to_owned());
            if bar.is_hidden() && crates == 1 {
                eprintln!("building the instrumented target");
            }
        }
        all.push_str(&line);
        all.push('\n');
    }
    bar.finish_and_clear();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_compiler_is_told_from_a_failed_build() {
        let text = "error: failed to run custom build command for `libfuzzer-sys v0.4.13`\n\
                    error occurred in cc-rs: failed to find tool \"c++\": No such file";
        assert!(failed(text).help().is_some());
        assert!(failed("error[E0425]: cannot find value").help().is_none());
    }
}
