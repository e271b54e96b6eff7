// SPDX-License-Identifier: MIT OR Apache-2.0
//! What becomes of a state: which other it equals, and what it comes to when all threads have
//! ended.

use super::explore::{Did, Explorer, World};
use super::thread::{Code, Program};
use super::{Desc, Final, Name, Of, Pte, TableId, Value};
use crate::op::{PAGE, Va};
use crate::tlb::Entry;
use std::hash::{DefaultHasher, Hash, Hasher};

impl Explorer<'_> {
    pub(super) fn end(&mut self, world: &World) {
        let value = |at: &Final| match *at {
            Final::Reg { thread, reg } => world
                .threads
                .get(usize::from(thread))
                .map_or(0, |t| t.reg(reg)),
            Final::Mem(page) => {
                let mem = &world.state.mem;
                let word = mem.word_at(self.program.layout.addr_of(page));
                word.map_or(0, |w| mem.get(w))
            }
        };
        let ask = &self.program.test.ask;
        let values: Vec<u64> = ask.iter().map(|c| value(&c.at)).collect();
        let asked = ask
            .iter()
            .zip(&values)
            .all(|(clause, value)| (*value == self.expected(clause.value)) == clause.equal);
        if self.outcomes.insert(values) {
            self.found.outcomes += 1;
        }
        if asked && !self.found.asked {
            self.found.asked = true;
            self.found.witness = self.witness(world);
        }
    }

    fn expected(&self, value: Value) -> u64 {
        let Program { test, layout } = self.program;
        match value {
            Value::Imm(value) => value,
            Value::Page(page) => layout.addr_of(page),
            Value::Desc(desc) => {
                // A descriptor is compared as it would lie in the table that it is for.
                let at = match desc {
                    Desc::Copy(pte) => pte,
                    _ => Pte {
                        level: 3,
                        input: Name(0),
                        table: TableId(0),
                    },
                };
                layout.desc(test, at, desc)
            }
            Value::Reg(_) => 0,
        }
    }

    pub(super) fn fingerprint(&self, world: &World) -> u64 {
        let mut h = DefaultHasher::new();
        let state = &world.state;
        (world.fresh, &world.threads).hash(&mut h);
        state.history.hash(&mut h);
        for (cpu, c) in (0..).zip(&state.cpus) {
            c.views.hash(&mut h);
            (c.regs, &c.unsynced, c.el, &c.walk, &c.flushes, &c.inbox).hash(&mut h);
            let entries = state.tlb(cpu).entries.iter().map(|e| (*e, 0));
            let all = entries.chain(c.dead.iter().copied());
            let kept = all.filter(|(e, _)| self.matters(e));
            let sum = kept.fold(0u64, |sum, (e, died)| {
                let mut h = DefaultHasher::new();
                let timeless = Entry {
                    id: 0,
                    filled: 0,
                    ..e
                };
                (timeless, died).hash(&mut h);
                sum.wrapping_add(h.finish())
            });
            sum.hash(&mut h);
        }
        h.finish()
    }

    /// Whether an entry can differ from what a walk would find now.
    fn matters(&self, entry: &Entry) -> bool {
        let past = self.past.iter().any(Option::is_some);
        past || entry.time != 0 || entry.leaf || self.is_hot(entry.desc_pa)
    }

    fn witness(&self, world: &World) -> Vec<String> {
        let Program { test, layout } = self.program;
        let mut out = Vec::new();
        let mut trail = world.trail.as_ref();
        let page = |va: Va| {
            let named = (0..).zip(&test.names);
            let mut found = named.filter(|(i, s)| {
                s.of == Of::Virtual && layout.addr_of(Name(*i)) == va / PAGE * PAGE
            });
            found
                .next()
                .map_or_else(|| format!("{va:#x}"), |(_, s)| s.name.clone())
        };
        while let Some(step) = trail {
            out.push(match step.did {
                Did::Step(t, code, pc) => {
                    let thread = &test.threads[t];
                    let code = match code {
                        Code::Main => &thread.code,
                        Code::Handler(h) => &thread.handlers[h].code,
                    };
                    let text = code.get(pc).map_or(String::new(), |i| test.show(i));
                    format!("thread {t}: {text}")
                }
                Did::Drain(t, word, value) => {
                    let pa = world.state.mem.desc_pa(word).unwrap_or(0);
                    format!("thread {t}: its store of {value:#x} to {pa:#x} is in memory")
                }
                Did::Deliver(t) => format!("thread {t}: a tlbi takes effect here"),
                Did::Walk(t, va) => format!("thread {t}: its walker reads on for {}", page(va)),
                Did::Insert(t, va) => {
                    format!(
                        "thread {t}: its walker inserts what it found for {}",
                        page(va)
                    )
                }
            });
            trail = step.before.as_ref();
        }
        out.reverse();
        out
    }
}
