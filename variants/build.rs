// SPDX-License-Identifier: GPL-2.0-only
//! Makes the list of variants: every file in `src/ports/` that is one.
//!
//! A port is a file that defines `pub type Port` or `pub struct Port`, which implements
//! `Variant`. Nothing else has to be told about it.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

fn main() {
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let ports = Path::new(&root).join("src/ports");
    println!("cargo::rerun-if-changed={}", ports.display());
    let mut names: Vec<String> = fs::read_dir(&ports)
        .expect("src/ports")
        .filter_map(|entry| {
            let path = entry.expect("a directory entry").path();
            let stem = path.file_stem()?.to_str()?.to_owned();
            (path.extension()? == "rs").then_some(stem)
        })
        .collect();
    names.sort();
    let mut out = String::new();
    for name in &names {
        let path = ports.join(format!("{name}.rs"));
        let _ = writeln!(out, "#[path = {path:?}]\npub mod {name};");
    }
    let row = |f: &dyn Fn(&str) -> String| names.iter().map(|n| f(n)).collect::<String>();
    let infos = row(&|n| format!("    crate::Info::of::<{n}::Port>(),\n"));
    let _ = writeln!(
        out,
        "/// Every variant, sorted by file name.\npub const ALL: &[crate::Info] = &[\n{infos}];"
    );
    let arms = row(&|n| {
        format!(
            "    if name == <{n}::Port as crate::Variant>::NAME {{ return Some(visitor.visit::<{n}::Port>()); }}\n"
        )
    });
    let _ = writeln!(
        out,
        "/// Calls `visitor` with the variant of that name; `None`: there is none.\n\
         pub fn visit<V: crate::Visitor>(name: &str, visitor: V) -> Option<V::Output> {{\n{arms}    None\n}}"
    );
    let target = Path::new(&env::var("OUT_DIR").expect("cargo sets it")).join("ports.rs");
    fs::write(target, out).expect("writing the list of ports");
}
