// SPDX-License-Identifier: GPL-2.0-only
//! Makes the list of variants: every file in `src/ports/` that is one; and a table of where
//! functions begin, so that reports can name the one that a source line is in.
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
    functions(Path::new(&root));
}

/// The table of functions: for each source file, the lines where they begin.
fn functions(root: &Path) {
    println!("cargo::rerun-if-changed={}", root.join("src").display());
    let mut files = Vec::new();
    let mut folders = vec![root.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a source folder") {
            let path = entry.expect("a directory entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    let mut out = String::from("&[\n");
    for path in files {
        let text = fs::read_to_string(&path).expect("a source file");
        let begun = text.lines().zip(1u32..);
        let begun = begun.filter_map(|(line, number)| Some((number, function(line)?)));
        let begun: Vec<_> = begun.collect();
        let name = path.strip_prefix(root).expect("below the root");
        let name = name.to_string_lossy().replace('\\', "/");
        let _ = writeln!(out, "    ({name:?}, &{begun:?}),");
    }
    out += "]";
    let target = Path::new(&env::var("OUT_DIR").expect("cargo sets it")).join("functions.rs");
    fs::write(target, out).expect("writing the table of functions");
}

/// The name of the function that a line begins.
fn function(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    if let Some(public) = rest.strip_prefix("pub") {
        rest = public.trim_start_matches(|c| c != ' ' && c != ')');
        rest = rest.trim_start_matches(')').trim_start();
    }
    for word in ["const ", "async "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    let name = rest.strip_prefix("fn ")?;
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    Some(&name[..end])
}
