// SPDX-License-Identifier: MIT OR Apache-2.0
//! The interleaving on paper: one column for each CPU where two suffice, else one for all.

use super::rows::Row;
use super::text::{heading, paragraph, wrap};
use super::words::{self, function, short_site};
use crate::scenario::COLUMNS;
use shootdown_machine::Site;
use std::collections::{BTreeMap, BTreeSet};

/// Lines shown at most; what is earlier is left out.
const MOST_LINES: usize = 80;
/// Characters of the step number and the blank after it.
const STEP: usize = 5;

/// Prints the lines.
pub fn tell(rows: &[Row], out: &mut String) {
    heading(
        out,
        "Interleaving (~: the hardware's doing; what has no part in it is left out)",
    );
    let mut cpus: Vec<u8> = rows.iter().map(|r| r.cpu).collect();
    cpus.sort_unstable();
    cpus.dedup();
    if cpus.is_empty() {
        paragraph(out, 2, "Nothing happened.");
        return;
    }
    let narrow = cpus.len() <= 2;
    let width = if narrow {
        (COLUMNS - STEP - 1) / cpus.len().max(2)
    } else {
        COLUMNS - STEP - 5
    };
    let column = |cpu: u8| {
        if narrow {
            cpus.iter().position(|c| *c == cpu).unwrap_or(0)
        } else {
            0
        }
    };
    let mut lines: Vec<(String, Option<Site>)> = Vec::new();
    for row in rows {
        let mut step = row.step.map_or(String::new(), |s| s.to_string());
        for mut cell in cell(row, width) {
            if !narrow {
                let who = if step.is_empty() && !row.header {
                    String::new()
                } else {
                    format!("cpu{}", row.cpu)
                };
                cell = format!("{who:<5}{cell}");
            }
            let skip = column(row.cpu) * (width + 1);
            let line = format!("{step:>4} {}{cell}", " ".repeat(skip));
            lines.push((line.trim_end().to_owned(), row.site));
            step.clear();
        }
    }
    let skipped = lines.len().saturating_sub(MOST_LINES);
    if skipped > 0 {
        paragraph(out, STEP, &format!("({skipped} earlier lines left out)"));
    }
    if narrow {
        let names: Vec<String> = cpus
            .iter()
            .map(|c| format!("{:<1$}", format!("cpu{c}"), width + 1))
            .collect();
        out.push_str(format!("step {}", names.concat()).trim_end());
        out.push('\n');
    }
    for (line, _) in &lines[skipped..] {
        out.push_str(line);
        out.push('\n');
    }
    functions(lines[skipped..].iter().filter_map(|line| line.1), out);
}

/// Where the functions of the lines are to be found.
fn functions(sites: impl Iterator<Item = Site>, out: &mut String) {
    let mut files: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for site in sites {
        if let (Some(name), Some(at)) = (function(site), site.file().rfind("src/")) {
            let file = &site.file()[at + "src/".len()..];
            files.entry(file).or_default().insert(name);
        }
    }
    if files.is_empty() {
        return;
    }
    let of = |(file, names): (&&str, &BTreeSet<&str>)| {
        let names: Vec<_> = names.iter().copied().collect();
        format!("{file} has {}", names.join(", "))
    };
    let files: Vec<_> = files.iter().map(of).collect();
    out.push('\n');
    paragraph(
        out,
        STEP,
        &format!("In variants/src, {}.", files.join("; ")),
    );
}

/// A row's lines: what, with the source site at the right where there is room, and what came
/// of it.
fn cell(row: &Row, width: usize) -> Vec<String> {
    let site = row.site.map_or(String::new(), |site| {
        let short = short_site(site);
        if short.len() <= width {
            short
        } else {
            words::site(site)
        }
    });
    let fits = |text: &str| text.len() + 1 + site.len() <= width;
    let with_site = |text: &str| {
        let pad = width - text.len() - site.len();
        format!("{text}{}{site}", " ".repeat(pad))
    };
    let whole = row.said.whole();
    if site.is_empty() && whole.len() <= width {
        return vec![whole];
    }
    if fits(&whole) {
        return vec![with_site(&whole)];
    }
    let mut lines = wrap(&row.said.head, width);
    let indent = if row.hardware { "    " } else { "  " };
    if !row.said.detail.is_empty() {
        let detail = wrap(&row.said.detail, width - indent.len());
        lines.extend(detail.iter().map(|l| format!("{indent}{l}")));
    }
    if site.is_empty() {
        return lines;
    }
    match lines.iter_mut().find(|l| fits(l)) {
        Some(line) => *line = with_site(line),
        None => lines.push(with_site("")),
    }
    lines
}
