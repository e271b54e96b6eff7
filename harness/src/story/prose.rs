// SPDX-License-Identifier: MIT OR Apache-2.0
//! The text report as blocks: paragraphs whose lines a page breaks anew, items that have a
//! step, and tables that stay as they are.

/// A block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Block {
    /// A heading.
    Heading(String),
    /// A paragraph.
    Paragraph(String),
    /// What happened at a step.
    Item(u32, String),
    /// Lines that belong under each other.
    Table(String),
}

/// Blanks before a paragraph.
const INDENT: &str = "  ";

/// Parts a text: what the writers in [`report::text`](crate::report::text) have put there.
pub fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut apart = true;
    for line in text.lines() {
        if line.is_empty() {
            apart = true;
            continue;
        }
        let new = core::mem::take(&mut apart);
        let body = line.trim_start();
        match (item(line), blocks.last_mut()) {
            // A sentence may have a step at the beginning of a line.
            (_, Some(Block::Paragraph(text))) if !new && prose(line) => join(text, body),
            (Some((step, text)), _) => blocks.push(Block::Item(step, text.to_owned())),
            (None, Some(Block::Heading(text))) if !new && !line.starts_with(' ') => {
                join(text, body);
            }
            (None, Some(Block::Item(_, text))) if !new && line.starts_with(&INDENT.repeat(3)) => {
                join(text, body);
            }
            (None, Some(Block::Table(text))) if !new => {
                text.push('\n');
                text.push_str(line);
            }
            // A diff begins at the margin, as a heading does.
            _ if line.starts_with("--- ") => blocks.push(Block::Table(line.to_owned())),
            _ if !line.starts_with(' ') => blocks.push(Block::Heading(body.to_owned())),
            _ if prose(line) => blocks.push(Block::Paragraph(body.to_owned())),
            _ => blocks.push(Block::Table(line.to_owned())),
        }
    }
    blocks
}

fn join(text: &mut String, more: &str) {
    text.push(' ');
    text.push_str(more);
}

/// An indent, and then words: columns have more than one blank between them.
fn prose(line: &str) -> bool {
    let body = line.strip_prefix(INDENT).unwrap_or(line);
    !body.starts_with(' ') && !body.contains("  ") || left_out(body)
}

/// Where there are more items than are told, a line between them says how many.
fn left_out(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with('(') && line.ends_with(" left out)")
}

/// An item's step and text.
fn item(line: &str) -> Option<(u32, &str)> {
    let rest = line.strip_prefix("  step ")?.trim_start();
    let (step, text) = rest.split_once(' ')?;
    Some((step.parse().ok()?, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::text;

    #[test]
    fn what_is_written_comes_back() {
        let long = "a sentence that does not fit into one line of the report, since it goes on \
                    and on, and on.";
        // As many words as fill a line, so that the next begins with a step.
        let early = &format!("{}step 94 while cpu1 still had it.", "abcdefg ".repeat(9));
        let mut out = String::new();
        text::heading(&mut out, "A heading");
        text::paragraph(&mut out, 2, long);
        out.push('\n');
        text::paragraph(&mut out, 2, early);
        assert!(out.contains("\n  step 94 while"));
        out.push('\n');
        text::paragraph(&mut out, text::GUTTER, "(3 earlier ones left out)");
        text::item(&mut out, 7, long);
        text::item(&mut out, 12345, "short");
        text::heading(&mut out, "Another");
        out.push_str("  cpu0  asid 1    0x1000  page 1\n  cpu1  asid 2    0x1000  page 1\n");
        text::heading(&mut out, "A diff");
        out.push_str("--- allowed\n+++ held\n@@ -1 +1 @@\n-cpu0  page 1\n+cpu0  page 2\n");
        let want = [
            Block::Heading("A heading".into()),
            Block::Paragraph(long.into()),
            Block::Paragraph(early.clone()),
            Block::Paragraph("(3 earlier ones left out)".into()),
            Block::Item(7, long.into()),
            Block::Item(12345, "short".into()),
            Block::Heading("Another".into()),
            Block::Table(
                "  cpu0  asid 1    0x1000  page 1\n  cpu1  asid 2    0x1000  page 1".into(),
            ),
            Block::Heading("A diff".into()),
            Block::Table("--- allowed\n+++ held\n@@ -1 +1 @@\n-cpu0  page 1\n+cpu0  page 2".into()),
        ];
        assert_eq!(blocks(&out), want);
    }
}
