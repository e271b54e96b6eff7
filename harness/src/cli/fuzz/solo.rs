// SPDX-License-Identifier: MIT OR Apache-2.0
//! One process from an empty corpus, until it finds something or has used up its CPU time: for
//! measuring how long a search takes.

use super::finding::read;
use super::job::{Job, Plan, Said};
use super::{Failure, at};
use crate::check::{Found, Subject};
use crate::exec::Bench;
use crate::fixed::Fixed;
use crate::scenario::Scenario;
use miette::miette;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// What it came to.
pub struct Solo {
    /// Runs.
    pub executions: u64,
    /// CPU time, in seconds.
    pub cpu: f64,
    /// The finding that ended it.
    pub found: Option<(Scenario, Found)>,
}

/// Fuzzes `subject` as `fuzz --from-scratch --jobs 1 --seed SEED` does, with the switches on that
/// its defect needs, for `seconds` of CPU time at most. `folder` is its own, and gone afterwards.
pub fn solo(
    target: &Path,
    folder: &Path,
    subject: Subject,
    seed: u32,
    seconds: f64,
) -> Result<Solo, Failure> {
    let corpora = [folder.join("corpus")];
    std::fs::create_dir_all(&corpora[0]).map_err(|e| at(&corpora[0], "make", &e))?;
    let plan = Plan {
        target,
        variants: &subject.name(),
        fixed: Fixed::needed(subject),
        corpora: &corpora,
        artifacts: &folder.join("artifacts"),
        known: String::new(),
        more: &[],
    };
    let (to, from) = channel();
    let mut job = Job::start(&plan, 0, seed, None, to)?;
    let mut out_of_time = false;
    loop {
        match from.recv_timeout(Duration::from_millis(100)) {
            Ok((_, Said::Line(line))) => job.said(line),
            Ok((_, Said::End)) | Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if !out_of_time && job.cpu() >= seconds {
            out_of_time = true;
            job.kill();
        }
    }
    let end = job.wait();
    let found = match (&job.line, &end.artifact) {
        (Some(line), Some(artifact)) => {
            let bytes = std::fs::read(artifact).map_err(|e| at(artifact, "read", &e))?;
            let found = read(&mut Bench::default(), &bytes, &[subject], plan.fixed);
            Some(found.ok_or_else(|| {
                miette!(
                    help = "was this `shootdown` built from another state of the checkout?",
                    "{line}\ndoes not happen in this process; the input is in {}",
                    artifact.display()
                )
            })?)
        }
        _ if out_of_time => None,
        _ => return Err(super::campaign::broken(&job, &end)),
    };
    let _ = std::fs::remove_dir_all(folder); // harmless if it stays
    Ok(Solo {
        executions: job.stats.executions,
        cpu: end.cpu,
        found,
    })
}
