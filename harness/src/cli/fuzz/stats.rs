// SPDX-License-Identifier: MIT OR Apache-2.0
//! What libFuzzer says on its standard error, as figures.

use crate::breach;

/// The latest figures of one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Runs.
    pub executions: u64,
    /// Edges and other places of the code that were reached.
    pub coverage: u64,
    /// Features: coverage by counts, and the extra counters.
    pub features: u64,
    /// Inputs in the corpus.
    pub corpus: u64,
}

impl Stats {
    /// Takes in a line of output.
    pub fn line(&mut self, line: &str) {
        if let Some(count) = breach::heartbeat(line) {
            self.executions = self.executions.max(count);
        } else if let Some(count) = line.strip_prefix("stat::number_of_executed_units:") {
            self.executions = count.trim().parse().unwrap_or(self.executions);
        } else if let Some(rest) = line.strip_prefix('#') {
            self.status(rest);
        }
    }

    /// `123 NEW cov: 1 ft: 2 corp: 3/4Kb lim: 4096 exec/s: 5 ...`, without its `#`.
    fn status(&mut self, line: &str) {
        let mut words = line.split_ascii_whitespace();
        let Some(count) = words.next().and_then(|n| n.parse().ok()) else {
            return;
        };
        self.executions = self.executions.max(count);
        while let Some(word) = words.next() {
            let place = match word {
                "cov:" => &mut self.coverage,
                "ft:" => &mut self.features,
                "corp:" => &mut self.corpus,
                _ => continue,
            };
            let value = words
                .next()
                .and_then(|v| v.split('/').next())
                .map(str::parse);
            if let Some(Ok(value)) = value {
                *place = value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libfuzzer_lines() {
        let mut stats = Stats::default();
        stats.line("INFO: Running with entropic power schedule (0xFF, 100).");
        stats.line("#2\tINITED exec/s: 0 rss: 30Mb");
        assert_eq!(
            stats,
            Stats {
                executions: 2,
                ..Stats::default()
            }
        );
        stats.line(
            "#99778\tNEW    cov: 2124 ft: 14408 corp: 3489/2783Kb lim: 4096 exec/s: 9941 \
             rss: 41Mb L: 446/3445 MS: 1 Custom-",
        );
        let want = Stats {
            executions: 99778,
            coverage: 2124,
            features: 14408,
            corpus: 3489,
        };
        assert_eq!(stats, want);
        stats.line("SHOOTDOWN-EXECUTIONS 100000");
        assert_eq!(stats.executions, 100_000);
        stats.line("stat::number_of_executed_units: 106356");
        assert_eq!(stats.executions, 106_356);
    }
}
