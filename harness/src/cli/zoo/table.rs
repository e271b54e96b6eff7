// SPDX-License-Identifier: MIT OR Apache-2.0
//! The figures of many searches: for people, as CSV and as JSON.

use super::store::{Finding, Record};
use super::trial::Engine;
use crate::check::Subject;
use shootdown_machine::Switch;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The middle of some values, or the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    let high = *values.get(half)?;
    let low = values[half - usize::from(values.len().is_multiple_of(2))];
    Some((low + high) / 2.0)
}

/// What one engine did about one defect, over the seeds.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Cell {
    /// Searches.
    pub tried: usize,
    /// Those that found it.
    pub found: usize,
    /// Median scenarios of those that found it.
    pub executions: Option<f64>,
    /// Median CPU seconds of those that found it.
    pub cpu: Option<f64>,
    /// The most CPU seconds that any took, whether it found it or not.
    pub worst: f64,
}

impl Cell {
    fn of(records: &[&Record]) -> Cell {
        let found: Vec<_> = records.iter().filter(|r| r.found().is_some()).collect();
        let median_of = |f: fn(&Record) -> f64| median(found.iter().map(|r| f(r)).collect());
        Cell {
            tried: records.len(),
            found: found.len(),
            executions: median_of(|r| r.executions as f64),
            cpu: median_of(|r| r.cpu_seconds),
            worst: records.iter().map(|r| r.cpu_seconds).fold(0.0, f64::max),
        }
    }

    /// Whether it is found in nine of ten seeds, of as many as others have: one that had a single
    /// seed and was lucky says little.
    fn good(&self, seeds: usize) -> bool {
        seeds > 0 && self.found * 10 >= seeds * 9
    }

    /// `9/10`.
    pub fn rate(&self) -> String {
        format!("{}/{}", self.found, self.tried)
    }

    /// The most CPU time, as text: `>60` where some seeds did not find it.
    pub fn most(&self) -> String {
        if self.found < self.tried {
            format!(">{:.0}", self.worst.floor())
        } else {
            format!("{:.2}", self.worst)
        }
    }
}

/// A number that there may not be.
pub fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".into(), |value| format!("{value:.digits$}"))
}

/// What is known about one defect.
#[derive(Debug)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// By engine, in the table's order.
    pub cells: Vec<Cell>,
    /// Rules that were broken first, and how often, the most frequent first.
    pub rules: Vec<(String, usize)>,
    /// The same of rules that the defect does not explain.
    pub other: Vec<(String, usize)>,
    /// Operations and slots of the smallest scenario that shows it.
    pub least: Option<(usize, usize)>,
}

impl Row {
    fn of(name: String, engines: &[Engine], records: &[&Record]) -> Row {
        let mine: Vec<&Record> = records
            .iter()
            .copied()
            .filter(|r| r.defect == name)
            .collect();
        let of = |engine: &Engine| {
            let its = mine.iter().copied().filter(|r| r.engine == *engine);
            Cell::of(&its.collect::<Vec<_>>())
        };
        let found: Vec<&Finding> = mine.iter().filter_map(|r| r.found()).collect();
        let other = mine.iter().filter_map(|r| r.finding.as_ref());
        let least = found.iter().map(|f| (f.operations, f.slots));
        Row {
            cells: engines.iter().map(of).collect(),
            rules: count(found.iter().map(|f| &f.rule)),
            other: count(other.filter(|f| !f.explained).map(|f| &f.rule)),
            least: least.min_by_key(|(operations, slots)| (operations + slots, *operations)),
            name,
        }
    }

    /// Its name, with the switches that were on for it.
    pub fn title(&self) -> String {
        let needs = Subject::parse(&self.name).map(|by| by.needs());
        let words = needs.iter().flat_map(|needs| needs.iter());
        let words: Vec<_> = words.map(Switch::word).collect();
        match &words[..] {
            [] => self.name.clone(),
            some => format!("{} ({})", self.name, some.join(" ")),
        }
    }

    /// The rules with their numbers.
    pub fn rules(&self) -> String {
        let word = |(rule, n): &(String, usize)| format!("{rule} {n}");
        let other = |(rule, n): &(String, usize)| format!("OTHER RULE {rule} {n}");
        let words = self.rules.iter().map(word);
        let words: Vec<_> = words.chain(self.other.iter().map(other)).collect();
        words.join(", ")
    }

    fn text(&self, engines: &[Engine]) -> String {
        let mut out = self.title();
        if let Some((operations, slots)) = self.least {
            let _ = write!(out, ", smallest {operations} operations, {slots} slots"); // to a string
        }
        let rules = self.rules();
        let _ = writeln!(
            out,
            "\n    {}",
            if rules.is_empty() {
                "not found"
            } else {
                &rules
            }
        );
        for (engine, cell) in engines.iter().zip(&self.cells) {
            let _ = writeln!(
                out,
                "    {:8}{:>7}{:>12} runs {:>8} CPU s, worst {:>7}",
                engine.name(),
                cell.rate(),
                number(cell.executions, 0),
                number(cell.cpu, 2),
                cell.most()
            );
        }
        out
    }
}

/// How often each word occurs, the most frequent first.
fn count<'a>(words: impl Iterator<Item = &'a String>) -> Vec<(String, usize)> {
    let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
    words.for_each(|word| *counts.entry(word).or_default() += 1);
    let mut counts: Vec<_> = counts.into_iter().map(|(w, n)| (w.clone(), n)).collect();
    counts.sort_by_key(|(_, n)| core::cmp::Reverse(*n)); // stable: equal ones by name
    counts
}

/// All defects.
#[derive(Debug)]
pub struct Table {
    /// The engines.
    pub engines: Vec<Engine>,
    /// The defects.
    pub rows: Vec<Row>,
}

impl Table {
    /// Of these results.
    pub fn new(names: Vec<String>, engines: Vec<Engine>, records: &[&Record]) -> Table {
        let row = |name| Row::of(name, &engines, records);
        Table {
            rows: names.into_iter().map(row).collect(),
            engines,
        }
    }

    /// The defects that no engine finds in nine of ten seeds.
    pub fn missed(&self) -> Vec<&str> {
        let cells = self.rows.iter().flat_map(|row| &row.cells);
        let seeds = cells.map(|cell| cell.tried).max().unwrap_or(0);
        let missed = |row: &&Row| !row.cells.iter().any(|cell| cell.good(seeds));
        self.rows
            .iter()
            .filter(missed)
            .map(|row| row.name.as_str())
            .collect()
    }

    /// How many are found, in one sentence.
    pub fn verdict(&self) -> String {
        let (all, missed) = (self.rows.len(), self.missed());
        let mut out = format!(
            "{} of {all} defects are found in nine of ten seeds at least by one engine",
            all - missed.len()
        );
        if !missed.is_empty() {
            let _ = write!(out, "; not so: {}", missed.join(", ")); // to a string
        }
        out
    }

    /// For people.
    pub fn text(&self) -> String {
        let rows = self.rows.iter().map(|row| row.text(&self.engines));
        let rows: String = rows.collect();
        format!(
            "{rows}\nMedians are of the seeds that found it; \"worst\" is of all.\n{}.\n",
            self.verdict()
        )
    }
}

/// A line for each search.
pub fn csv(records: &[&Record]) -> String {
    let mut out = String::from(
        "defect,engine,seed,seconds,found,rule,executions,cpu_seconds,operations,slots\n",
    );
    for r in records {
        let found = r.found().is_some();
        let (rule, operations, slots) = match &r.finding {
            Some(f) => (&f.rule[..], f.operations.to_string(), f.slots.to_string()),
            None => ("", String::new(), String::new()),
        };
        let _ = writeln!(
            out, // to a string
            "{},{},{},{},{found},{rule},{},{:.3},{operations},{slots}",
            r.defect,
            r.engine.name(),
            r.seed,
            r.seconds,
            r.executions,
            r.cpu_seconds
        );
    }
    out
}

/// Each search with all there is to know of it.
pub fn json(records: &[&Record]) -> String {
    // Strings, numbers and lists of them: there is nothing that could not be written.
    serde_json::to_string_pretty(records).unwrap_or_default() + "\n"
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tests::{record, trial};
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0]), Some(3.0));
        assert_eq!(median(vec![9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![9.0, 1.0, 2.0, 4.0]), Some(3.0));
    }

    /// Four seeds of libFuzzer, one of which finds nothing, and one of PCT that finds
    /// something else.
    pub fn results() -> Vec<Record> {
        let found = [Some(2.0), Some(0.25), None, Some(40.0)];
        let of = |(seed, found): (u32, &Option<f64>)| {
            let mut record = record(&trial(Engine::Fuzz, seed, 60), *found);
            if let (Some(finding), 4) = (&mut record.finding, seed) {
                finding.rule = "TLBEmptyInvalPTE".into();
                finding.operations = 1;
            }
            record
        };
        let mut all: Vec<Record> = (1..).zip(&found).map(of).collect();
        let mut other = record(&trial(Engine::Pct, 1, 60), Some(1.0));
        if let Some(finding) = &mut other.finding {
            finding.rule = "deadlock".into();
            finding.explained = false;
        }
        all.push(other);
        all
    }

    pub fn table(results: &[Record]) -> Table {
        let all: Vec<&Record> = results.iter().collect();
        Table::new(vec!["canary".into()], vec![Engine::Fuzz, Engine::Pct], &all)
    }

    #[test]
    fn figures() {
        let results = results();
        let table = table(&results);
        let row = &table.rows[0];
        let fuzz = Cell {
            tried: 4,
            found: 3,
            executions: Some(2000.0),
            cpu: Some(2.0),
            worst: 60.0,
        };
        assert_eq!(row.cells[0], fuzz);
        assert_eq!((row.cells[1].found, row.cells[1].cpu), (0, None));
        assert_eq!(row.least, Some((1, 1)));
        assert_eq!(table.missed(), ["canary"]);
        let few: Vec<Record> = results.into_iter().filter(|r| r.seed != 3).collect();
        assert!(super::tests::table(&few).missed().is_empty());
    }

    #[test]
    fn fewer_seeds_than_others_had_are_not_enough() {
        let of = |defect: &str, seed| {
            let mut record = record(&trial(Engine::Run, seed, 60), Some(1.0));
            record.defect = defect.into();
            record
        };
        let mut results: Vec<Record> = (1..=10).map(|seed| of("one", seed)).collect();
        results.extend((1..=8).map(|seed| of("two", seed)));
        let names = vec!["one".into(), "two".into()];
        let missed = |results: &[Record]| {
            let all: Vec<_> = results.iter().collect();
            let table = Table::new(names.clone(), vec![Engine::Run], &all);
            table.missed().len()
        };
        assert_eq!(missed(&results), 1);
        results.push(of("two", 9));
        assert_eq!(missed(&results), 0);
    }

    #[test]
    fn texts() {
        let results = results();
        insta::assert_snapshot!("zoo_text", table(&results).text());
        let all: Vec<&Record> = results.iter().collect();
        insta::assert_snapshot!("zoo_csv", csv(&all));
        let again: Vec<Record> = serde_json::from_str(&json(&all)).unwrap();
        assert_eq!(again, results);
    }
}
