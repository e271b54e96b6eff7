// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shootdown cost`: what variants pay for the same operations.

use super::{Failure, input};
use crate::cost::{COLUMNS, Costs, comparable, measure};
use crate::exec::Bench;
use miette::miette;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `cost`.
#[derive(clap::Args)]
pub struct Args {
    /// Variants to compare; default: every sound one. Fewer have more operations in common.
    #[arg(long = "variant", value_name = "NAME")]
    variants: Vec<String>,
    /// Scenarios: files or folders; default: the committed corpus.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Write the totals to a file, as CSV.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write the totals to a file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write both tables to a file, before what was written there by hand: docs/cost.md is
    /// made so.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

type Row = (String, Costs);

/// Runs and compares.
pub fn cost(args: &Args) -> Result<ExitCode, Failure> {
    let subjects = input::named(&args.variants)?;
    let all = scenarios(&args.paths)?;
    let scenarios = comparable(&all, &subjects);
    let operations = |of: &[crate::scenario::Scenario]| -> usize {
        of.iter().flat_map(|s| &s.programs).map(Vec::len).sum()
    };
    let mut bench = Bench::default();
    let mut rows: Vec<Row> = Vec::new();
    for by in subjects {
        let costs = measure(&mut bench, by, &scenarios).map_err(|e| miette!("{e}"))?;
        rows.push((by.name(), costs));
    }
    let what = format!(
        "{} scenarios, of whose {} operations the {} that each variant implements",
        scenarios.len(),
        operations(&all),
        operations(&scenarios)
    );
    print!("{what}\n\n{}\n{}", text(&rows, total), text(&rows, mean));
    let write = |path: &Option<PathBuf>, text: &dyn Fn() -> String| match path {
        Some(path) => std::fs::write(path, text())
            .map_err(|e| miette!("cannot write {}: {e}", path.display())),
        None => Ok(()),
    };
    write(&args.csv, &|| csv(&rows))?;
    write(&args.json, &|| json(&rows))?;
    let old = |path: &PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let old = args.markdown.as_ref().map(old).unwrap_or_default();
    write(&args.markdown, &|| markdown(&rows, &what, &old))?;
    Ok(ExitCode::SUCCESS)
}

/// Those of some files and folders; none: the committed ones.
fn scenarios(paths: &[PathBuf]) -> Result<Vec<crate::scenario::Scenario>, Failure> {
    let folder = |folder: &Path| crate::corpus::load(folder).map_err(|e| miette!("{e}"));
    let mut scenarios = Vec::new();
    if paths.is_empty() {
        let here = std::env::current_dir().map_err(|e| miette!("{e}"))?;
        let root = crate::corpus::checkout(&here)
            .ok_or_else(|| miette!("not inside a checkout of Shootdown: name scenarios"))?;
        scenarios.extend(folder(&root.join("corpus"))?.into_iter().map(|(_, s)| s));
    }
    for path in paths {
        if path.is_dir() {
            scenarios.extend(folder(path)?.into_iter().map(|(_, s)| s));
        } else {
            scenarios.push(input::scenario(&path.to_string_lossy())?);
        }
    }
    Ok(scenarios)
}

/// The columns of a table, and what each has in it.
type Cells = fn(&Costs) -> Vec<String>;

/// Totals, five digits at most.
fn total(costs: &Costs) -> Vec<String> {
    let short = |n: u64| match n {
        n if n < 100_000 => n.to_string(),
        n if n < 10_000_000 => format!("{}k", n / 1000),
        n => format!("{}M", n / 1_000_000),
    };
    costs.numbers().into_iter().map(short).collect()
}

/// Per operation that was carried out.
fn mean(costs: &Costs) -> Vec<String> {
    let of = |n: u64| n as f64 / costs.operations.max(1) as f64;
    let word = |n: u64| match of(n) {
        0.0 => "-".to_owned(),
        mean if mean < 10.0 => format!("{mean:.2}"),
        mean => format!("{mean:.1}"),
    };
    let [operations, others @ ..] = costs.numbers();
    let first = operations.to_string();
    [first]
        .into_iter()
        .chain(others.into_iter().map(word))
        .collect()
}

/// A table for people, 100 columns where names are no longer than 25.
fn text(rows: &[Row], cells: Cells) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut out = format!("{:width$}", "");
    for (column, size) in COLUMNS.iter().zip(sizes()) {
        let _ = write!(out, "{column:>size$}"); // to a string, as all here
    }
    for (name, costs) in rows {
        let _ = write!(out, "\n{name:width$}");
        for (cell, size) in cells(costs).iter().zip(sizes()) {
            let _ = write!(out, "{cell:>size$}");
        }
    }
    out + "\n"
}

/// Columns have room for a blank and their head, and at least for four digits.
fn sizes() -> impl Iterator<Item = usize> {
    COLUMNS.iter().map(|column| column.len().max(4) + 1)
}

fn csv(rows: &[Row]) -> String {
    let mut out = format!("variant,{}\n", COLUMNS.join(","));
    for (name, costs) in rows {
        let numbers = costs.numbers().map(|n| n.to_string());
        let _ = writeln!(out, "{name},{}", numbers.join(","));
    }
    out
}

fn json(rows: &[Row]) -> String {
    let row = |(name, costs): &Row| {
        let mut row = serde_json::Map::new();
        row.insert("variant".into(), name.as_str().into());
        let numbers = COLUMNS.iter().zip(costs.numbers());
        row.extend(numbers.map(|(column, n)| (column.to_string(), n.into())));
        serde_json::Value::Object(row)
    };
    let rows: Vec<_> = rows.iter().map(row).collect();
    // Strings and numbers: there is nothing that could not be written.
    serde_json::to_string_pretty(&rows).unwrap_or_default() + "\n"
}

/// What follows this line in a document was written by hand, and stays.
const BY_HAND: &str = "<!-- What follows is written by hand; the command keeps it. -->";

fn markdown(rows: &[Row], what: &str, old: &str) -> String {
    let mut out = format!(
        "# What each variant pays\n\n\
         {what},\n\
         without their schedules: CPUs take turns of an operation each, and hardware does\n\
         nothing unasked. Made by `shootdown cost --markdown docs/cost.md`; with `--variant`\n\
         fewer are compared, which have more operations in common.\n\n\
         `ops`: operations carried out. Invalidations: `local` for the CPU that issues them,\n\
         `bcast` for others too; either is for a `page`, a `range`, a `tag` (an ASID or PCID)\n\
         or `all`. `lost`: entries that they removed; `again`: of these, those that were made\n\
         again later just as they were, so that they had been lost for nothing. `refill`:\n\
         walks that an access waited for. `slow`: slow paths.\n"
    );
    let tables: [(&str, Cells); 2] = [("Totals", total), ("For each operation", mean)];
    for (title, cells) in tables {
        let head = COLUMNS.join(" | ");
        let line = "---|".repeat(COLUMNS.len());
        let _ = writeln!(out, "\n## {title}\n\n| variant | {head} |\n|---|{line}");
        for (name, costs) in rows {
            let _ = writeln!(out, "| {name} | {} |", cells(costs).join(" | "));
        }
    }
    let kept = old.split_once(BY_HAND).map_or("\n", |(_, kept)| kept);
    format!("{out}\n{BY_HAND}{kept}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let costs = Costs {
            operations: 200,
            steps: 123_456,
            broadcast: 50,
            page: 50,
            dsb: 2500,
            ..Costs::default()
        };
        vec![
            ("a-variant".into(), costs),
            ("another".into(), Costs::default()),
        ]
    }

    #[test]
    fn tables() {
        let rows = rows();
        let both = text(&rows, total) + &text(&rows, mean);
        insta::assert_snapshot!("cost_text", both);
        insta::assert_snapshot!("cost_csv", csv(&rows));
        let size: usize = sizes().sum();
        assert!(size + 17 <= 100, "{size}");
        let read: serde_json::Value = serde_json::from_str(&json(&rows)).unwrap();
        assert_eq!(read[0]["steps"], 123_456);
        assert_eq!(read[1]["variant"], "another");
    }

    #[test]
    fn what_was_written_by_hand_stays() {
        let first = markdown(&rows(), "2 scenarios", "");
        insta::assert_snapshot!("cost_markdown", first);
        let written = format!("{first}\n## Words\n\nOf mine.\n");
        let again = markdown(&rows()[..1], "1 scenario", &written);
        assert!(again.ends_with("by hand; the command keeps it. -->\n\n## Words\n\nOf mine.\n"));
        assert!(!again.contains("another"));
    }
}
