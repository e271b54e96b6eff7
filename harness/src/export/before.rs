// SPDX-License-Identifier: MIT OR Apache-2.0
//! A traced run, and the machine as it is before the first step.

use super::Refusal;
use crate::check::{Subject, input, run, run_one};
use crate::exec::{Bench, Input};
use crate::scenario::Scenario;
use shootdown_machine::arm64::Regs;
use shootdown_machine::{Life, Op, PAGE, SLOTS, Site, State, Use, Word};

/// Programs that do nothing, for as many CPUs as there can be.
const IDLE: [Vec<Op>; 4] = [const { Vec::new() }; 4];

/// A page-table page.
pub struct Table {
    pub pa: u64,
    /// Whose it is; `None`: the kernel's own.
    pub owner: Option<Life>,
    pub descs: [u64; SLOTS],
}

/// What there is before the first step.
pub struct Before {
    /// The variables and locks.
    pub words: Vec<u64>,
    pub tables: Vec<Table>,
    /// The root table of each space.
    pub roots: Vec<u64>,
    /// Of each CPU.
    pub regs: Regs,
}

impl Before {
    fn of(state: &State) -> Before {
        let table = |(pa, usage): (u64, Use)| match usage {
            Use::Table(owner) => Some(Table {
                pa,
                owner,
                descs: core::array::from_fn(|i| state.mem.desc(pa + i as u64 * 8).0),
            }),
            _ => None,
        };
        Before {
            words: (0..state.mem.names.len() as Word)
                .map(|w| state.mem.get(w))
                .collect(),
            tables: state.mem.in_use().filter_map(table).collect(),
            roots: state.roots[..state.config.spaces as usize].to_vec(),
            regs: state.cpus[0].regs,
        }
    }
}

/// Runs a scenario on a variant, and leaves the trace on the bench.
pub fn traced(bench: &mut Bench, scenario: &Scenario, by: Subject) -> Before {
    let idle = Input {
        programs: &IDLE,
        ..input(scenario)
    };
    run(bench, by, idle, |_| ());
    let before = Before::of(&bench.machine.state());
    let whole = Input {
        trace: true,
        ..input(scenario)
    };
    run_one(bench, by, scenario, whole);
    before
}

/// The name of a source file and the line.
pub fn site(site: Site) -> String {
    let file = site.file();
    let name = file.rsplit(['/', '\\']).next().unwrap_or(file);
    format!("{name}:{}", site.line())
}

/// A refusal of a step.
pub fn at(step: u32, cpu: u8, place: Site, why: &str) -> Refusal {
    Refusal::new(format!("step {step}, cpu{cpu}, {}: {why}", site(place)))
}

/// The page that contains an address.
pub fn page(pa: u64) -> u64 {
    pa / PAGE * PAGE
}
