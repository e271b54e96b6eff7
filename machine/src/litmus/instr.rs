// SPDX-License-Identifier: MIT OR Apache-2.0
//! Instructions, and what they are made of: names, descriptors, values.

use super::lex::{Line, Parsed, Token, list};
use super::parse::{Parser, inputs, reg, register};
use super::{Ap, Barrier, Base, Desc, Elr, Instr, Loc, Name, Of, Pte, Reg, Root, Syndrome};
use super::{TableId, Test, Value};
use crate::Order;
use crate::arm64::{KINDS, Kind, Row, Scope, Stage};
use crate::config::Arch;
use crate::op::{BLOCK_PAGES, PAGE};

/// What instructions begin with, besides a register and `[`.
const FIRST: &[&str] = &[
    "dmb", "dsb", "isb", "tlbi", "msr", "svc", "hvc", "eret", "cbz", "cbnz", "elr",
];

impl<'a> Parser<'a> {
    /// An instruction, and the label that it goes to.
    pub(super) fn instr(
        &mut self,
        line: &mut Line<'a>,
        handles: bool,
    ) -> Parsed<(Instr, Option<Token<'a>>)> {
        if line.take("[") {
            return Ok((self.store(line)?, None));
        }
        let first = line.word();
        if register(first.text).is_some() {
            return Ok((self.assign(reg(first)?, line, handles)?, None));
        }
        let barrier = |line: &mut Line<'a>| line.word().one_of(Barrier::WORDS, Barrier::ALL);
        let instr = match first.text {
            "dmb" => Instr::Dmb(barrier(line)?),
            "dsb" => Instr::Dsb(barrier(line)?),
            "isb" => Instr::Isb,
            "tlbi" => self.tlbi(line)?,
            "msr" => {
                let base = line.word().one_of(Base::WORDS, Base::ALL)?;
                Instr::Msr(base, self.root(line, base)?)
            }
            "svc" => Instr::Svc,
            "hvc" => Instr::Hvc,
            "eret" if handles => Instr::Eret,
            "eret" => {
                line.want_key("el")?;
                Instr::Drop(line.word().number(0, 1)? as u8)
            }
            "cbz" | "cbnz" => {
                let reg = reg(line.word())?;
                line.want(",")?;
                let label = line.word();
                let zero = first.text == "cbz";
                return match label.text {
                    "" => label.unexpected("a label"),
                    _ => Ok((Instr::Branch { reg, zero, to: 0 }, Some(label))),
                };
            }
            "elr" if handles => {
                line.want("=")?;
                Instr::SetElr(line.word().one_of(Elr::WORDS, Elr::ALL)?)
            }
            _ => return first.unexpected(&format!("a register, `[`, {}", list(FIRST))),
        };
        Ok((instr, None))
    }

    /// `[x] = 1 release addr=r0 data=r1`, behind the bracket.
    fn store(&mut self, line: &mut Line<'a>) -> Parsed<Instr> {
        let loc = self.loc(line)?;
        line.want("=")?;
        let what = line.here();
        let value = self.value(line)?;
        match (loc, value) {
            (_, Value::Page(_)) => return what.unexpected("a number, a register or a descriptor"),
            (Loc::Va(..), Value::Desc(_)) => return what.unexpected("a number or a register"),
            (Loc::Pte(pte), Value::Desc(desc)) => self.fits(what, pte, desc)?,
            _ => {}
        }
        Ok(Instr::Write {
            loc,
            value,
            order: order(line, "release", Order::Release),
            addr_dep: regs(line, "addr")?,
            data_dep: regs(line, "data")?,
        })
    }

    /// What gives a register its value, behind the register.
    fn assign(&mut self, dst: Reg, line: &mut Line<'a>, handles: bool) -> Parsed<Instr> {
        line.want("=")?;
        if line.take("[") {
            return Ok(Instr::Read {
                dst,
                loc: self.loc(line)?,
                order: order(line, "acquire", Order::Acquire),
                addr_dep: regs(line, "addr")?,
            });
        }
        let word = line.word();
        if let Some(src) = register(word.text) {
            return Ok(match line.take("+") {
                true => Instr::Add {
                    dst,
                    src,
                    imm: line.word().number(0, u64::MAX)?,
                },
                false => Instr::Mov(dst, src),
            });
        }
        match word.text {
            "fault_ipa" if handles => Ok(Instr::FaultIpa(dst)),
            "syndrome" if handles => syndrome(dst, line),
            text if text.starts_with(|c: char| c.is_ascii_digit()) => {
                Ok(Instr::Set(dst, word.number(0, u64::MAX)?))
            }
            _ => word.unexpected("`[`, a number, a register, `syndrome` or `fault_ipa`"),
        }
    }

    fn tlbi(&mut self, line: &mut Line<'a>) -> Parsed<Instr> {
        let word = line.word();
        let arm = |row: &Row| row.arch == Arch::Arm64 && !row.range;
        let plain = KINDS.iter().zip(Kind::ALL).filter(|(row, _)| arm(row));
        let (words, kinds): (Vec<&str>, Vec<Kind>) = plain.map(|(r, k)| (r.name, *k)).unzip();
        let kind = word.one_of(&words, &kinds)?;
        let of: Option<&[Of]> = match kind.row().scope {
            Scope::Va | Scope::VaOwn | Scope::VaAllAsid => Some(&[Of::Virtual]),
            Scope::Ipa => Some(inputs(Stage::Two)),
            _ => None,
        };
        let page = match of {
            Some(of) => {
                line.want_key("page")?;
                Some(self.name(line.word(), of)?)
            }
            None => None,
        };
        let asid = match kind.row().scope {
            Scope::Va | Scope::Asid => {
                line.want_key("asid")?;
                Some(line.word().number(0, 0xffff)? as u16)
            }
            _ => None,
        };
        Ok(Instr::Tlbi { kind, page, asid })
    }

    /// `table=main asid=1`, or `vmid=` for stage 2.
    pub(super) fn root(&self, line: &mut Line<'a>, base: Base) -> Parsed<Root> {
        line.want_key("table")?;
        let table = self.table_of(line.word(), base.stage())?;
        line.want_key(base.tag_key())?;
        let tag = line.word().number(0, 0xffff)? as u16;
        Ok(Root { table, tag })
    }

    /// A page of one of these spaces.
    pub(super) fn name(&self, word: Token<'_>, of: &[Of]) -> Parsed<Name> {
        let fits = |s: &super::Symbol| s.name == word.text && of.contains(&s.of);
        match self.test.names.iter().position(fits) {
            Some(n) => Ok(Name(n as u8)),
            None => {
                let of: Vec<&str> = of.iter().map(|of| of.word()).collect();
                word.unexpected(&format!("a declared {} page", of.join(" or ")))
            }
        }
    }

    fn table_of(&self, word: Token<'_>, stage: Stage) -> Parsed<TableId> {
        let fits = |t: &super::Table| t.name == word.text && t.stage == stage;
        match self.test.tables.iter().position(fits) {
            Some(n) => Ok(TableId(n as u8)),
            None => word.unexpected(match stage {
                Stage::One => "a table of stage 1 declared above",
                Stage::Two => "a table of stage 2 declared above",
            }),
        }
    }

    /// `x]`, `x + 4096]` or `pte3(x, main)]`.
    fn loc(&self, line: &mut Line<'a>) -> Parsed<Loc> {
        let loc = match level(line.peek()) {
            Some(_) => Loc::Pte(self.pte(line)?),
            None => {
                let name = self.name(line.word(), &[Of::Virtual])?;
                let offset = match line.take("+") {
                    true => line.word().number(1, BLOCK_PAGES as u64 * PAGE - 1)?,
                    false => 0,
                };
                Loc::Va(name, offset as u16)
            }
        };
        line.want("]")?;
        Ok(loc)
    }

    fn pte(&self, line: &mut Line<'a>) -> Parsed<Pte> {
        let word = line.word();
        let Some(level) = level(word.text) else {
            return word.unexpected("`pte2` or `pte3`");
        };
        line.want("(")?;
        let input = line.word();
        line.want(",")?;
        let table = line.word();
        line.want(")")?;
        let stage = match self.table_of(table, Stage::Two) {
            Ok(_) => Stage::Two,
            Err(_) => Stage::One,
        };
        Ok(Pte {
            level,
            input: self.name(input, inputs(stage))?,
            table: self.table_of(table, stage)?,
        })
    }

    /// A number, a register, a descriptor or a page.
    pub(super) fn value(&self, line: &mut Line<'a>) -> Parsed<Value> {
        let peek = line.peek();
        if level(peek).is_some() {
            return Ok(Value::Desc(Desc::Copy(self.pte(line)?)));
        }
        let word = line.word();
        let outputs = &[Of::Physical, Of::Intermediate];
        let desc = match peek {
            "invalid" => Desc::Invalid,
            "page" => {
                let to = self.name(line.word(), outputs)?;
                let ap = match line.key("ap") {
                    true => line.word().one_of(Ap::WORDS, Ap::ALL)?,
                    false => Ap::Rw,
                };
                Desc::Page { to, ap }
            }
            "table" => Desc::Table(self.table_of(line.word(), Stage::One)?),
            text if register(text).is_some() => return Ok(Value::Reg(reg(word)?)),
            text if text.starts_with(|c: char| c.is_ascii_digit()) => {
                return Ok(Value::Imm(word.number(0, u64::MAX)?));
            }
            text if self.test.names.iter().any(|s| s.name == text) => {
                return Ok(Value::Page(self.name(word, Of::ALL)?));
            }
            _ => {
                return word.unexpected(
                    "a number, a register, `invalid`, `page`, `table`, `pte2` or `pte3`",
                );
            }
        };
        Ok(Value::Desc(desc))
    }

    /// Refuses a descriptor that means nothing at that place.
    pub(super) fn fits(&self, what: Token<'_>, pte: Pte, desc: Desc) -> Parsed<()> {
        let stage = self.test.table(pte.table).map(|t| t.stage);
        let of = |n: Name| self.test.names.get(n.0 as usize).map(|s| s.of);
        match desc {
            Desc::Table(_) if pte.level != 2 || stage != Some(Stage::One) => {
                what.unexpected("a table only at level 2 of stage 1")
            }
            Desc::Page { ap, .. } if stage == Some(Stage::Two) && ap != Ap::Rw => {
                what.unexpected("no `ap` in stage 2")
            }
            Desc::Page { to, .. } if stage == Some(Stage::Two) && of(to) != Some(Of::Physical) => {
                what.unexpected("a physical page")
            }
            _ => Ok(()),
        }
    }
}

/// `hvc ? 0 : 1`
fn syndrome(dst: Reg, line: &mut Line<'_>) -> Parsed<Instr> {
    let word = line.word();
    let mut at = || line.word().number(2, 3).map(|n| n as u8);
    let is = match word.text {
        "level" => Syndrome::Level(at()?),
        "permission" => Syndrome::Permission(at()?),
        "hvc" => Syndrome::Hvc,
        _ => return word.unexpected("`level`, `permission` or `hvc`"),
    };
    line.want("?")?;
    let yes = line.word().number(0, u64::MAX)?;
    line.want(":")?;
    let no = line.word().number(0, u64::MAX)?;
    Ok(Instr::Syndrome { dst, is, yes, no })
}

/// The level that `pte2` or `pte3` names.
fn level(word: &str) -> Option<u8> {
    match word {
        "pte2" => Some(2),
        "pte3" => Some(3),
        _ => None,
    }
}

/// A word that makes an access ordered.
fn order(line: &mut Line<'_>, word: &str, order: Order) -> Order {
    match line.peek() == word {
        true => {
            line.word();
            order
        }
        false => Order::Relaxed,
    }
}

/// `key=r0,r1`, or nothing.
fn regs(line: &mut Line<'_>, key: &str) -> Parsed<Vec<Reg>> {
    let mut regs = Vec::new();
    if line.key(key) {
        regs.push(reg(line.word())?);
        while line.take(",") {
            regs.push(reg(line.word())?);
        }
    }
    Ok(regs)
}

impl Base {
    /// The stage that it is the base of.
    pub fn stage(self) -> Stage {
        match self {
            Base::Ttbr0El1 | Base::Ttbr0El2 => Stage::One,
            Base::VttbrEl2 => Stage::Two,
        }
    }

    /// What its tag is called.
    pub fn tag_key(self) -> &'static str {
        match self.stage() {
            Stage::One => "asid",
            Stage::Two => "vmid",
        }
    }
}

impl Test {
    /// What a thread starts with if the text says nothing.
    pub fn usual(&self, base: Base) -> Option<Root> {
        let name = match base.stage() {
            Stage::One => "main",
            Stage::Two => "s2",
        };
        let fits = |t: &super::Table| t.name == name && t.stage == base.stage();
        let table = TableId(self.tables.iter().position(fits)? as u8);
        Some(Root { table, tag: 0 })
    }
}
