// SPDX-License-Identifier: MIT OR Apache-2.0
//! docs/zoo.md: the table in Markdown, with what one must know to read it.

use super::table::{Cell, Table, number};
use std::fmt::Write as _;

impl Table {
    /// The document. `command` makes it again.
    pub fn markdown(&self, seeds: &str, seconds: u32, command: &str) -> String {
        let mut out = format!(
            "# The zoo\n\n\
             How long it takes to find each defect: {seeds}, from an empty corpus,\n\
             without the committed one and without a hint about the bug, on one core of a\n\
             machine as developers have, for up to {seconds} s of its time a seed. Made by\n\n    \
             {command}\n\n\
             Every finding that is counted was minimized, replays to the same rule, and\n\
             that rule is one which the defect must break; others would be listed as OTHER\n\
             RULE. Switches of the machine are off, but for those in parentheses, without\n\
             which the defect does not show. Medians are of the seeds that found it, \"worst\"\n\
             is of all. \"Size\" is operations and slots of the smallest scenario. `fuzz` is\n\
             libFuzzer, the others are the strategies of `shootdown run`.\n\n"
        );
        let mut head = String::from("| defect |");
        let mut line = String::from("|---|");
        for (number, engine) in self.engines.iter().enumerate() {
            let name = engine.name();
            let _ = match number {
                0 => write!(head, " {name} | runs | CPU s | worst |"),
                _ => write!(head, " {name}, CPU s, worst |"),
            };
            line += if number == 0 {
                "---|---|---|---|"
            } else {
                "---|"
            };
        }
        let _ = writeln!(out, "{head} size | rules |\n{line}---|---|"); // to a string, as all here
        for row in &self.rows {
            let _ = write!(out, "| {} |", row.title());
            for (number, cell) in row.cells.iter().enumerate() {
                out += &columns(number == 0, cell);
            }
            let least = row
                .least
                .map_or("-".into(), |(ops, slots)| format!("{ops}+{slots}"));
            let _ = writeln!(out, " {least} | {} |", row.rules());
        }
        let _ = writeln!(out, "\n{}.", self.verdict());
        out
    }
}

/// The columns of one engine: all figures of the first, the essential ones of the others.
fn columns(first: bool, cell: &Cell) -> String {
    let (rate, cpu) = (cell.rate(), number(cell.cpu, 2));
    if first {
        let runs = number(cell.executions, 0);
        format!(" {rate} | {runs} | {cpu} | {} |", cell.most())
    } else {
        format!(" {rate} {cpu}, {} |", cell.most())
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::{results, table};

    #[test]
    fn a_document() {
        let text = table(&results()).markdown("4 seeds each", 60, "shootdown zoo canary");
        insta::assert_snapshot!("zoo_markdown", text);
        assert!(text.lines().all(|l| l.starts_with('|') || l.len() < 100));
    }
}
