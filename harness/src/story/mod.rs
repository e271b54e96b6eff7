// SPDX-License-Identifier: MIT OR Apache-2.0
//! A run as data: every step in words, and what each changed, so that a tool can show the
//! machine at any step. docs/story.md describes it field by field.
//!
//! Addresses are strings in hexadecimal. CPUs and steps are numbers.

pub mod at;
mod lines;
mod page;
mod prose;
mod state;
mod tell;
#[cfg(test)]
mod tests;
mod trees;

pub use page::page;
pub use tell::story;

use serde::{Deserialize, Serialize};

/// Of the schema: greater if a field goes or changes its meaning. Fields may be added.
pub const SCHEMA: u32 = 1;

/// One traced run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs)] // docs/story.md has every field
pub struct Story {
    pub schema: u32,
    pub scenario: String,
    pub variant: Variant,
    pub defect: Option<Defect>,
    pub machine: Machine,
    pub programs: Vec<Vec<String>>,
    pub finding: Option<Finding>,
    pub boot: Vec<Change>,
    pub steps: Vec<Step>,
    pub verdicts: Vec<Verdict>,
    pub report: Option<Report>,
}

/// What ran.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Variant {
    pub name: String,
    pub about: String,
    pub tree: String,
    pub files: String,
}

/// What it is built with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Defect {
    pub name: String,
    pub about: String,
    pub source: String,
}

/// What it ran on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Machine {
    pub arch: String,
    pub cpus: u8,
    pub tlbs: Vec<usize>,
    pub settings: Vec<Setting>,
    pub needs: Vec<String>,
}

/// A key of the machine line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Setting {
    pub key: String,
    pub value: String,
}

/// What broke.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Finding {
    pub rule: String,
    pub class: String,
    pub why: String,
    pub breach: String,
    pub step: u32,
    pub cpu: Option<u8>,
    pub va: Option<String>,
    pub entry: Option<u32>,
    pub derived: Vec<u32>,
    pub made: Option<u32>,
    pub wrong: Option<u32>,
    pub window: Option<u32>,
}

/// What has one number of the run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Step {
    pub number: u32,
    pub matters: bool,
    pub lines: Vec<Line>,
    pub changes: Vec<Change>,
}

/// Whose doing a line is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Kind {
    Cpu,
    Hardware,
    Begin,
    End,
}

/// One thing that happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Line {
    pub kind: Kind,
    pub cpu: Option<u8>,
    pub head: String,
    pub detail: String,
    pub matters: bool,
    pub operation: Option<String>,
    pub site: Option<Site>,
}

/// A place in a port's source.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Site {
    pub function: Option<String>,
    pub file: String,
    pub line: u32,
}

/// What a step did to the machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Change {
    Made {
        entry: Entry,
    },
    Gone {
        id: u32,
        why: String,
    },
    Descriptor {
        space: String,
        pa: String,
        va: String,
        level: u8,
        value: Option<String>,
    },
    Register {
        cpu: u8,
        name: String,
        value: String,
        raw: String,
        synchronized: bool,
    },
    Variable {
        name: String,
        value: String,
    },
    Sent {
        number: u32,
        cpu: u8,
        tlbi: String,
        to: Vec<u8>,
    },
    Arrived {
        number: u32,
        cpu: u8,
    },
    Runs {
        cpu: u8,
        space: Option<String>,
        switching: bool,
    },
}

/// A TLB entry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Entry {
    pub id: u32,
    pub cpu: u8,
    pub tlb: usize,
    pub shared: bool,
    pub tag: String,
    pub stage: u8,
    pub level: u8,
    pub leaf: bool,
    pub global: bool,
    pub va: String,
    pub size: String,
    pub pa: String,
    pub writable: bool,
    pub target: String,
    pub owner: Option<String>,
    pub descriptor: String,
}

/// An entry that is left at the end, or a page of one, against the reference.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Verdict {
    pub id: u32,
    pub va: String,
    pub size: String,
    pub held: String,
    pub allowed: String,
    pub stale: bool,
}

/// The text report, by its parts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Report {
    pub what: String,
    pub history: String,
    pub interleaving: String,
    pub tlbs: String,
    pub elsewhere: String,
    pub reproducer: String,
}

impl Story {
    /// As JSON, for a file.
    pub fn json(&self) -> String {
        // Nothing in it can fail to be written: no maps, no numbers that are not integers.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}
