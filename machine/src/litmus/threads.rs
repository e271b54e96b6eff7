// SPDX-License-Identifier: MIT OR Apache-2.0
//! Threads: how they start, handlers, labels.

use super::lex::{Line, Parsed, Place, Token};
use super::parse::{Parser, reg};
use super::{Base, Handler, Instr, Thread};

/// Most threads.
const MAX_THREADS: usize = 8;
/// Most instructions of one list.
const MAX_CODE: usize = 64;

/// A branch whose label has not been seen yet.
pub(super) struct Jump<'a> {
    label: Token<'a>,
    at: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn thread(&mut self, line: &mut Line<'a>) -> Parsed<()> {
        let next = self.test.threads.len();
        let number = line.word();
        if next >= MAX_THREADS || number.text != next.to_string() {
            let next = format!("`{next}`: threads count from 0, and there are at most 8");
            return number.unexpected(&next);
        }
        line.want_key("el")?;
        let el = line.word().number(0, 2)? as u8;
        self.test.threads.push(Thread {
            el,
            ttbr0_el1: self.test.usual(Base::Ttbr0El1),
            vttbr_el2: self.test.usual(Base::VttbrEl2),
            ttbr0_el2: self.test.usual(Base::Ttbr0El2),
            regs: Vec::new(),
            code: Vec::new(),
            handlers: Vec::new(),
        });
        Ok(())
    }

    /// The thread being described. Only lines behind a `thread` line get here.
    fn current(&mut self) -> Parsed<&mut Thread> {
        match self.test.threads.last_mut() {
            Some(thread) => Ok(thread),
            None => Place::default().error("no thread yet", "`thread`"),
        }
    }

    pub(super) fn thread_line(&mut self, line: &mut Line<'a>) -> Parsed<()> {
        match line.peek() {
            "init" => self.init(line),
            "on" => self.handler(line),
            _ => self.code_line(line),
        }
    }

    fn init(&mut self, line: &mut Line<'a>) -> Parsed<()> {
        let word = line.word();
        let thread = self.current()?;
        if !thread.code.is_empty() || !thread.handlers.is_empty() {
            return word.unexpected("an instruction");
        }
        if Base::WORDS.contains(&line.peek()) {
            let base = line.word().one_of(Base::WORDS, Base::ALL)?;
            let root = self.root(line, base)?;
            let thread = self.current()?;
            *match base {
                Base::Ttbr0El1 => &mut thread.ttbr0_el1,
                Base::VttbrEl2 => &mut thread.vttbr_el2,
                Base::Ttbr0El2 => &mut thread.ttbr0_el2,
            } = Some(root);
            return Ok(());
        }
        loop {
            let word = line.word();
            let reg = reg(word)?;
            line.want("=")?;
            let value = line.word().number(0, u64::MAX)?;
            let thread = self.current()?;
            if thread.regs.iter().any(|(r, _)| *r == reg) {
                return word.unexpected("each register once");
            }
            thread.regs.push((reg, value));
            if line.peek().is_empty() {
                return Ok(());
            }
        }
    }

    /// `on el1 from=lower`
    fn handler(&mut self, line: &mut Line<'a>) -> Parsed<()> {
        self.code_ends()?;
        let on = line.word();
        let el = line.word().one_of(&["el1", "el2"], &[1, 2])?;
        let lower = match line.key("from") {
            true => Some(line.word().one_of(&["lower", "same"], &[true, false])?),
            false => None,
        };
        let thread = self.current()?;
        let code = Vec::new();
        if thread
            .handlers
            .iter()
            .any(|h| (h.el, h.lower) == (el, lower))
        {
            return on.unexpected("each handler once");
        }
        thread.handlers.push(Handler { el, lower, code });
        Ok(())
    }

    fn code(&mut self) -> Parsed<&mut Vec<Instr>> {
        let thread = self.current()?;
        Ok(match thread.handlers.last_mut() {
            Some(handler) => &mut handler.code,
            None => &mut thread.code,
        })
    }

    /// An instruction, or `label:`.
    fn code_line(&mut self, line: &mut Line<'a>) -> Parsed<()> {
        let mut ahead = line.clone();
        let label = ahead.word();
        if !label.text.is_empty() && ahead.take(":") {
            *line = ahead;
            let to = self.code()?.len();
            let (here, later) = self
                .jumps
                .drain(..)
                .partition(|j| j.label.text == label.text);
            self.jumps = later;
            let here: Vec<Jump<'_>> = here;
            if here.is_empty() {
                return label.unexpected("a label that a branch above goes to");
            }
            for jump in here {
                if let Some(Instr::Branch { to: slot, .. }) = self.code()?.get_mut(jump.at) {
                    *slot = to;
                }
            }
            return Ok(());
        }
        let handles = !self.current()?.handlers.is_empty();
        let at = self.code()?.len();
        if at >= MAX_CODE {
            return line.here().unexpected("at most 64 instructions");
        }
        let (instr, label) = self.instr(line, handles)?;
        self.code()?.push(instr);
        self.jumps.extend(label.map(|label| Jump { label, at }));
        Ok(())
    }

    /// Every branch of the code that ends here must have found its label.
    pub(super) fn code_ends(&mut self) -> Parsed<()> {
        match self.jumps.first() {
            None => Ok(()),
            Some(jump) => jump
                .label
                .unexpected("a label of this code, behind the branch"),
        }
    }
}
