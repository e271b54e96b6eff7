// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a campaign came to: a line for people, JSON for scripts.

use super::{Failure, at};
use crate::findings::Saved;
use std::fmt::Write;
use std::path::Path;

/// The figures of a campaign.
#[derive(Default)]
pub struct Summary {
    /// Runs, of all processes.
    pub executions: u64,
    /// Wall time.
    pub seconds: f64,
    /// CPU time, of all processes; 0 where the system does not tell.
    pub cpu: f64,
    /// Seed of the process that made the first finding, or of the first process.
    pub seed: u32,
}

impl Summary {
    /// For people.
    pub fn line(&self) -> String {
        let mut line = format!(
            "{} runs in {:.1} s, {:.0}/s",
            self.executions,
            self.seconds,
            self.executions as f64 / self.seconds.max(1e-3)
        );
        if self.cpu > 0.0 {
            let rate = self.executions as f64 / self.cpu;
            let _ = write!(line, "; {:.1} CPU s, {rate:.0} per CPU s", self.cpu); // to a string
        }
        line
    }

    /// For scripts.
    pub fn write_json(&self, path: &Path, first: Option<&Saved>) -> Result<(), Failure> {
        let field = |text: Option<String>| text.map_or("null".to_owned(), |t| quote(&t));
        let json = format!(
            "{{\"executions\": {}, \"seconds\": {:.3}, \"cpu_seconds\": {:.2}, \"seed\": {}, \
             \"rule\": {}, \"by\": {}, \"scenario\": {}}}\n",
            self.executions,
            self.seconds,
            self.cpu,
            self.seed,
            field(first.map(|s| s.minimized.found.finding.rule.name.to_owned())),
            field(first.map(|s| s.minimized.found.by.name())),
            field(first.map(|s| s.minimized.scenario.to_string())),
        );
        std::fs::write(path, json).map_err(|e| at(path, "write", &e))
    }
}

/// A JSON string.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", c as u32); // to a string
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_json() {
        assert_eq!(quote("a \"b\"\\\n\t"), r#""a \"b\"\\\n\u0009""#);
        let summary = Summary {
            executions: 1000,
            seconds: 2.0,
            cpu: 1.0,
            seed: 7,
        };
        assert_eq!(
            summary.line(),
            "1000 runs in 2.0 s, 500/s; 1.0 CPU s, 1000 per CPU s"
        );
    }
}
