// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes the list of litmus tests: every file in `litmus/`, sorted by name.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

fn main() {
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let folder = Path::new(&root).join("litmus");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut names: Vec<String> = fs::read_dir(&folder)
        .expect("litmus/")
        .filter_map(|entry| {
            let name = entry.expect("a directory entry").file_name();
            Some(name.to_str()?.strip_suffix(".litmus")?.to_owned())
        })
        .collect();
    names.sort();
    let mut out = String::new();
    for name in &names {
        let path = folder.join(format!("{name}.litmus"));
        let _ = writeln!(out, "    ({name:?}, include_str!({path:?})),");
    }
    let target = Path::new(&env::var("OUT_DIR").expect("cargo sets it")).join("litmus.rs");
    fs::write(target, format!("&[\n{out}]\n")).expect("writing the list of litmus tests");
}
