// SPDX-License-Identifier: MIT OR Apache-2.0
//! From text to scenario.
//!
//! The strict and the lenient parse are one grammar under two policies: where the
//! strict one gives up, the lenient one skips the item or takes the nearest value.

use super::error::{Fault, ParseError, What};
use super::lex::{Lexer, Policy, Token, decimal};
use super::words;
use super::{Choice, Expect, MAX_NAME, MAX_SLOTS, MAX_TEXT, MAX_VARIANTS, Scenario};
use shootdown_machine::{Switches, limits};

/// Reads a scenario as people write it.
///
/// # Errors
///
/// The first place where the text is no scenario, what is wrong there, and what
/// would be right.
pub fn parse(text: &[u8]) -> Result<Scenario, ParseError> {
    if let Some(fault) = unreadable(text) {
        return Err(fault.error(text));
    }
    let mut parser = Parser::new(text, Policy::Strict);
    match parser.scenario() {
        Some(()) => {
            parser.out.programs.truncate(parser.out.machine.cpus.into());
            Ok(parser.out)
        }
        None => {
            let unknown = Fault {
                at: 0,
                len: 0,
                what: What::Want("a scenario"),
            };
            Err(parser.lex.fault().unwrap_or(unknown).error(text))
        }
    }
}

impl Scenario {
    /// What to say of the `until` slots of a scenario's text, counted among themselves, that a run
    /// shows to be waiting for what never comes.
    pub fn never_met(text: &[u8], nth: &[usize]) -> Vec<ParseError> {
        let mut parser = Parser::new(text, Policy::Strict);
        // What is no scenario has no run either.
        let _ = parser.scenario();
        let names = nth.iter().filter_map(|nth| parser.untils.get(*nth));
        let fault = |name: &Token<'_>| Fault {
            at: name.at,
            len: name.text.len(),
            what: What::Unmet,
        };
        names.map(|name| fault(name).error(text)).collect()
    }
}

/// Reads what can be read of a text that begins like a scenario, and makes the
/// rest fit; `None` if it does not begin like one.
///
/// Switches for behaviour that the architecture does not promise are turned off: a
/// repaired scenario is fuzz input, and its findings must not depend on them.
pub fn parse_lenient(text: &[u8]) -> Option<Scenario> {
    let text = &text[..text.len().min(MAX_TEXT)];
    let mut parser = Parser::new(text, Policy::Repair);
    parser.scenario()?;
    let mut scenario = parser.out;
    scenario.machine.switches = Switches::default();
    scenario.repair();
    Some(scenario)
}

/// What no word of the grammar would find: too much text, or none at all.
fn unreadable(text: &[u8]) -> Option<Fault> {
    if text.len() > MAX_TEXT {
        return Some(Fault {
            at: MAX_TEXT,
            len: text.len() - MAX_TEXT,
            what: What::TooLong,
        });
    }
    let readable = |b: u8| (b' '..0x7f).contains(&b) | matches!(b, b'\t' | b'\n' | b'\r');
    // The fold has no early exit, so that it is done many bytes at a time.
    if text.iter().fold(true, |all, b| all & readable(*b)) {
        return None;
    }
    let at = text.iter().position(|b| !readable(*b))?;
    Some(Fault {
        at,
        len: 1,
        what: What::Binary,
    })
}

/// One parse.
pub(super) struct Parser<'a> {
    pub(super) lex: Lexer<'a>,
    pub(super) out: Scenario,
    /// Keys of the machine line seen so far, a bit each.
    pub(super) keys: u64,
    /// The names that `until` slots give, in order.
    pub(super) untils: Vec<Token<'a>>,
    /// Where the number of tags stands.
    pub(super) tags: Option<Token<'a>>,
    /// Whether some line relied on the machine.
    pub(super) machine_used: bool,
}

impl<'a> Parser<'a> {
    fn new(text: &'a [u8], policy: Policy) -> Self {
        // Lines may come in any order for a lenient parse, so a program is kept for
        // every CPU there might be.
        let most = usize::from(*limits::CPUS.end());
        let out = Scenario {
            programs: vec![Vec::new(); most],
            ..Scenario::default()
        };
        Parser {
            lex: Lexer::new(text, policy),
            out,
            keys: 0,
            untils: Vec::new(),
            tags: None,
            machine_used: false,
        }
    }

    fn scenario(&mut self) -> Option<()> {
        self.header()?;
        self.lex.skip_line();
        while self.lex.next_line() {
            let line = self.line();
            let line = line.and_then(|()| self.line_end());
            if line.is_none() && !self.lex.repairs() {
                return None;
            }
            self.lex.skip_line();
        }
        self.machine_done()
    }

    fn header(&mut self) -> Option<()> {
        const FIRST: What = What::Want("`scenario 1` as the first line");
        if !self.lex.next_line() {
            let here = self.lex.here();
            return self.lex.fail(here, FIRST);
        }
        let word = self.lex.found();
        if word.text != b"scenario" {
            if self.lex.repairs() && word.text.starts_with(b"scenario") {
                return Some(());
            }
            return self.lex.fail(word, FIRST);
        }
        if self.lex.repairs() {
            return Some(());
        }
        let version = self.lex.word();
        match version.text {
            b"1" => self.line_end(),
            b"" => self.lex.fail(version, What::Want("`1`, the version")),
            _ => self.lex.fail(version, What::Version),
        }
    }

    fn line_end(&mut self) -> Option<()> {
        if !self.lex.at_line_end() {
            let junk = self.lex.found();
            return self.lex.fail(junk, What::Want("the end of the line"));
        }
        self.lex.skip_line();
        if self.lex.at_text_end() {
            let here = self.lex.here();
            return self.lex.overlook(here, What::Unfinished);
        }
        Some(())
    }

    fn line(&mut self) -> Option<()> {
        let word = self.lex.found();
        match word.text {
            b"schedule" => {
                self.machine_done()?;
                self.colon()?;
                // A slot takes some eight bytes of text.
                self.out
                    .schedule
                    .reserve((self.lex.left() / 8 + 1).min(MAX_SLOTS));
                self.list(b',', "`,` or the end of the line", Self::slot)
            }
            b"machine" => self.machine_line(word),
            b"variants" => self.variants(),
            b"expect" => self.expect(word),
            b"scenario" => self.lex.fail(word, What::Twice("the line")),
            [b'c', b'p', b'u', b'0'..=b'9', ..] => {
                self.machine_done()?;
                let cpu = self.cpu_of(word)?;
                self.colon()?;
                self.program(cpu)
            }
            _ => self.lex.fail(word, What::Unknown("line", words::lines)),
        }
    }

    pub(super) fn colon(&mut self) -> Option<()> {
        if self.lex.take(b':') {
            return Some(());
        }
        let found = self.lex.found();
        self.lex.fail(found, What::Want("`:`"))
    }

    /// Items with a delimiter between them, to the end of the line.
    pub(super) fn list(
        &mut self,
        delimiter: u8,
        want: &'static str,
        mut item: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        loop {
            if item(self).is_some() {
                if self.lex.take(delimiter) {
                    continue;
                }
                if self.lex.at_line_end() {
                    return Some(());
                }
                let junk = self.lex.found();
                self.lex.overlook(junk, What::Want(want))?;
            } else if !self.lex.repairs() {
                return None;
            }
            if !self.lex.skip_past(delimiter) {
                return Some(());
            }
        }
    }

    /// A `cpuN`, as the number.
    pub(super) fn cpu_of(&mut self, word: Token<'a>) -> Option<u8> {
        let number = word.text.strip_prefix(b"cpu").and_then(decimal);
        let Some(cpu) = number else {
            return self.lex.fail(word, What::Want("a CPU such as cpu0"));
        };
        let cpus = self.out.machine.cpus;
        if cpu >= u64::from(cpus) {
            self.lex.overlook(word, What::Cpu(cpus))?;
        }
        // How many there are may yet change in a lenient parse.
        Some((cpu % u64::from(*limits::CPUS.end())) as u8)
    }

    fn variants(&mut self) -> Option<()> {
        loop {
            let name = self.lex.word();
            let choice = self.choice(name);
            if self.out.variants.len() == MAX_VARIANTS {
                return self
                    .lex
                    .overlook(name, What::TooMany("variants", MAX_VARIANTS));
            }
            match choice {
                Some(choice) => self.out.variants.push(choice),
                None if !self.lex.repairs() => return None,
                // A delimiter that has no place here ends the line.
                None if name.text.is_empty() => return None,
                None => {}
            }
            if self.lex.at_line_end() {
                return Some(());
            }
        }
    }

    /// A variant, or a variant and its defect.
    fn choice(&mut self, word: Token<'a>) -> Option<Choice> {
        let slash = word.text.iter().position(|b| *b == b'/');
        let variant = word.first(slash.unwrap_or(word.text.len()));
        if variant.text.is_empty() {
            return self.lex.fail(variant, What::Want("the name of a variant"));
        }
        if !words::is_variant(variant.text) {
            return self
                .lex
                .fail(variant, What::Name("a-z, 0-9 and `-`, for a variant"));
        }
        let defect = match slash {
            None => None,
            Some(slash) => Some(self.name(word.skip(slash + 1))?),
        };
        Some(Choice {
            variant: owned(variant.text),
            defect,
        })
    }

    fn name(&mut self, word: Token<'a>) -> Option<String> {
        if word.text.is_empty() {
            return self.lex.fail(word, What::Want("a name"));
        }
        if !words::is_name(word.text) {
            return self.lex.fail(word, What::Name("A-Z, a-z, 0-9 and `-`"));
        }
        Some(owned(word.text))
    }

    fn expect(&mut self, line: Token<'a>) -> Option<()> {
        if self.out.expect.is_some() {
            return self.lex.fail(line, What::Twice("the line"));
        }
        self.colon()?;
        let verdict = self.lex.word();
        let expect = match verdict.text {
            b"pass" => Expect::Pass,
            b"breach" => {
                let rule = self.lex.word();
                let rule = self.name(rule)?;
                let preposition = self.lex.found();
                if preposition.text != b"in" {
                    self.lex
                        .overlook(preposition, What::Want("`in` and a variant"))?;
                }
                let by = self.lex.word();
                Expect::Breach {
                    rule,
                    by: self.choice(by)?,
                }
            }
            _ => {
                return self
                    .lex
                    .fail(verdict, What::Unknown("verdict", words::verdicts));
            }
        };
        self.out.expect = Some(expect);
        Some(())
    }
}

/// A name that is known to be short ASCII.
fn owned(name: &[u8]) -> String {
    debug_assert!(name.is_ascii() && name.len() <= MAX_NAME);
    String::from_utf8_lossy(name).into_owned()
}
