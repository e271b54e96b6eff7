// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is wrong with a text, and the words for it.
//!
//! The parser notes a [`Fault`], which costs nothing; only a strict parse that
//! fails turns it into a [`ParseError`].

use super::{MAX_NAME, MAX_TEXT};
use core::fmt;
use shootdown_machine::{PAGE, PAGES};

/// Why a text is no scenario, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseError {
    /// The line, 1 first.
    pub line: usize,
    /// The column in bytes, 1 first; margins and quote marks count.
    pub column: usize,
    /// Bytes before the place.
    pub offset: usize,
    /// Bytes that are wrong; 0 where something is missing.
    pub length: usize,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub expected: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "line {}, column {}: {}; expected {}",
            self.line, self.column, self.message, self.expected
        )
    }
}

impl std::error::Error for ParseError {}

/// A place, and what is wrong with it.
#[derive(Clone, Copy)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) len: usize,
    pub(super) what: What,
}

/// What is wrong.
#[derive(Clone, Copy)]
pub(super) enum What {
    /// A word of this sort, but none of these.
    Unknown(&'static str, fn() -> Vec<&'static str>),
    /// Not this.
    Want(&'static str),
    /// A number beyond these ends.
    Range(u64, u64),
    /// A CPU that this many do not include.
    Cpu(u8),
    /// No letter of this many spaces.
    Space(u8),
    /// No page address.
    Address,
    /// Given twice.
    Twice(&'static str),
    /// More than so many of these.
    TooMany(&'static str, usize),
    /// Fewer tags than `cpus + 2`, which is this.
    Tags(u8),
    /// No name of this alphabet.
    Name(&'static str),
    /// A name that no step of the CPU bears, when the scenario is run.
    Unmet,
    /// A machine line after what depends on it.
    Late,
    /// A version that is not ours.
    Version,
    /// More than [`MAX_TEXT`] bytes.
    TooLong,
    /// A byte that no text has.
    Binary,
    /// No newline at the end.
    Unfinished,
}

impl Fault {
    /// The error for the text that this was found in.
    pub(super) fn error(self, text: &[u8]) -> ParseError {
        let before = &text[..self.at];
        let start = before
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |n| n + 1);
        let (message, expected) = self.words(text);
        ParseError {
            line: before.iter().filter(|b| **b == b'\n').count() + 1,
            column: self.at - start + 1,
            offset: self.at,
            length: self.len,
            message,
            expected,
        }
    }

    fn words(self, text: &[u8]) -> (String, String) {
        let word = &text[self.at..self.at + self.len];
        let quoted = quote(word);
        match self.what {
            What::Unknown(_, list) if word.is_empty() => {
                (self.unexpected(text), one_of(&list(), word))
            }
            What::Unknown(noun, list) => {
                (format!("unknown {noun} {quoted}"), one_of(&list(), word))
            }
            What::Want(what) => (self.unexpected(text), what.to_string()),
            What::Range(low, high) => (
                format!("{quoted} is out of range"),
                format!("a number from {low} to {high}"),
            ),
            What::Cpu(1) => (format!("there is no {quoted}"), "cpu0".to_string()),
            What::Cpu(cpus) => (
                format!("there is no {quoted}"),
                format!("cpu0 to cpu{}", cpus - 1),
            ),
            What::Space(spaces) => (
                self.unexpected(text),
                format!("a space, A to {}", (b'A' + spaces - 1) as char),
            ),
            What::Address => (
                format!("{quoted} is no page address"),
                format!("a multiple of {PAGE:#x} below {:#x}", PAGES as u64 * PAGE),
            ),
            What::Twice(what) => (
                format!("{what} {quoted} is given twice"),
                "it once".to_string(),
            ),
            What::TooMany(what, most) => (format!("too many {what}"), format!("at most {most}")),
            What::Tags(least) => (
                format!("{quoted} tags are too few for this many CPUs"),
                format!("at least {least}, the CPUs and two"),
            ),
            What::Name(alphabet) => (
                format!("{quoted} is no name"),
                format!("1 to {MAX_NAME} of {alphabet}"),
            ),
            What::Unmet => (
                format!("{quoted} is never met"),
                "a step that the CPU comes to: a variable, a register or a word such as `tlbi`"
                    .to_string(),
            ),
            What::Late => (
                "the machine comes too late".to_string(),
                "it before the first cpu or schedule line".to_string(),
            ),
            What::Version => (
                format!("unsupported version {quoted}"),
                "version 1".to_string(),
            ),
            What::TooLong => (
                format!("the text has {} bytes", text.len()),
                format!("at most {MAX_TEXT}"),
            ),
            What::Binary => (
                format!("byte {:#04x} is no ASCII text", text[self.at]),
                "printable ASCII, blanks and newlines".to_string(),
            ),
            What::Unfinished => (
                "the text ends in mid-line".to_string(),
                "a newline after the last line".to_string(),
            ),
        }
    }

    /// Says what stands where something else should.
    fn unexpected(self, text: &[u8]) -> String {
        if self.len > 0 {
            return format!("unexpected {}", quote(&text[self.at..self.at + self.len]));
        }
        match text.get(self.at) {
            None => "the text ends here".to_string(),
            Some(b'\n' | b'\r' | b' ' | b'\t' | b'#') => "the line ends here".to_string(),
            Some(&b) => format!("unexpected {}", quote(&[b])),
        }
    }
}

/// The words, short enough for a message.
fn quote(word: &[u8]) -> String {
    const SHOWN: usize = 40;
    let shown = String::from_utf8_lossy(&word[..word.len().min(SHOWN)]);
    let dots = if word.len() > SHOWN { "..." } else { "" };
    format!("\"{shown}{dots}\"")
}

/// The list, and the one of it that was probably meant.
fn one_of(list: &[&str], word: &[u8]) -> String {
    let mut out = match list {
        [only] => only.to_string(),
        _ => format!("one of {}", list.join(", ")),
    };
    let near = list
        .iter()
        .map(|l| (distance(l.as_bytes(), word), l))
        .min()
        .filter(|(d, l)| *d <= 2 && *d * 2 < l.len().max(word.len()));
    if let Some((_, l)) = near {
        out.push_str(&format!(" (did you mean `{l}`?)"));
    }
    out
}

/// Edits from one word to the other: a letter more, less, other, or two swapped.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let b = &b[..b.len().min(2 * MAX_NAME)];
    let width = b.len() + 1;
    let mut d = vec![0; (a.len() + 1) * width];
    for i in 0..=a.len() {
        for j in 0..width {
            let at = i * width + j;
            if i == 0 || j == 0 {
                d[at] = i + j;
                continue;
            }
            let other = usize::from(a[i - 1] != b[j - 1]);
            d[at] = (d[at - width] + 1)
                .min(d[at - 1] + 1)
                .min(d[at - width - 1] + other);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                d[at] = d[at].min(d[at - 2 * width - 2] + 1);
            }
        }
    }
    d[a.len() * width + b.len()]
}
