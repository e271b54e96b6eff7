// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lines of at most [`COLUMNS`] characters, so that a report can be pasted into a mail.

use crate::scenario::COLUMNS;

/// Columns that a step number and the blanks around it take.
pub const GUTTER: usize = 12;

/// Breaks a text into lines of at most `width` characters, at blanks; a word that is
/// longer is cut.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut word = word;
        while let Some(line) = lines.last_mut() {
            let blank = usize::from(!line.is_empty());
            if line.len() + blank + word.len() <= width {
                if blank == 1 {
                    line.push(' ');
                }
                line.push_str(word);
                break;
            }
            if word.len() <= width {
                lines.push(word.to_owned());
                break;
            }
            if !line.is_empty() {
                lines.push(String::new());
                continue;
            }
            let (head, tail) = word.split_at(width);
            line.push_str(head);
            lines.push(String::new());
            word = tail;
        }
    }
    lines
}

/// A paragraph, its first line after `first`, the others after as many blanks.
pub fn hang(out: &mut String, first: &str, text: &str) {
    let width = COLUMNS - first.len();
    for (i, line) in wrap(text, width).iter().enumerate() {
        let lead = if i == 0 {
            first.to_owned()
        } else {
            " ".repeat(first.len())
        };
        out.push_str(format!("{lead}{line}").trim_end());
        out.push('\n');
    }
}

/// A paragraph with an indent.
pub fn paragraph(out: &mut String, indent: usize, text: &str) {
    hang(out, &" ".repeat(indent), text);
}

/// An item of a history: the step, and what happened.
pub fn item(out: &mut String, step: u32, text: &str) {
    hang(out, &format!("  step {step:>4} "), text);
}

/// A heading.
pub fn heading(out: &mut String, text: &str) {
    if !out.is_empty() {
        out.push('\n');
    }
    for line in wrap(text, COLUMNS) {
        out.push_str(&line);
        out.push('\n');
    }
    out.push('\n');
}

/// Only ASCII: anything else, which no name of ours has, becomes a question mark.
pub fn ascii(text: &str) -> String {
    let plain = |c: char| {
        if c == '\n' || (' '..='~').contains(&c) {
            c
        } else {
            '?'
        }
    };
    text.chars().map(plain).collect()
}

/// "a", "a and b", "a, b and c".
pub fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// Takes the folders and the columns out of the source sites that a sentence quotes.
pub fn sites(sentence: &str) -> String {
    let short = |word: &str| -> String {
        let Some((path, rest)) = word.split_once(".rs:") else {
            return word.to_owned();
        };
        let file = path.rsplit(['/', '\\']).next().unwrap_or(path);
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (line, mut after) = rest.split_at(digits);
        if let Some(column) = after.strip_prefix(':') {
            let left = column.trim_start_matches(|c: char| c.is_ascii_digit());
            after = if left.len() < column.len() {
                left
            } else {
                after
            };
        }
        format!("{file}.rs:{line}{after}")
    };
    sentence.split(' ').map(short).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_word_is_cut_and_a_short_one_is_not() {
        assert_eq!(wrap("ab cdefgh ij", 4), ["ab", "cdef", "gh", "ij"]);
        assert_eq!(wrap("ab cd", 5), ["ab cd"]);
    }

    #[test]
    fn sites_lose_what_differs_between_checkouts() {
        let text = "A 0x1000 changed at /home/x/variants/src/pgtable.rs:243:18: too late";
        assert_eq!(sites(text), "A 0x1000 changed at pgtable.rs:243: too late");
    }
}
