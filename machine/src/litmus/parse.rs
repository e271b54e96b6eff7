// SPDX-License-Identifier: MIT OR Apache-2.0
//! From text to test. docs/litmus.md describes the text.
//!
//! What a line names must have been declared above it, so one pass is enough.

use super::lex::{Line, Parsed, Place, Token, list};
use super::threads::Jump;
use super::{Clause, Desc, Final, Place as Where, Pte, REGS, Reg, Value, Verdict};
use super::{Map, Of, ParseError, Symbol, Table, TableId, Test};
use crate::arm64::Stage;

/// Longest text, in bytes.
const MAX_TEXT: usize = 1 << 16;
/// Most names, and most tables.
const MAX: usize = 64;

/// The first words of lines outside of threads, by the part of the text that they belong to.
/// Parts come in this order.
const PARTS: &[(&str, u8)] = &[
    ("litmus", 0),
    ("esop22", 1),
    ("herd", 1),
    ("expect", 1),
    ("note", 1),
    ("virtual", 2),
    ("intermediate", 2),
    ("physical", 2),
    ("place", 3),
    ("memory", 3),
    ("table", 4),
    ("thread", 5),
    ("ask", 6),
];

/// Reads a test.
///
/// # Errors
///
/// The first place where the text is no test, what is wrong there, and what would be right.
pub fn parse(text: &str) -> Result<Test, ParseError> {
    readable(text)?;
    let mut parser = Parser::default();
    for line in Line::all(text) {
        parser.line(line)?;
    }
    let end = Place {
        line: text.split('\n').count(),
        column: 1 + text.len() - text.rfind('\n').map_or(0, |n| n + 1),
        offset: text.len(),
        length: 0,
    };
    match parser.part {
        Some(6) => Ok(parser.test),
        None => end.error("something is missing", "`litmus`"),
        _ => end.error("something is missing", "`ask`"),
    }
}

/// Refuses what no line of the grammar would.
fn readable(text: &str) -> Parsed<()> {
    let bad = |b: u8| !matches!(b, b' '..=b'~' | b'\n');
    let at = match text.bytes().position(bad) {
        Some(at) => at,
        None if text.len() > MAX_TEXT => MAX_TEXT,
        None => return Ok(()),
    };
    let before = &text.as_bytes()[..at];
    let start = before
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |n| n + 1);
    let place = Place {
        line: 1 + before.iter().filter(|b| **b == b'\n').count(),
        column: 1 + at - start,
        offset: at,
        length: text[at..].chars().next().map_or(0, char::len_utf8),
    };
    match at {
        MAX_TEXT => place.error("too long", "at most 64 KiB"),
        _ => place.error("a character that no test has", "printable ASCII"),
    }
}

#[derive(Default)]
pub(super) struct Parser<'a> {
    pub(super) test: Test,
    /// The part of the text that the last line belonged to.
    part: Option<u8>,
    /// Branches of the code being read that have not found their label yet.
    pub(super) jumps: Vec<Jump<'a>>,
}

impl<'a> Parser<'a> {
    fn line(&mut self, mut line: Line<'a>) -> Parsed<()> {
        let mut after = line.clone();
        let first = after.word();
        let known = PARTS.iter().find(|(word, _)| *word == first.text);
        let Some((_, part)) = known else {
            return self.inside(&mut line);
        };
        self.begin(first, *part)?;
        match first.text {
            "litmus" => self.test.name = some(after.remainder(), "the name of the test")?,
            "note" => {
                let note = some(after.remainder(), "a sentence")?;
                self.test.notes.push(note);
            }
            "esop22" | "herd" | "expect" => self.verdicts(first, &mut after)?,
            "place" => self.place(&mut after)?,
            "memory" => self.memory(&mut after)?,
            "table" => self.table(&mut after)?,
            "thread" => self.thread(&mut after)?,
            "ask" => self.ask(&mut after)?,
            _ => self.names(first.one_of(Of::WORDS, Of::ALL)?, &mut after)?,
        }
        after.end()
    }

    /// Begins a line of this part.
    fn begin(&mut self, first: Token<'_>, part: u8) -> Parsed<()> {
        self.code_ends()?;
        let once = matches!(part, 0 | 6);
        let late = self.part.is_some_and(|p| p > part || once && p == part);
        if late || self.part.is_none() != (part == 0) {
            let low = self.part.map_or(0, |p| if p == 0 { 1 } else { p });
            let high = if self.part.is_none() { 0 } else { 6 };
            let words = PARTS.iter().filter(|(_, p)| (low..=high).contains(p));
            let words: Vec<&str> = words.map(|(word, _)| *word).collect();
            return first.unexpected(&match self.part {
                Some(6) => "nothing more".to_string(),
                _ => list(&words),
            });
        }
        self.part = Some(part);
        Ok(())
    }

    /// A line inside of a table or a thread.
    fn inside(&mut self, line: &mut Line<'a>) -> Parsed<()> {
        match self.part {
            Some(4) => self.map(line)?,
            Some(5) => self.thread_line(line)?,
            None => return line.here().unexpected("`litmus`"),
            _ => {
                let words: Vec<&str> = PARTS.iter().skip(1).map(|(word, _)| *word).collect();
                return line.here().unexpected(&list(&words));
            }
        }
        line.end()
    }

    fn verdicts(&mut self, source: Token<'_>, line: &mut Line<'a>) -> Parsed<()> {
        let v = &mut self.test.verdicts;
        let mut keys = match source.text {
            "esop22" => vec![("base", &mut v.esop22), ("ets", &mut v.esop22_ets)],
            "expect" => vec![("base", &mut v.expect), ("ets2", &mut v.expect_ets2)],
            _ => vec![
                ("base", &mut v.herd),
                ("ets2", &mut v.herd_ets2),
                ("ets3", &mut v.herd_ets3),
            ],
        };
        if keys.iter().any(|(_, slot)| slot.is_some()) {
            return source.unexpected("each source once");
        }
        let mut said = 0;
        for (key, slot) in &mut keys {
            if line.key(key) {
                **slot = Some(line.word().one_of(Verdict::WORDS, Verdict::ALL)?);
                said += 1;
            }
        }
        match said {
            0 => line.want_key(keys[0].0),
            _ => Ok(()),
        }
    }

    fn names(&mut self, of: Of, line: &mut Line<'a>) -> Parsed<()> {
        loop {
            let name = line.word();
            self.fresh(name)?;
            let name = name.text.to_string();
            self.test.names.push(Symbol { name, of });
            if line.peek().is_empty() {
                return Ok(());
            }
        }
    }

    /// A name for something new.
    fn fresh(&self, name: Token<'_>) -> Parsed<()> {
        let letter = name.text.starts_with(|c: char| c.is_ascii_lowercase());
        let taken = self.test.names.iter().any(|s| s.name == name.text)
            || self.test.tables.iter().any(|t| t.name == name.text);
        let meant = register(name.text).is_some()
            || ["invalid", "page", "table", "level", "pte2", "pte3"].contains(&name.text);
        if !letter || taken || meant || self.test.names.len().max(self.test.tables.len()) >= MAX {
            return name.unexpected("a new name: a small letter, then letters, digits or `_`");
        }
        Ok(())
    }

    fn place(&mut self, line: &mut Line<'a>) -> Parsed<()> {
        let any: &[Of] = Of::ALL;
        let place = match line.word() {
            w if w.text == "aligned" => {
                let mut names = vec![self.name(line.word(), any)?];
                while !line.peek().is_empty() {
                    names.push(self.name(line.word(), any)?);
                }
                Where::Aligned(names)
            }
            w if w.text == "same" => Where::Same(
                self.name(line.word(), &[Of::Intermediate])?,
                self.name(line.word(), &[Of::Physical])?,
            ),
            w if w.text == "apart" => Where::Apart(
                self.name(line.word(), &[Of::Virtual])?,
                self.name(line.word(), &[Of::Virtual])?,
            ),
            w => return w.unexpected("`aligned`, `same` or `apart`"),
        };
        self.test.places.push(place);
        Ok(())
    }

    fn memory(&mut self, line: &mut Line<'a>) -> Parsed<()> {
        loop {
            let word = line.word();
            let page = self.name(word, &[Of::Physical])?;
            if self.test.memory.iter().any(|(p, _)| *p == page) {
                return word.unexpected("each page once");
            }
            line.want("=")?;
            let value = line.word().number(0, u64::MAX)?;
            self.test.memory.push((page, value));
            if line.peek().is_empty() {
                return Ok(());
            }
        }
    }

    fn table(&mut self, line: &mut Line<'a>) -> Parsed<()> {
        let name = line.word();
        self.fresh(name)?;
        line.want_key("stage")?;
        let stage = line.word().one_of(&["1", "2"], &[Stage::One, Stage::Two])?;
        self.test.tables.push(Table {
            name: name.text.to_string(),
            stage,
            maps: Vec::new(),
        });
        Ok(())
    }

    /// `x level=2 -> table new`
    fn map(&mut self, line: &mut Line<'a>) -> Parsed<()> {
        let input = line.word();
        let id = TableId(self.test.tables.len().saturating_sub(1) as u8);
        let stage = self.test.table(id).map_or(Stage::One, |t| t.stage);
        let name = self.name(input, inputs(stage))?;
        let level = match line.key("level") {
            true => line.word().number(2, 3)? as u8,
            false => 3,
        };
        line.want("->")?;
        let what = line.here();
        let pte = Pte {
            level,
            input: name,
            table: id,
        };
        let desc = match self.value(line)? {
            Value::Desc(Desc::Copy(_)) => None,
            Value::Desc(desc) => Some(desc),
            _ => None,
        };
        let Some(desc) = desc else {
            return what.unexpected("`invalid`, `page` or `table`");
        };
        self.fits(what, pte, desc)?;
        let maps = self.test.tables.last_mut().map(|t| &mut t.maps);
        let Some(maps) = maps.filter(|m| !m.iter().any(|m| (m.input, m.level) == (name, level)))
        else {
            return input.unexpected("each descriptor once");
        };
        maps.push(Map {
            input: name,
            level,
            desc,
        });
        Ok(())
    }

    /// `ask 1:r0 = 1 & *pa1 != 2`
    fn ask(&mut self, line: &mut Line<'a>) -> Parsed<()> {
        if line.peek() == "true" {
            line.word();
            return Ok(());
        }
        loop {
            let at = if line.take("*") {
                Final::Mem(self.name(line.word(), &[Of::Physical])?)
            } else {
                let word = line.word();
                let threads = 0..self.test.threads.len() as u8;
                let Some(thread) = threads.into_iter().find(|t| t.to_string() == word.text) else {
                    return word.unexpected("a thread of this test, `*` or `true`");
                };
                line.want(":")?;
                let reg = reg(line.word())?;
                Final::Reg { thread, reg }
            };
            let equal = !line.take("!=");
            if equal {
                line.want("=")?;
            }
            let what = line.here();
            let value = match self.value(line)? {
                Value::Reg(_) => return what.unexpected("a number, a descriptor or a page"),
                value => value,
            };
            self.test.ask.push(Clause { at, equal, value });
            if !line.take("&") {
                return Ok(());
            }
        }
    }
}

/// The pages that a table of this stage translates.
pub(super) fn inputs(stage: Stage) -> &'static [Of] {
    match stage {
        Stage::One => &[Of::Virtual],
        Stage::Two => &[Of::Intermediate, Of::Virtual],
    }
}

fn some(token: Token<'_>, what: &str) -> Parsed<String> {
    match token.text {
        "" => token.unexpected(what),
        text => Ok(text.to_string()),
    }
}

/// The register of that name.
pub(super) fn register(word: &str) -> Option<Reg> {
    let digits = word.strip_prefix('r')?;
    let plain = digits.len() <= 2 && (digits == "0" || !digits.starts_with(['0', '+']));
    let n: Reg = digits.parse().ok()?;
    (plain && usize::from(n) < REGS).then_some(n)
}

pub(super) fn reg(word: Token<'_>) -> Parsed<Reg> {
    match register(word.text) {
        Some(reg) => Ok(reg),
        None => word.unexpected("a register, `r0` to `r30`"),
    }
}
