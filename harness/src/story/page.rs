// SPDX-License-Identifier: MIT OR Apache-2.0
//! A story as a page: one file that needs nothing else. What a script adds is the machine's
//! state; the list of steps is there without.

use super::prose::{Block, blocks};
use super::{Kind, Line, Step, Story};
use askama::Template;
use core::fmt::Write as _;

/// Text in blocks, items that follow each other in one.
enum Shown {
    Heading(String),
    Paragraph(String),
    Items(Vec<(u32, String)>),
    Table(String),
}

/// A line at the beginning of a step.
struct Mark {
    class: &'static str,
    text: String,
}

struct Place {
    short: String,
    title: String,
}

/// A line in its lane.
struct Cell {
    class: String,
    who: String,
    head: String,
    detail: String,
    site: Option<Place>,
}

/// A step.
struct Row {
    number: u32,
    class: &'static str,
    mark: Option<Mark>,
    cells: Vec<Cell>,
}

/// What the list shows: a step that matters, or several that do not.
enum Lane {
    Open(Row),
    Fold {
        class: &'static str,
        summary: String,
        rows: Vec<Row>,
    },
}

#[derive(Template)]
#[template(path = "story.html")]
struct Page<'a> {
    story: &'a Story,
    title: String,
    history: Vec<Shown>,
    tlbs: Vec<Shown>,
    elsewhere: Vec<Shown>,
    lanes: Vec<Lane>,
    data: String,
    css: &'static str,
    script: &'static str,
}

/// The page.
///
/// # Errors
/// If it cannot be written: there is nothing in a story that could bring that about.
pub fn page(story: &Story) -> Result<String, askama::Error> {
    let told = |part: fn(&super::Report) -> &String| {
        let text = story.report.as_ref().map(part);
        text.map_or(Vec::new(), |text| shown(text))
    };
    Page {
        story,
        title: title(story),
        history: told(|r| &r.history),
        tlbs: told(|r| &r.tlbs),
        elsewhere: told(|r| &r.elsewhere),
        lanes: lanes(story),
        data: data(story)?,
        css: include_str!("../../templates/story.css"),
        script: include_str!("../../templates/story.js"),
    }
    .render()
}

impl Story {
    /// The number of the last step.
    fn last(&self) -> u32 {
        self.steps.last().map_or(0, |s| s.number)
    }

    /// Since when there is an entry that is wrong.
    fn window(&self) -> Option<u32> {
        self.finding.as_ref()?.window
    }

    /// The variant, as a scenario names it.
    fn name(&self) -> String {
        match &self.defect {
            Some(defect) => format!("{}/{}", self.variant.name, defect.name),
            None => self.variant.name.clone(),
        }
    }
}

fn title(story: &Story) -> String {
    let name = story.name();
    match &story.finding {
        Some(f) => format!("{} broken by {name} at step {}", f.rule, f.step),
        None => format!("{name} breaks no rule"),
    }
}

/// The story as JSON that no parser of HTML can find an end tag or a comment in.
fn data(story: &Story) -> Result<String, askama::Error> {
    let json = serde_json::to_string(story).map_err(askama::Error::custom)?;
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            // Of JSON, only strings can have these.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(safe, "\\u{:04x}", c as u32);
            }
            c => safe.push(c),
        }
    }
    Ok(safe)
}

fn shown(text: &str) -> Vec<Shown> {
    let mut all: Vec<Shown> = Vec::new();
    for block in blocks(text) {
        match (block, all.last_mut()) {
            (Block::Item(step, text), Some(Shown::Items(items))) => items.push((step, text)),
            (Block::Item(step, text), _) => all.push(Shown::Items(vec![(step, text)])),
            (Block::Heading(text), _) => all.push(Shown::Heading(text)),
            (Block::Paragraph(text), _) => all.push(Shown::Paragraph(text)),
            (Block::Table(text), _) => all.push(Shown::Table(text)),
        }
    }
    all
}

/// The steps, those that do not matter in folds.
fn lanes(story: &Story) -> Vec<Lane> {
    let mut lanes: Vec<Lane> = Vec::new();
    let mut folded: Vec<&Step> = Vec::new();
    // The operation that each CPU's last open line was of.
    let mut told: [Option<String>; 256] = [const { None }; 256];
    for step in &story.steps {
        let last = step.number == story.last() && story.finding.is_some();
        let from = Some(step.number) == story.window();
        if !step.matters && !last && !from {
            forget(&mut told, step);
            folded.push(step);
            continue;
        }
        lanes.extend(fold(story, core::mem::take(&mut folded)));
        let mut row = row(story, step);
        row.cells = open(step, &mut told);
        lanes.push(Lane::Open(row));
    }
    lanes.extend(fold(story, folded));
    lanes
}

/// An operation that has begun in a fold is named before its first line outside.
fn forget(told: &mut [Option<String>], step: &Step) {
    for line in step.lines.iter().filter(|l| l.kind == Kind::Begin) {
        if let Some(cpu) = line.cpu {
            told[cpu as usize] = None;
        }
    }
}

/// The lines of a step that matters.
fn open(step: &Step, told: &mut [Option<String>]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for line in &step.lines {
        if let (Some(cpu), Some(op)) = (line.cpu, &line.operation) {
            let before = &mut told[cpu as usize];
            let own = matches!(line.kind, Kind::Cpu | Kind::Begin);
            if own && before.as_ref() != Some(op) {
                if line.kind == Kind::Cpu {
                    cells.push(cell(&heading(cpu, op)));
                }
                *before = Some(op.clone());
            }
        }
        cells.push(cell(line));
    }
    cells
}

fn heading(cpu: u8, op: &str) -> Line {
    Line {
        kind: Kind::Begin,
        cpu: Some(cpu),
        head: op.into(),
        detail: String::new(),
        matters: true,
        operation: None,
        site: None,
    }
}

fn fold(story: &Story, steps: Vec<&Step>) -> Option<Lane> {
    let first = steps.first()?;
    let inside = story.window().is_some_and(|from| from <= first.number);
    Some(Lane::Fold {
        class: if inside { " window" } else { "" },
        summary: summary(&steps),
        rows: steps.iter().map(|step| row(story, step)).collect(),
    })
}

/// How many steps of what.
fn summary(steps: &[&Step]) -> String {
    let mut parts: Vec<(String, u32)> = Vec::new();
    for line in steps.iter().flat_map(|s| &s.lines) {
        let name = match (line.kind, line.cpu, &line.operation) {
            (Kind::Cpu, Some(cpu), Some(op)) => format!("cpu{cpu} in \"{op}\""),
            (Kind::Hardware, Some(cpu), _) => format!("of the hardware at cpu{cpu}"),
            _ => continue,
        };
        match parts.iter_mut().find(|(n, _)| *n == name) {
            Some((_, count)) => *count += 1,
            None => parts.push((name, 1)),
        }
    }
    let parts: Vec<String> = parts.iter().map(|(n, c)| format!("{c} {n}")).collect();
    let (from, to) = (steps[0].number, steps[steps.len() - 1].number);
    let range = if from == to {
        format!("step {from}")
    } else {
        format!("steps {from} to {to}")
    };
    if parts.is_empty() {
        return range;
    }
    format!("{range}: {}", parts.join(", "))
}

fn row(story: &Story, step: &Step) -> Row {
    let last = step.number == story.last();
    let finding = story.finding.as_ref();
    let inside = story.window().is_some_and(|from| from <= step.number);
    let mark = match finding {
        Some(f) if last => Some(Mark {
            class: " bad",
            text: format!("{} is broken here.", f.rule),
        }),
        Some(f) if f.window == Some(step.number) => Some(Mark {
            class: "",
            text: "From here on, a TLB holds an entry that is wrong.".into(),
        }),
        _ => None,
    };
    Row {
        number: step.number,
        class: if inside { " window" } else { "" },
        mark,
        cells: step.lines.iter().map(cell).collect(),
    }
}

fn cell(line: &Line) -> Cell {
    let kind = match line.kind {
        Kind::Cpu => "cpu",
        Kind::Hardware => "hardware",
        Kind::Begin => "begin",
        Kind::End => "end",
    };
    let lane = line.cpu.map_or("all".into(), |cpu| format!("c{cpu}"));
    let folded = if line.matters { "" } else { " folded" };
    let site = line.site.as_ref().map(|site| {
        let file = site.file.rsplit('/').next().unwrap_or(&site.file);
        let file = file.strip_suffix(".rs").unwrap_or(file);
        let name = site.function.as_deref().unwrap_or(file);
        Place {
            short: format!("{name}:{}", site.line),
            title: format!("{}:{}", site.file, site.line),
        }
    });
    let detail = match line.kind {
        Kind::End => format!("ends: {}", line.detail),
        _ => line.detail.clone(),
    };
    Cell {
        class: format!("{lane} {kind}{folded}"),
        who: line.cpu.map_or(String::new(), |cpu| format!("cpu{cpu}")),
        head: line.head.clone(),
        detail,
        site,
    }
}
