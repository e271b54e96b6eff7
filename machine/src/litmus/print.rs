// SPDX-License-Identifier: MIT OR Apache-2.0
//! From test to text.

use super::{Ap, Base, Desc, Final, Instr, Loc, Name, Of, Place, Pte, Reg, Root, Syndrome};
use super::{Test, Thread, Value, Verdict};
use crate::Order;
use crate::arm64::Stage;
use core::fmt::{self, Write};

/// The text of a test, which parses to the same test.
pub fn print(test: &Test) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write!(out, "{}", Printed(test));
    out
}

struct Printed<'a>(&'a Test);

impl fmt::Display for Printed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        self.space(f)?;
        for (n, table) in self.0.tables.iter().enumerate() {
            let stage = match table.stage {
                Stage::One => 1,
                Stage::Two => 2,
            };
            writeln!(f, "\ntable {} stage={stage}", self.0.tables[n].name)?;
            for map in &table.maps {
                write!(f, "  {}", self.name(map.input))?;
                if map.level != 3 {
                    write!(f, " level={}", map.level)?;
                }
                writeln!(f, " -> {}", self.desc(map.desc))?;
            }
        }
        for (n, thread) in self.0.threads.iter().enumerate() {
            writeln!(f, "\nthread {n} el={}", thread.el)?;
            self.thread(f, thread)?;
        }
        self.ask(f)
    }
}

impl Printed<'_> {
    fn head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v = &self.0.verdicts;
        writeln!(f, "litmus {}", self.0.name)?;
        let esop = [("base", v.esop22), ("ets", v.esop22_ets)];
        let herd = [
            ("base", v.herd),
            ("ets2", v.herd_ets2),
            ("ets3", v.herd_ets3),
        ];
        verdicts(f, "esop22", &esop)?;
        verdicts(f, "herd", &herd)?;
        let expect = [("base", v.expect), ("ets2", v.expect_ets2)];
        verdicts(f, "expect", &expect)?;
        for note in &self.0.notes {
            writeln!(f, "note {note}")?;
        }
        Ok(())
    }

    fn space(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        for of in Of::ALL {
            let names = self.0.names.iter().filter(|s| s.of == *of);
            let names: String = names.map(|s| format!(" {}", s.name)).collect();
            if !names.is_empty() {
                writeln!(f, "{}{names}", of.word())?;
            }
        }
        for place in &self.0.places {
            let (what, names) = match place {
                Place::Aligned(names) => ("aligned", names.clone()),
                Place::Same(a, b) => ("same", vec![*a, *b]),
                Place::Apart(a, b) => ("apart", vec![*a, *b]),
            };
            let names: String = names
                .iter()
                .map(|n| format!(" {}", self.name(*n)))
                .collect();
            writeln!(f, "place {what}{names}")?;
        }
        if !self.0.memory.is_empty() {
            let memory = self.0.memory.iter();
            let values: String = memory
                .map(|(p, v)| format!(" {}={v}", self.name(*p)))
                .collect();
            writeln!(f, "memory{values}")?;
        }
        Ok(())
    }

    fn thread(&self, f: &mut fmt::Formatter<'_>, thread: &Thread) -> fmt::Result {
        let bases = [
            (Base::Ttbr0El1, thread.ttbr0_el1),
            (Base::VttbrEl2, thread.vttbr_el2),
            (Base::Ttbr0El2, thread.ttbr0_el2),
        ];
        for (base, root) in bases {
            if let Some(root) = root.filter(|_| root != self.0.usual(base)) {
                writeln!(f, "  init {}", self.root(base, root))?;
            }
        }
        if !thread.regs.is_empty() {
            let regs = thread.regs.iter();
            let values: String = regs.map(|(r, v)| format!(" r{r}={v}")).collect();
            writeln!(f, "  init{values}")?;
        }
        self.code(f, &thread.code, "  ")?;
        for handler in &thread.handlers {
            let from = match handler.lower {
                Some(true) => " from=lower",
                Some(false) => " from=same",
                None => "",
            };
            writeln!(f, "  on el{}{from}", handler.el)?;
            self.code(f, &handler.code, "    ")?;
        }
        Ok(())
    }

    fn code(&self, f: &mut fmt::Formatter<'_>, code: &[Instr], margin: &str) -> fmt::Result {
        let mut labels: Vec<usize> = code.iter().filter_map(target).collect();
        labels.sort_unstable();
        labels.dedup();
        let label = |to: usize| labels.iter().position(|l| *l == to).map_or(0, |n| n + 1);
        for (n, instr) in code.iter().enumerate() {
            if labels.contains(&n) {
                writeln!(f, "{margin}l{}:", label(n))?;
            }
            match target(instr) {
                Some(to) => writeln!(f, "{margin}{}, l{}", self.instr(instr), label(to))?,
                None => writeln!(f, "{margin}{}", self.instr(instr))?,
            }
        }
        if labels.contains(&code.len()) {
            writeln!(f, "{margin}l{}:", label(code.len()))?;
        }
        Ok(())
    }

    fn ask(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clause = |c: &super::Clause| {
            let at = match c.at {
                Final::Reg { thread, reg } => format!("{thread}:r{reg}"),
                Final::Mem(page) => format!("*{}", self.name(page)),
            };
            let is = if c.equal { "=" } else { "!=" };
            format!("{at} {is} {}", self.value(c.value))
        };
        let clauses: Vec<String> = self.0.ask.iter().map(clause).collect();
        match clauses.is_empty() {
            true => writeln!(f, "\nask true"),
            false => writeln!(f, "\nask {}", clauses.join(" & ")),
        }
    }

    fn name(&self, name: Name) -> &str {
        self.0.name_of(name)
    }

    fn root(&self, base: Base, root: Root) -> String {
        let table = self.0.table(root.table).map_or("?", |t| &t.name);
        format!(
            "{} table={table} {}={}",
            base.word(),
            base.tag_key(),
            root.tag
        )
    }

    fn pte(&self, pte: Pte) -> String {
        let table = self.0.table(pte.table).map_or("?", |t| &t.name);
        format!("pte{}({}, {table})", pte.level, self.name(pte.input))
    }

    fn desc(&self, desc: Desc) -> String {
        match desc {
            Desc::Invalid => "invalid".into(),
            Desc::Page { to, ap: Ap::Rw } => format!("page {}", self.name(to)),
            Desc::Page { to, ap } => format!("page {} ap={}", self.name(to), ap.word()),
            Desc::Table(id) => format!("table {}", self.0.table(id).map_or("?", |t| &t.name)),
            Desc::Copy(pte) => self.pte(pte),
        }
    }

    fn value(&self, value: Value) -> String {
        match value {
            Value::Imm(n) => n.to_string(),
            Value::Reg(reg) => format!("r{reg}"),
            Value::Desc(desc) => self.desc(desc),
            Value::Page(name) => self.name(name).into(),
        }
    }

    fn loc(&self, loc: Loc) -> String {
        match loc {
            Loc::Va(name, 0) => format!("[{}]", self.name(name)),
            Loc::Va(name, offset) => format!("[{} + {offset}]", self.name(name)),
            Loc::Pte(pte) => format!("[{}]", self.pte(pte)),
        }
    }

    /// One instruction; a branch without its label.
    fn instr(&self, instr: &Instr) -> String {
        match instr {
            Instr::Read {
                dst,
                loc,
                order,
                addr_dep,
            } => format!(
                "r{dst} = {}{}{}",
                self.loc(*loc),
                ordered(*order),
                deps("addr", addr_dep)
            ),
            Instr::Write {
                loc,
                value,
                order,
                addr_dep,
                data_dep,
            } => format!(
                "{} = {}{}{}{}",
                self.loc(*loc),
                self.value(*value),
                ordered(*order),
                deps("addr", addr_dep),
                deps("data", data_dep)
            ),
            Instr::Dmb(barrier) => format!("dmb {}", barrier.word()),
            Instr::Dsb(barrier) => format!("dsb {}", barrier.word()),
            Instr::Isb => "isb".into(),
            Instr::Tlbi { kind, page, asid } => {
                let page = page.map_or(String::new(), |p| format!(" page={}", self.name(p)));
                let asid = asid.map_or(String::new(), |a| format!(" asid={a}"));
                format!("tlbi {}{page}{asid}", kind.row().name)
            }
            Instr::Msr(base, root) => format!("msr {}", self.root(*base, *root)),
            Instr::Svc => "svc".into(),
            Instr::Hvc => "hvc".into(),
            Instr::Eret => "eret".into(),
            Instr::Drop(el) => format!("eret el={el}"),
            Instr::Branch { reg, zero, .. } => {
                format!("{} r{reg}", if *zero { "cbz" } else { "cbnz" })
            }
            Instr::Set(dst, value) => format!("r{dst} = {value}"),
            Instr::Mov(dst, src) => format!("r{dst} = r{src}"),
            Instr::Add { dst, src, imm } => format!("r{dst} = r{src} + {imm}"),
            Instr::Syndrome { dst, is, yes, no } => {
                let is = match is {
                    Syndrome::Level(level) => format!("level {level}"),
                    Syndrome::Permission(level) => format!("permission {level}"),
                    Syndrome::Hvc => "hvc".into(),
                };
                format!("r{dst} = syndrome {is} ? {yes} : {no}")
            }
            Instr::FaultIpa(dst) => format!("r{dst} = fault_ipa"),
            Instr::SetElr(elr) => format!("elr = {}", elr.word()),
        }
    }
}

fn target(instr: &Instr) -> Option<usize> {
    match instr {
        Instr::Branch { to, .. } => Some(*to),
        _ => None,
    }
}

fn ordered(order: Order) -> &'static str {
    match order {
        Order::Acquire => " acquire",
        Order::Release => " release",
        _ => "",
    }
}

fn deps(key: &str, regs: &[Reg]) -> String {
    let regs: Vec<String> = regs.iter().map(|r| format!("r{r}")).collect();
    match regs.is_empty() {
        true => String::new(),
        false => format!(" {key}={}", regs.join(",")),
    }
}

fn verdicts(
    f: &mut fmt::Formatter<'_>,
    source: &str,
    said: &[(&str, Option<Verdict>)],
) -> fmt::Result {
    let said = said.iter().filter_map(|(key, v)| v.map(|v| (key, v)));
    let said: String = said
        .map(|(key, v)| format!(" {key}={}", v.word()))
        .collect();
    match said.is_empty() {
        true => Ok(()),
        false => writeln!(f, "{source}{said}"),
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print(self))
    }
}

impl Test {
    /// One instruction as the text has it; a branch without its label.
    pub fn show(&self, instr: &Instr) -> String {
        Printed(self).instr(instr)
    }
}
