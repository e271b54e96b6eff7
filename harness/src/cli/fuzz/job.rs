// SPDX-License-Identifier: MIT OR Apache-2.0
//! One libFuzzer process.

use super::stats::Stats;
use super::{Failure, at};
use crate::breach::{ASK_HEARTBEAT, KNOWN, Line};
use crate::fixed::Fixed;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::time::Instant;

/// Lines of output that are kept, to be shown when a process ends unexpectedly.
const TAIL: usize = 40;

/// What a process is started with.
pub struct Plan<'a> {
    /// The target.
    pub target: &'a Path,
    /// `SHOOTDOWN_VARIANTS`.
    pub variants: &'a str,
    /// What each scenario's machine must be.
    pub fixed: Fixed,
    /// Corpus folders. The first is written to.
    pub corpora: &'a [PathBuf],
    /// Where libFuzzer leaves the input that ended it.
    pub artifacts: &'a Path,
    /// Findings that it passes over, as `SHOOTDOWN_KNOWN` names them.
    pub known: String,
    /// `--` arguments.
    pub more: &'a [String],
}

/// What a process has to say.
pub enum Said {
    /// A line of output.
    Line(String),
    /// There will be no more.
    End,
}

/// A process under way.
pub struct Job {
    /// Its seed.
    pub seed: u32,
    /// Its figures.
    pub stats: Stats,
    /// What it found.
    pub line: Option<Line>,
    /// The last lines of its output.
    pub tail: VecDeque<String>,
    artifacts: PathBuf,
    start: Instant,
    child: Child,
}

/// How a process ended.
pub struct End {
    /// Its status.
    pub status: Option<ExitStatus>,
    /// CPU time that it used, in seconds; 0 where the system does not tell.
    pub cpu: f64,
    /// The input that ended it.
    pub artifact: Option<PathBuf>,
}

impl Job {
    /// Starts a process, which reports to `to` under its number.
    pub fn start(
        plan: &Plan<'_>,
        number: usize,
        seed: u32,
        seconds: Option<u64>,
        to: Sender<(usize, Said)>,
    ) -> Result<Job, Failure> {
        let artifacts = plan.artifacts.join(seed.to_string());
        std::fs::create_dir_all(&artifacts).map_err(|e| at(&artifacts, "make", &e))?;
        let mut prefix = artifacts.clone().into_os_string();
        prefix.push("/");
        let mut command = Command::new(plan.target);
        // The entropic schedule costs a quarter of the speed or so here. Replacing inputs by
        // shorter ones is mostly file system work.
        command
            .args(["-entropic=0", "-reduce_inputs=0"])
            .args([
                "-max_len=4096",
                "-len_control=0",
                "-print_final_stats=1",
                "-timeout=60",
            ])
            .args(["-reload=5", "-detect_leaks=0"])
            .arg(format!("-seed={seed}"))
            .arg(argument("-artifact_prefix=", &prefix));
        if let Some(seconds) = seconds {
            command.arg(format!("-max_total_time={}", seconds.max(1)));
        }
        command
            .args(plan.more)
            .args(plan.corpora)
            .env("SHOOTDOWN_VARIANTS", plan.variants)
            .envs(plan.fixed.environment())
            .env(KNOWN, &plan.known)
            .env(ASK_HEARTBEAT, "1")
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|e| at(plan.target, "run", &e))?;
        let output = child.stderr.take();
        std::thread::spawn(move || {
            for line in output
                .into_iter()
                .flat_map(|o| BufReader::new(o).split(b'\n'))
            {
                let Ok(line) = line else { break };
                let line = String::from_utf8_lossy(&line).into_owned();
                if to.send((number, Said::Line(line))).is_err() {
                    return;
                }
            }
            let _ = to.send((number, Said::End)); // no one listens any more: as well
        });
        let (stats, tail) = (Stats::default(), VecDeque::new());
        Ok(Job {
            seed,
            stats,
            line: None,
            tail,
            artifacts,
            start: Instant::now(),
            child,
        })
    }

    /// Takes in a line of output.
    pub fn said(&mut self, line: String) {
        self.stats.line(&line);
        if self.line.is_none() {
            self.line = Line::parse(&line);
        }
        // What is of no use to a person who wonders what went wrong.
        if line.starts_with('#') || crate::breach::heartbeat(&line).is_some() {
            return;
        }
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    /// CPU time so far, in seconds; where the system does not tell, the time since its start.
    pub fn cpu(&self) -> f64 {
        cpu_seconds(self.child.id()).unwrap_or_else(|| self.start.elapsed().as_secs_f64())
    }

    /// Ends the process.
    pub fn kill(&mut self) {
        let _ = self.child.kill(); // it may be gone already
    }

    /// Waits for the end of a process that has no more to say.
    pub fn wait(&mut self) -> End {
        // A process that has ended can still be asked for its times, until it is waited for.
        let mut cpu = cpu_seconds(self.child.id());
        let status = loop {
            match self.child.try_wait() {
                Ok(None) => {
                    cpu = cpu_seconds(self.child.id()).or(cpu);
                    std::thread::sleep(std::time::Duration::from_millis(2));
                }
                Ok(status) => break status,
                Err(_) => break None,
            }
        };
        let files = std::fs::read_dir(&self.artifacts)
            .into_iter()
            .flatten()
            .flatten();
        let artifact = files.map(|file| file.path()).min();
        if artifact.is_none() {
            let _ = std::fs::remove_dir(&self.artifacts); // empty; harmless if it stays
        }
        End {
            status,
            cpu: cpu.unwrap_or(0.0),
            artifact,
        }
    }
}

/// An argument with a path, which need not be UTF-8.
fn argument(name: &str, value: &std::ffi::OsStr) -> std::ffi::OsString {
    let mut argument = std::ffi::OsString::from(name);
    argument.push(value);
    argument
}

/// CPU time of a process, where there is a /proc to look into.
fn cpu_seconds(id: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name, in parentheses, may have blanks. utime and stime are fields 14 and 15,
    // in hundredths of a second on every Linux.
    let fields = stat.rsplit_once(')')?.1;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / 100.0)
}
