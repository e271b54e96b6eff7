// SPDX-License-Identifier: MIT OR Apache-2.0
//! One state: the values of a model's variables, and how TLA+ writes them.

use super::model::Model;
use shootdown_machine::Space;
use std::collections::BTreeSet;

/// What a translation is to a model with a page for each task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pte {
    Mapped,
    /// Somebody is at work on it.
    Unmapped,
    /// Whoever has taken it away is done.
    Inval,
}

impl Pte {
    fn word(self) -> &'static str {
        match self {
            Pte::Mapped => "mapped",
            Pte::Unmapped => "unmapped",
            Pte::Inval => "inval",
        }
    }
}

/// A state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snap {
    /// Space, tag, CPU.
    pub tlb: BTreeSet<(u8, u16, u8)>,
    pub pte: Vec<Pte>,
    /// The space that each CPU's tables are of, and the tag that it has them under.
    pub loaded: Vec<(Option<u8>, u16)>,
    pub locked: bool,
    pub generation: u64,
    pub map: u64,
    pub active: Vec<u64>,
    pub reserved: Vec<u64>,
    /// A bit for each CPU.
    pub pending: u64,
    pub cur_idx: u64,
    pub ids: Vec<u64>,
    /// Whether each CPU has nothing to do with the allocator.
    pub settled: Vec<bool>,
}

fn boolean(value: bool) -> String {
    if value { "TRUE" } else { "FALSE" }.into()
}

fn task(space: Option<u8>) -> String {
    space.map_or("0".into(), |s| Space(s).to_string())
}

/// A function on tasks or CPUs.
fn function(pairs: impl Iterator<Item = (String, String)>) -> String {
    let pairs: Vec<String> = pairs.map(|(of, is)| format!("{of} :> {is}")).collect();
    format!("({})", pairs.join(" @@ "))
}

/// A function on CPUs.
fn on_cpus<T>(values: &[T], say: impl Fn(&T) -> String) -> String {
    let pairs = values.iter().enumerate();
    function(pairs.map(|(cpu, value)| (format!("cpu{cpu}"), say(value))))
}

/// A function on tasks.
fn on_tasks<T>(values: &[T], say: impl Fn(&T) -> String) -> String {
    let pairs = (0..).zip(values);
    function(pairs.map(|(space, value)| (Space(space).to_string(), say(value))))
}

fn members(bits: u64, name: &str) -> String {
    let members = (0..64).filter(|i| bits >> i & 1 != 0);
    let members: Vec<String> = members.map(|i: u32| format!("{name}{i}")).collect();
    format!("{{{}}}", members.join(", "))
}

impl Snap {
    /// Its variables, each with its value.
    pub fn vars(&self, model: &Model) -> Vec<(&'static str, String)> {
        let names = &model.names;
        let id = |id: &u64| {
            let (generation, number) = (id >> model.bits, id & ((1 << model.bits) - 1));
            format!("Id({number}, {generation})")
        };
        let tlb: Vec<String> = self
            .tlb
            .iter()
            .map(|(space, tag, cpu)| format!("Entry({}, {tag}, cpu{cpu})", Space(*space)))
            .collect();
        let mut vars = vec![("tlb", format!("{{{}}}", tlb.join(", ")))];
        if model.has_pte {
            vars.push(("pte", on_tasks(&self.pte, |p| format!("\"{}\"", p.word()))));
        }
        let runs = |(space, tag): &(Option<u8>, u16)| format!("Runs({}, {tag})", task(*space));
        vars.push((names.loaded, on_cpus(&self.loaded, runs)));
        vars.push((names.lock, boolean(self.locked)));
        vars.push((names.generation, self.generation.to_string()));
        let map = members(self.map, "");
        vars.push((
            names.map,
            format!("[a \\in 0..{}-1 |-> a \\in {map}]", model.tags),
        ));
        vars.push((names.active, on_cpus(&self.active, id)));
        vars.push((names.reserved, on_cpus(&self.reserved, id)));
        if model.has_pte {
            let pending = members(self.pending, "cpu");
            let pending = format!("[c \\in CPUS |-> c \\in {pending}]");
            vars.push(("tlb_flush_pending", pending));
        }
        vars.push(("cur_idx", self.cur_idx.to_string()));
        vars.push((names.id, on_tasks(&self.ids, id)));
        let place = |settled: &bool| {
            let label = if *settled {
                model.settled
            } else {
                model.switching
            };
            format!("\"{label}\"")
        };
        vars.push(("pc", on_cpus(&self.settled, place)));
        vars
    }
}
