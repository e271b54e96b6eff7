// SPDX-License-Identifier: MIT OR Apache-2.0
//! The items that make up most of a text: operations and slots.

use super::error::What;
use super::lex::{Token, address};
use super::parse::Parser;
use super::words;
use super::{MAX_NTH, MAX_OPS, MAX_SLOTS, MAX_STALE, MAX_STEPS, Slot, Stop};
use shootdown_machine::{Access, Op, OpKind, PAGE, PAGES, Space, Va};

/// The kind of operation that a word stands for. Spelt out since a match is several
/// times as fast as a search.
fn op_kind(word: &[u8]) -> Option<OpKind> {
    Some(match word {
        b"switch" => OpKind::Switch,
        b"sched_out" => OpKind::SchedOut,
        b"map" => OpKind::Map,
        b"unmap" => OpKind::Unmap,
        b"protect" => OpKind::Protect,
        b"remap" => OpKind::Remap,
        b"split" => OpKind::Split,
        b"collapse" => OpKind::Collapse,
        b"touch" => OpKind::Touch,
        b"exit" => OpKind::Exit,
        b"reclaim" => OpKind::Reclaim,
        b"zap" => OpKind::Zap,
        b"clean" => OpKind::Clean,
        b"hint" => OpKind::Hint,
        b"age" => OpKind::Age,
        b"gup" => OpKind::Gup,
        b"move" => OpKind::Move,
        b"fork" => OpKind::Fork,
        b"pin" => OpKind::Pin,
        b"unpin" => OpKind::Unpin,
        b"offline" => OpKind::Offline,
        _ => return None,
    })
}

impl<'a> Parser<'a> {
    /// Operations, appended to the program of this CPU.
    pub(super) fn program(&mut self, cpu: u8) -> Option<()> {
        let cpu = usize::from(cpu);
        if self.out.programs[cpu].capacity() == 0 {
            self.out.programs[cpu].reserve(12);
        }
        self.list(b';', "`;` or the end of the line", |p| p.op_of(cpu))
    }

    fn op_of(&mut self, cpu: usize) -> Option<()> {
        let word = self.lex.word();
        let Some(kind) = op_kind(word.text) else {
            return self
                .lex
                .fail(word, What::Unknown("operation", words::list::<OpKind>));
        };
        if self.out.programs[cpu].len() == MAX_OPS {
            return self
                .lex
                .fail(word, What::TooMany("operations on one CPU", MAX_OPS));
        }
        let op = match kind {
            OpKind::Switch => Op::Switch(self.space()?),
            OpKind::SchedOut => Op::SchedOut,
            OpKind::Map => Op::Map(self.space()?, self.va()?),
            OpKind::Unmap => Op::Unmap(self.space()?, self.va()?),
            OpKind::Protect => {
                let (space, va) = (self.space()?, self.va()?);
                let prot = self.lex.word();
                Op::Protect(space, va, self.one_of(prot, "permission")?)
            }
            OpKind::Remap => Op::Remap(self.space()?, self.va()?),
            OpKind::Split => Op::Split(self.space()?, self.va()?),
            OpKind::Collapse => Op::Collapse(self.space()?, self.va()?),
            OpKind::Touch => Op::Touch(self.va()?, self.access()?),
            OpKind::Exit => Op::Exit(self.space()?),
            OpKind::Reclaim => Op::Reclaim(self.space()?, self.va()?),
            OpKind::Zap => Op::Zap(self.space()?, self.va()?),
            OpKind::Clean => Op::Clean(self.space()?, self.va()?),
            OpKind::Hint => Op::Hint(self.space()?, self.va()?),
            OpKind::Age => Op::Age(self.space()?, self.va()?),
            OpKind::Gup => Op::Gup(self.space()?, self.va()?),
            OpKind::Move => Op::Move(self.space()?, self.va()?, self.va()?),
            OpKind::Fork => Op::Fork(self.space()?, self.space()?),
            OpKind::Pin => Op::Pin(self.space()?),
            OpKind::Unpin => Op::Unpin(self.space()?),
            OpKind::Offline => Op::Offline,
        };
        self.out.programs[cpu].push(op);
        Some(())
    }

    fn access(&mut self) -> Option<Access> {
        let word = self.lex.word();
        match word.text {
            b"" => return Some(Access::Read),
            b"write" => return Some(Access::Write),
            _ => {}
        }
        self.lex
            .overlook(word, What::Want("`write`, `;` or the end of the line"))?;
        Some(Access::Read)
    }

    fn space(&mut self) -> Option<Space> {
        let word = self.lex.word();
        let spaces = self.out.machine.spaces;
        let space = match word.text {
            [letter @ b'A'..=b'Z'] => letter - b'A',
            _ => return self.lex.fail(word, What::Space(spaces)),
        };
        if space >= spaces {
            // A lenient parse may yet learn of more spaces, and fits this at its end.
            self.lex.overlook(word, What::Space(spaces))?;
        }
        Some(Space(space))
    }

    fn va(&mut self) -> Option<Va> {
        let word = self.lex.word();
        self.va_of(word)
    }

    fn va_of(&mut self, word: Token<'a>) -> Option<Va> {
        let Some(va) = address(word.text) else {
            return self.lex.fail(word, What::Want("an address such as 0x1000"));
        };
        if va % PAGE != 0 || va >= PAGES as u64 * PAGE {
            self.lex.overlook(word, What::Address)?;
        }
        Some(va)
    }

    /// One slot, appended to the schedule.
    pub(super) fn slot(&mut self) -> Option<()> {
        let word = self.lex.word();
        let slot = match word.text {
            [b'c', b'p', b'u', b'0'..=b'9', ..] => {
                let cpu = self.cpu_of(word)?;
                Slot::Run {
                    cpu,
                    stop: self.stop()?,
                }
            }
            b"walk" => self.walk()?,
            b"evict" => {
                let cpu = self.cpu()?;
                let va = self.lex.word();
                let va = if va.text.is_empty() {
                    None
                } else {
                    Some(self.va_of(va)?)
                };
                Slot::Evict { cpu, va }
            }
            b"deliver" => {
                let cpu = self.cpu()?;
                let last = self.last()?;
                Slot::Deliver { cpu, last }
            }
            b"ipi" => Slot::Ipi { cpu: self.cpu()? },
            b"resolve" => {
                let cpu = self.cpu()?;
                let pick = self.lex.word();
                Slot::Resolve {
                    cpu,
                    pick: self.one_of(pick, "entry")?,
                }
            }
            b"drain" => {
                let cpu = self.cpu()?;
                let last = self.last()?;
                Slot::Drain { cpu, last }
            }
            b"stale" => {
                let cpu = self.cpu()?;
                let by = self.by()?;
                Slot::Stale { cpu, by }
            }
            b"preempt" => Slot::Preempt { cpu: self.cpu()? },
            b"resume" => Slot::Resume { cpu: self.cpu()? },
            _ => return self.lex.fail(word, What::Unknown("slot", words::slots)),
        };
        if self.out.schedule.len() == MAX_SLOTS {
            return self.lex.fail(word, What::TooMany("slots", MAX_SLOTS));
        }
        self.out.schedule.push(slot);
        Some(())
    }

    fn cpu(&mut self) -> Option<u8> {
        let word = self.lex.word();
        self.cpu_of(word)
    }

    /// Whether `last` follows.
    fn last(&mut self) -> Option<bool> {
        let word = self.lex.word();
        let last = word.text == b"last";
        if !last && !word.text.is_empty() {
            self.lex
                .overlook(word, What::Want("`last`, `,` or the end of the line"))?;
        }
        Some(last)
    }

    /// How many stores a read goes back.
    fn by(&mut self) -> Option<u8> {
        let word = self.lex.word();
        match word.text {
            b"" => Some(1),
            [b'x', ..] => {
                let by = self.lex.number(word.skip(1), 1, MAX_STALE.into())?;
                Some(by as u8)
            }
            _ => {
                self.lex
                    .overlook(word, What::Want("`x2`, `,` or the end of the line"))?;
                Some(1)
            }
        }
    }

    /// What follows the CPU that takes steps.
    fn stop(&mut self) -> Option<Stop> {
        let word = self.lex.word();
        match word.text {
            b"" => return Some(Stop::Steps(1)),
            [b'x', ..] => {
                let steps = self.lex.number(word.skip(1), 1, MAX_STEPS.into())?;
                return Some(Stop::Steps(steps as u16));
            }
            b"until" => {}
            _ => {
                self.lex.overlook(
                    word,
                    What::Want("`x7`, `until`, `,` or the end of the line"),
                )?;
                return Some(Stop::Steps(1));
            }
        }
        let name = self.lex.word();
        if name.text.is_empty() {
            return self.lex.fail(name, What::Want("a name"));
        }
        if !words::is_until_name(name.text) {
            return self
                .lex
                .fail(name, What::Name("A-Z, a-z, 0-9, `_`, `.` and `-`"));
        }
        let nth = match self.lex.count() {
            Some(count) => self.lex.number(count, 1, MAX_NTH.into())? as u16,
            None => 1,
        };
        self.untils.push(name);
        let name = String::from_utf8_lossy(name.text).into_owned();
        Some(Stop::Until { name, nth })
    }

    fn walk(&mut self) -> Option<Slot> {
        let (cpu, va) = (self.cpu()?, self.va()?);
        let (mut old, mut steps) = (false, None);
        loop {
            let word = self.lex.word();
            match word.text {
                b"" => {
                    return Some(Slot::Walk {
                        cpu,
                        va,
                        old,
                        steps,
                    });
                }
                b"old" if !old => old = true,
                [b'x', ..] if steps.is_none() => {
                    let number = self.lex.number(word.skip(1), 1, u8::MAX.into())?;
                    steps = Some(number as u8);
                }
                _ => self
                    .lex
                    .overlook(word, What::Want("`old`, `x2`, `,` or the end of the line"))?,
            }
        }
    }
}
