// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two variants that came to different results: what each came to, side by side.

use super::text;
use crate::check::{Subject, input, run_one};
use crate::exec::{Bench, Input};
use crate::scenario::Scenario;
use shootdown_machine::{Done, Event, PAGE, PAGES, Space};
use shootdown_oracle::reference::mapped;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Variants that fit beside each other.
const MOST: usize = 2;

/// What each of a scenario's variants makes of its operations and pages, where they differ.
pub fn tell(bench: &mut Bench, scenario: &Scenario, by: Subject, out: &mut String) {
    let all = Subject::of(scenario).unwrap_or_default();
    let others = all.into_iter().filter(|s| s.name() != by.name());
    let subjects: Vec<Subject> = others.take(MOST - 1).chain([by]).collect();
    let mut rows: BTreeMap<(u8, String), Vec<String>> = BTreeMap::new();
    for (column, subject) in subjects.iter().enumerate() {
        let traced = Input {
            trace: true,
            ..input(scenario)
        };
        run_one(bench, *subject, scenario, traced);
        let mut cell = |order: u8, row: String, value: String| {
            let cells = rows.entry((order, row)).or_default();
            cells.resize(column, "-".into());
            cells.push(value);
        };
        for (_, event) in &bench.trace {
            if let Event::End {
                cpu,
                index,
                op,
                done,
                ..
            } = event
            {
                cell(0, format!("cpu{cpu} #{index} {op}"), word(*done).into());
            }
        }
        let state = bench.machine.state();
        for space in (0..state.config.spaces).map(Space) {
            for va in (0..PAGES as u64).map(|p| p * PAGE) {
                let (page, writable) = mapped(&state, space, va);
                let access = if writable { "rw" } else { "ro" };
                let value = page.map_or("not mapped".into(), |p| format!("page {} {access}", p.0));
                cell(1, format!("at the end, {space} {va:#x}"), value);
            }
        }
    }
    text::heading(out, "What the operations came to, where they differ");
    let line = |out: &mut String, what: &str, cells: &[String]| {
        let _ = write!(out, "  {what:32}");
        for cell in cells {
            let _ = write!(out, " {cell:18}");
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    };
    line(
        out,
        "",
        &subjects.iter().map(Subject::name).collect::<Vec<_>>(),
    );
    for ((_, what), mut cells) in rows {
        cells.resize(subjects.len(), "-".into());
        if cells.windows(2).any(|pair| pair[0] != pair[1]) {
            line(out, &what, &cells);
        }
    }
}

fn word(done: Done) -> &'static str {
    match done {
        Done::Yes => "done",
        Done::No => "nothing to do",
        Done::Exhausted => "no memory",
        Done::Fault => "fault",
    }
}
