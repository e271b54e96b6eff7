// SPDX-License-Identifier: MIT OR Apache-2.0
//! The results so far, in a file: what has been measured is not measured again.

use super::super::Failure;
use super::trial::{Engine, Trial};
use miette::miette;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What one search came to.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The variant and its defect, as `Subject::parse` takes it.
    pub defect: String,
    /// How it was searched for.
    pub engine: Engine,
    /// Seed of the search.
    pub seed: u32,
    /// Its budget, in CPU seconds.
    pub seconds: u32,
    /// Of the state of the project that it was made with, in hexadecimal digits.
    pub fingerprint: String,
    /// Scenarios that were run.
    pub executions: u64,
    /// CPU time until the finding, or all that was spent.
    pub cpu_seconds: f64,
    /// What ended the search, unless that was the budget.
    pub finding: Option<Finding>,
}

/// A finding, minimized.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// The rule that is broken first.
    pub rule: String,
    /// Whether that is one which the defect must break. If not, the defect is not counted as
    /// found.
    pub explained: bool,
    /// Operations of its programs.
    pub operations: usize,
    /// Slots of its schedule.
    pub slots: usize,
    /// Its text.
    pub scenario: String,
}

impl Record {
    /// Whether this is what a trial would come to. A search does the same whatever its budget,
    /// until that is spent.
    fn answers(&self, trial: &Trial) -> bool {
        let known = match self.finding {
            _ if self.seconds == trial.seconds => true,
            Some(_) => self.cpu_seconds <= trial.seconds.into(),
            None => self.seconds >= trial.seconds,
        };
        known && self.fingerprint == format!("{:016x}", trial.fingerprint)
    }

    /// Whether it is about the same search, perhaps of another state of the project.
    fn is_of(&self, defect: &str, engine: Engine, seed: u32) -> bool {
        self.seed == seed && self.engine == engine && self.defect == defect
    }

    /// What counts as found.
    pub fn found(&self) -> Option<&Finding> {
        self.finding.as_ref().filter(|finding| finding.explained)
    }
}

/// The file.
pub struct Store {
    path: PathBuf,
    records: Vec<Record>,
}

impl Store {
    /// Reads it; `fresh`: begins it anew. Where there is none, it is empty.
    pub fn open(path: &Path, fresh: bool) -> Result<Store, Failure> {
        let records = match std::fs::read(path) {
            _ if fresh => Vec::new(),
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| {
                miette!(
                    help = "`--fresh` begins it anew",
                    "{} is no state of `shootdown zoo`: {e}",
                    path.display()
                )
            })?,
            Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(miette!("cannot read {}: {e}", path.display())),
        };
        let path = path.to_owned();
        Ok(Store { path, records })
    }

    /// What a trial came to, if that is known.
    pub fn get(&self, trial: &Trial) -> Option<&Record> {
        let name = trial.subject.name();
        let mut of = self.records.iter();
        of.find(|r| r.is_of(&name, trial.engine, trial.seed) && r.answers(trial))
    }

    /// Adds a result, in the place of an older one, and writes the file.
    pub fn put(&mut self, record: Record) -> Result<(), Failure> {
        let old = |r: &Record| r.is_of(&record.defect, record.engine, record.seed);
        self.records.retain(|r| !old(r));
        self.records.push(record);
        self.save()
            .map_err(|e| miette!("cannot write {}: {e}", self.path.display()))
    }

    /// Whoever interrupts this finds the old file or the new one.
    fn save(&self) -> std::io::Result<()> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let new = self.path.with_extension("new");
        std::fs::write(&new, serde_json::to_vec_pretty(&self.records)?)?;
        std::fs::rename(&new, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{record, trial};
    use super::*;

    fn open(name: &str) -> (PathBuf, Store) {
        let folder = std::env::temp_dir().join(format!("shootdown-zoo-{}", std::process::id()));
        let path = folder.join(name).join("zoo.json");
        let store = Store::open(&path, true).unwrap();
        (path, store)
    }

    #[test]
    fn what_is_written_is_there_the_next_time() {
        let (path, mut store) = open("again");
        let trial = trial(Engine::Fuzz, 1, 60);
        assert!(store.get(&trial).is_none());
        store.put(record(&trial, Some(2.0))).unwrap();
        let again = Store::open(&path, false).unwrap();
        assert_eq!(again.get(&trial), Some(&record(&trial, Some(2.0))));
        assert!(Store::open(&path, true).unwrap().get(&trial).is_none());
        std::fs::write(&path, "[{}]").unwrap();
        assert!(Store::open(&path, false).is_err());
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn only_the_same_search_is_an_answer() {
        let (path, mut store) = open("other");
        let first = trial(Engine::Fuzz, 1, 60);
        store.put(record(&first, Some(2.0))).unwrap();
        let mut changed = first.clone();
        changed.fingerprint += 1;
        for other in [
            trial(Engine::Pct, 1, 60),
            trial(Engine::Fuzz, 2, 60),
            changed,
        ] {
            assert!(store.get(&other).is_none());
            store.put(record(&other, None)).unwrap();
            assert!(store.get(&other).is_some());
        }
        // The last had the first one's name, and another fingerprint.
        assert!(store.get(&first).is_none());
        assert_eq!(store.records.len(), 3);
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_finding_within_the_budget_and_a_greater_budget_spent_are_answers() {
        let (path, mut store) = open("budget");
        let of = |seconds| trial(Engine::Run, 1, seconds);
        store.put(record(&of(60), Some(7.0))).unwrap();
        assert!(store.get(&of(7)).is_some() && store.get(&of(300)).is_some());
        assert!(store.get(&of(6)).is_none());
        store.put(record(&of(60), None)).unwrap();
        assert!(store.get(&of(60)).is_some() && store.get(&of(20)).is_some());
        assert!(store.get(&of(61)).is_none());
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}
