// SPDX-License-Identifier: MIT OR Apache-2.0
//! Words and numbers of one line of a test.

use core::fmt;

/// Why a text is no litmus test, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseError {
    /// The place.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub expected: String,
}

/// Some bytes of a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Place {
    /// The line, 1 first.
    pub line: usize,
    /// The column in bytes, 1 first.
    pub column: usize,
    /// Bytes before the place.
    pub offset: usize,
    /// Its length in bytes; 0 where something is missing.
    pub length: usize,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "line {}, column {}: {}; expected {}",
            self.place.line, self.place.column, self.message, self.expected
        )
    }
}

impl std::error::Error for ParseError {}

/// What a part of the parser gives.
pub(super) type Parsed<T> = Result<T, ParseError>;

impl Place {
    /// Something wrong here.
    pub(super) fn error<T>(self, message: impl Into<String>, expected: &str) -> Parsed<T> {
        Err(ParseError {
            place: self,
            message: message.into(),
            expected: expected.into(),
        })
    }
}

/// A word, or nothing, of a line.
#[derive(Clone, Copy)]
pub(super) struct Token<'a> {
    pub(super) text: &'a str,
    pub(super) place: Place,
}

impl Token<'_> {
    /// This is not what should stand here.
    pub(super) fn unexpected<T>(self, expected: &str) -> Parsed<T> {
        let message = match self.text {
            "" => "something is missing".to_string(),
            text => format!("unexpected `{text}`"),
        };
        self.place.error(message, expected)
    }

    /// Its value as a number within these ends.
    pub(super) fn number(self, low: u64, high: u64) -> Parsed<u64> {
        let value = match self.text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => self.text.parse(),
        };
        match value {
            Ok(n) if (low..=high).contains(&n) => Ok(n),
            _ if high == u64::MAX => self.unexpected("a number"),
            _ => self.unexpected(&format!("a number from {low} to {high}")),
        }
    }

    /// The value that it is the word of.
    pub(super) fn one_of<T: Copy>(self, words: &[&str], values: &[T]) -> Parsed<T> {
        let found = words.iter().zip(values).find(|(w, _)| **w == self.text);
        match found {
            Some((_, value)) => Ok(*value),
            None => self.unexpected(&list(words)),
        }
    }
}

/// "a, b or c".
pub(super) fn list(words: &[&str]) -> String {
    match words {
        [] => "nothing".to_string(),
        [one] => format!("`{one}`"),
        [most @ .., last] => {
            let most: Vec<String> = most.iter().map(|w| format!("`{w}`")).collect();
            format!("{} or `{last}`", most.join(", "))
        }
    }
}

/// One line, and how far it has been read.
#[derive(Clone)]
pub(super) struct Line<'a> {
    text: &'a str,
    number: usize,
    offset: usize,
    pos: usize,
}

impl<'a> Line<'a> {
    /// The lines of a text that say something.
    pub(super) fn all(text: &'a str) -> impl Iterator<Item = Line<'a>> {
        let mut offset = 0;
        let lines = text.split('\n').enumerate().map(move |(i, all)| {
            let line = Line {
                text: all.split('#').next().unwrap_or("").trim_end(),
                number: i + 1,
                offset,
                pos: 0,
            };
            offset += all.len() + 1;
            line
        });
        lines.filter(|line| !line.text.is_empty())
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.pos..).unwrap_or("")
    }

    fn blanks(&mut self) {
        let rest = self.rest();
        self.pos += rest.len() - rest.trim_start().len();
    }

    fn token(&mut self, length: usize) -> Token<'a> {
        let token = Token {
            text: &self.rest()[..length],
            place: Place {
                line: self.number,
                column: self.pos + 1,
                offset: self.offset + self.pos,
                length,
            },
        };
        self.pos += length;
        token
    }

    /// The next word: letters, digits and `_`. Empty where there is none.
    pub(super) fn word(&mut self) -> Token<'a> {
        self.blanks();
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        self.token(end.unwrap_or(rest.len()))
    }

    /// The word that comes next, without taking it.
    pub(super) fn peek(&self) -> &'a str {
        self.clone().word().text
    }

    /// Takes these characters if they come next.
    pub(super) fn take(&mut self, mark: &str) -> bool {
        self.blanks();
        let found = self.rest().starts_with(mark);
        self.pos += if found { mark.len() } else { 0 };
        found
    }

    /// Takes these characters.
    pub(super) fn want(&mut self, mark: &str) -> Parsed<()> {
        match self.take(mark) {
            true => Ok(()),
            false => self.here().unexpected(&format!("`{mark}`")),
        }
    }

    /// Takes `key=` if it comes next.
    pub(super) fn key(&mut self, key: &str) -> bool {
        let mut ahead = self.clone();
        let found = ahead.word().text == key && ahead.take("=");
        if found {
            *self = ahead;
        }
        found
    }

    /// Takes `key=`.
    pub(super) fn want_key(&mut self, key: &str) -> Parsed<()> {
        match self.key(key) {
            true => Ok(()),
            false => self.here().unexpected(&format!("`{key}=`")),
        }
    }

    /// What stands here, without taking it: a word, a character or nothing.
    pub(super) fn here(&self) -> Token<'a> {
        let mut ahead = self.clone();
        let word = ahead.word();
        if !word.text.is_empty() || ahead.rest().is_empty() {
            return word;
        }
        ahead.token(1) // the text is ASCII
    }

    /// All the rest, without margins.
    pub(super) fn remainder(&mut self) -> Token<'a> {
        self.blanks();
        self.token(self.rest().len())
    }

    /// Nothing may be left.
    pub(super) fn end(&mut self) -> Parsed<()> {
        self.blanks();
        match self.rest().is_empty() {
            true => Ok(()),
            false => self.here().unexpected("the end of the line"),
        }
    }
}
