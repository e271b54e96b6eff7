// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one line that says how a campaign is going.

use super::stats::Stats;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

/// The line: on a terminal always there, elsewhere now and then.
pub struct Progress {
    bar: Option<ProgressBar>,
    start: Instant,
    /// When the next plain line is due.
    due: Duration,
}

/// Plain lines come at 1, 2, 4, ... seconds, and then so far apart.
const APART: Duration = Duration::from_secs(60);

impl Progress {
    /// Begins.
    pub fn new(verbose: bool) -> Progress {
        let bar = (!verbose && stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Progress {
            bar,
            start: Instant::now(),
            due: Duration::from_secs(1),
        }
    }

    /// Since it began.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Shows figures, if it is time to.
    pub fn show(&mut self, stats: &Stats, findings: usize) {
        let elapsed = self.elapsed();
        match &self.bar {
            Some(bar) => bar.set_message(line(elapsed, stats, findings)),
            None if elapsed >= self.due => {
                eprintln!("{}", line(elapsed, stats, findings));
                self.due += self.due.min(APART);
            }
            None => {}
        }
    }

    /// Does something that prints lines of its own.
    pub fn aside(&self, print: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// No more of it.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn line(elapsed: Duration, stats: &Stats, findings: usize) -> String {
    let seconds = elapsed.as_secs();
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let rate = stats.executions as f64 / elapsed.as_secs_f64().max(0.001);
    format!(
        "{h}:{m:02}:{s:02}  {} runs  {}/s  cov {}  ft {}  corpus {}  findings {findings}",
        short(stats.executions as f64),
        short(rate),
        stats.coverage,
        stats.features,
        stats.corpus
    )
}

/// Three digits or so: `734`, `12.3k`, `4.56M`.
fn short(number: f64) -> String {
    let (value, unit) = match number {
        n if n < 1e3 => return format!("{n:.0}"),
        n if n < 1e6 => (n / 1e3, "k"),
        n if n < 1e9 => (n / 1e6, "M"),
        n => (n / 1e9, "G"),
    };
    let digits = if value < 10.0 {
        2
    } else {
        usize::from(value < 100.0)
    };
    format!("{value:.digits$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_short() {
        let stats = Stats {
            executions: 12_345_678,
            coverage: 2124,
            features: 14408,
            corpus: 3489,
        };
        assert_eq!(
            line(Duration::from_secs(3725), &stats, 1),
            "1:02:05  12.3M runs  3.31k/s  cov 2124  ft 14408  corpus 3489  findings 1"
        );
        assert_eq!(short(999.0), "999");
        assert_eq!(short(734_000.0), "734k");
    }
}
