// SPDX-License-Identifier: MIT OR Apache-2.0
//! Words and numbers of a scenario text.
//!
//! One reader serves both parsers. `None` means that a fault was noted; whether
//! that ends the parse or only the current item is up to the [`Policy`].

use super::error::{Fault, What};

/// What to do about a fault.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    /// Give up and report it.
    Strict,
    /// Skip the item, or take the nearest value.
    Repair,
}

/// A run of bytes between delimiters; empty where there is none.
#[derive(Clone, Copy)]
pub(super) struct Token<'a> {
    pub(super) at: usize,
    pub(super) text: &'a [u8],
}

impl<'a> Token<'a> {
    /// All but the first `n` bytes.
    pub(super) fn skip(self, n: usize) -> Token<'a> {
        let n = n.min(self.text.len());
        Token {
            at: self.at + n,
            text: &self.text[n..],
        }
    }

    /// Only the first `n` bytes.
    pub(super) fn first(self, n: usize) -> Token<'a> {
        Token {
            at: self.at,
            text: &self.text[..n.min(self.text.len())],
        }
    }
}

/// Which bytes belong to words.
static WORD: [bool; 256] = {
    let mut table = [true; 256];
    let delimiters = b" \t\r\n#;,:=";
    let mut i = 0;
    while i < delimiters.len() {
        table[delimiters[i] as usize] = false;
        i += 1;
    }
    table
};

/// A place in a text, and the last fault seen.
pub(super) struct Lexer<'a> {
    text: &'a [u8],
    pos: usize,
    policy: Policy,
    fault: Option<Fault>,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a [u8], policy: Policy) -> Self {
        Lexer {
            text,
            pos: 0,
            policy,
            fault: None,
        }
    }

    /// Whether faults are to be repaired.
    pub(super) fn repairs(&self) -> bool {
        self.policy == Policy::Repair
    }

    /// The fault that ended a strict parse.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Bytes left.
    pub(super) fn left(&self) -> usize {
        self.text.len() - self.pos
    }

    /// Notes a fault.
    #[cold]
    pub(super) fn fail<T>(&mut self, token: Token<'_>, what: What) -> Option<T> {
        self.fault = Some(Fault {
            at: token.at,
            len: token.text.len(),
            what,
        });
        None
    }

    /// Notes a fault that may be overlooked.
    #[cold]
    pub(super) fn overlook(&mut self, token: Token<'_>, what: What) -> Option<()> {
        match self.policy {
            Policy::Strict => self.fail(token, what),
            Policy::Repair => Some(()),
        }
    }

    /// The byte here; a newline at the end of the text.
    fn peek(&self) -> u8 {
        self.text.get(self.pos).copied().unwrap_or(b'\n')
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\r') {
            self.pos += 1;
        }
    }

    /// The place here, as an empty token.
    pub(super) fn here(&self) -> Token<'a> {
        Token {
            at: self.pos,
            text: &[],
        }
    }

    /// The next word of this line.
    pub(super) fn word(&mut self) -> Token<'a> {
        self.blanks();
        let at = self.pos;
        let rest = &self.text[at..];
        let len = rest
            .iter()
            .position(|b| !WORD[*b as usize])
            .unwrap_or(rest.len());
        self.pos = at + len;
        if len == 0 && matches!(self.peek(), b'\n' | b'#') {
            // Something missing is missing right after the last word.
            return Token {
                at: self.trimmed(at),
                text: &[],
            };
        }
        Token {
            at,
            text: &rest[..len],
        }
    }

    fn trimmed(&self, mut at: usize) -> usize {
        while at > 0 && matches!(self.text[at - 1], b' ' | b'\t' | b'\r') {
            at -= 1;
        }
        at
    }

    /// Takes this delimiter if it is next.
    pub(super) fn take(&mut self, delimiter: u8) -> bool {
        self.blanks();
        let found = self.peek() == delimiter && self.pos < self.text.len();
        self.pos += usize::from(found);
        found
    }

    /// The `#2` that counts, as opposed to the `#` that begins a comment.
    pub(super) fn count(&mut self) -> Option<Token<'a>> {
        self.blanks();
        let digit = self.text.get(self.pos + 1).is_some_and(u8::is_ascii_digit);
        if self.peek() != b'#' || !digit {
            return None;
        }
        self.pos += 1;
        Some(self.word())
    }

    /// Moves to the first word of the next line that has one; `false` at the end.
    pub(super) fn next_line(&mut self) -> bool {
        while let Some(b) = self.text.get(self.pos) {
            match b {
                b' ' | b'\t' | b'\r' | b'\n' | b'>' => self.pos += 1,
                b'#' => self.skip_line(),
                _ => return true,
            }
        }
        false
    }

    /// Moves to the end of this line.
    pub(super) fn skip_line(&mut self) {
        let rest = &self.text[self.pos..];
        self.pos += rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
    }

    /// Whether nothing but a comment is left of this line.
    pub(super) fn at_line_end(&mut self) -> bool {
        self.blanks();
        matches!(self.peek(), b'\n' | b'#')
    }

    /// Whether nothing at all is left, not even the newline.
    pub(super) fn at_text_end(&self) -> bool {
        self.pos >= self.text.len()
    }

    /// Moves behind the next such delimiter of this line; `false` if there is none.
    pub(super) fn skip_past(&mut self, delimiter: u8) -> bool {
        while let Some(&b) = self.text.get(self.pos) {
            let counts = self.text.get(self.pos + 1).is_some_and(u8::is_ascii_digit);
            if b == b'\n' || (b == b'#' && !counts) {
                return false;
            }
            self.pos += 1;
            if b == delimiter {
                return true;
            }
        }
        false
    }

    /// Takes what stands here, be it a word or a delimiter.
    pub(super) fn found(&mut self) -> Token<'a> {
        let word = self.word();
        if !word.text.is_empty() || self.at_line_end() {
            return word;
        }
        let at = self.pos;
        self.pos += 1;
        Token {
            at,
            text: &self.text[at..self.pos],
        }
    }

    /// The value of a decimal number within these ends.
    pub(super) fn number(&mut self, token: Token<'_>, low: u64, high: u64) -> Option<u64> {
        let Some(value) = decimal(token.text) else {
            return self.fail(token, What::Want("a number"));
        };
        if value < low || value > high {
            self.overlook(token, What::Range(low, high))?;
        }
        Some(value.clamp(low, high))
    }
}

/// A decimal number; saturates.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for b in digits {
        let d = b.wrapping_sub(b'0');
        if d > 9 {
            return None;
        }
        value = value.saturating_mul(10).saturating_add(d.into());
    }
    Some(value)
}

/// An address: hexadecimal after `0x`, else decimal; saturates.
pub(super) fn address(text: &[u8]) -> Option<u64> {
    let Some(digits) = text.strip_prefix(b"0x") else {
        return decimal(text);
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for b in digits {
        let d = match b {
            b'0'..=b'9' => b - b'0',
            b'a'..=b'f' => b - b'a' + 10,
            b'A'..=b'F' => b - b'A' + 10,
            _ => return None,
        };
        value = value.saturating_mul(16).saturating_add(d.into());
    }
    Some(value)
}
