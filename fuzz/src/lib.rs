// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the fuzz targets are made of. The targets themselves are a few lines each.

mod counters;
pub mod differential;
mod panics;
pub mod subjects;
pub mod text;

use arbitrary::{Arbitrary, Unstructured};
use core::cell::RefCell;
use core::fmt;
use fastrand::Rng;
use shootdown::check::Subject;
use shootdown::exec::Bench;
use shootdown::explore::{Conflicts, Strategy, schedule};
use shootdown::fixed::Fixed;
use shootdown::scenario::{self, Scenario};
use shootdown_machine::OpSet;
use std::sync::OnceLock;

/// What the environment fixes about every machine. Ends the process with status 2 where there
/// is no such model or switch: this is bad input to the fuzzer and no finding.
pub(crate) fn fixed() -> Fixed {
    static FIXED: OnceLock<Fixed> = OnceLock::new();
    *FIXED.get_or_init(|| match Fixed::of_environment() {
        Ok(fixed) => fixed,
        Err(message) => {
            eprintln!("{message}");
            std::process::exit(2);
        }
    })
}

/// What new scenarios are made with.
struct Maker {
    /// The subjects of this process, and the kinds of operation that they implement.
    subjects: Vec<Subject>,
    ops: OpSet,
    /// For runs that make a schedule.
    bench: Bench,
    /// What they show of the programs.
    conflicts: Conflicts,
}

impl Maker {
    fn new() -> Maker {
        // What is wrong with their names, the target itself says.
        let subjects = subjects::subjects().unwrap_or_else(|_| Subject::sound());
        let ops = Subject::ops(&subjects);
        let bench = Bench::default();
        Maker {
            subjects,
            ops,
            bench,
            conflicts: Conflicts::default(),
        }
    }

    /// A wholly new scenario.
    fn fresh(&mut self, rng: &mut Rng) -> Scenario {
        let mut scenario = scenario::generate(rng, self.ops);
        if rng.u32(..100) < DRIVEN {
            self.drive(&mut scenario, rng);
        }
        scenario
    }

    /// Another scenario made from this one.
    fn mutate(&mut self, scenario: &mut Scenario, rng: &mut Rng) {
        scenario::mutate(scenario, rng, self.ops);
        if rng.u32(..100) < DRIVEN_AGAIN {
            self.drive(scenario, rng);
        }
    }

    /// Gives programs the schedule of a run of one of the subjects.
    fn drive(&mut self, scenario: &mut Scenario, rng: &mut Rng) {
        fixed().apply(scenario);
        let driver = self.subjects[rng.usize(..self.subjects.len())];
        let strategies = [Strategy::Pct, Strategy::Turns, Strategy::Sticky];
        let strategy = strategies[rng.usize(..strategies.len())];
        let (bench, conflicts) = (&mut self.bench, &mut self.conflicts);
        conflicts.clear();
        schedule(bench, driver, scenario, strategy, conflicts, rng);
        for _ in 0..rng.u32(..=RACES) {
            if bench.oracle.finding.is_some() {
                break;
            }
            schedule(bench, driver, scenario, Strategy::Races, conflicts, rng);
        }
    }
}

thread_local! {
    static MAKER: RefCell<Maker> = RefCell::new(Maker::new());
}

/// The scenario that bytes stand for here.
fn read(bytes: &[u8]) -> Scenario {
    let mut scenario = scenario::decode(bytes);
    fixed().apply(&mut scenario);
    scenario
}

/// A scenario from any bytes, which libFuzzer shows as its text.
pub struct Input(pub Scenario);

impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let all = u.len();
        Ok(Input(read(u.bytes(all)?)))
    }

    fn arbitrary_take_rest(u: Unstructured<'a>) -> arbitrary::Result<Self> {
        Ok(Input(read(u.take_rest())))
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Mutations, in percent, that are a wholly new scenario instead. A swarm of random
/// scenarios finds every known defect on its own; the corpus must not lose that.
const FRESH: u32 = 30;

/// New scenarios, in percent, whose schedule a run makes on its way, mostly by priorities that
/// change a few times: a schedule that knows who can go on gets much deeper than one drawn before.
const DRIVEN: u32 = 75;

/// Mutations, in percent, after which a run makes the schedule anew. What coverage has found to
/// be good in programs meets many schedules so, not only neighbours of the one that it came with.
const DRIVEN_AGAIN: u32 = 30;

/// Schedules, at most, that are made of what the first one shows of the programs. The last one
/// stays: a run here, of one subject, costs little beside those of the target.
const RACES: u32 = 5;

/// Calls for a crossover, in percent, that make one; where one declines, libFuzzer mutates
/// instead. It would make every second mutation a crossover.
const CROSS: u32 = 20;

/// The custom mutator: changes the scenario in `data[..size]`, which may be any bytes,
/// and writes its text over it. Returns the new size, `max_size` at most.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut rng = Rng::with_seed(seed.into());
    let scenario = MAKER.with_borrow_mut(|maker| {
        if rng.u32(..100) < FRESH {
            return maker.fresh(&mut rng);
        }
        match scenario::parse_lenient(&data[..size]) {
            Some(mut scenario) => {
                maker.mutate(&mut scenario, &mut rng);
                scenario
            }
            // An empty corpus begins here. Bytes are a poor way to say anything, so
            // they are taken at their word only every other time.
            None if rng.bool() => maker.fresh(&mut rng),
            None => scenario::decode(&data[..size]),
        }
    });
    write(scenario, &mut data[..max_size])
}

/// The custom crossover: a child of two inputs. 0 declines.
pub fn crossover(a: &[u8], b: &[u8], out: &mut [u8], seed: u32) -> usize {
    let mut rng = Rng::with_seed(seed.into());
    if rng.u32(..100) >= CROSS {
        return 0;
    }
    match (scenario::parse_lenient(a), scenario::parse_lenient(b)) {
        (Some(a), Some(b)) => write(scenario::crossover(&a, &b, &mut rng), out),
        _ => 0,
    }
}

/// Writes the text of a scenario without variants or verdict, since the target decides
/// them, but with the machine that it decides: an artifact is replayed without it. What does not fit loses slots from its end.
fn write(mut scenario: Scenario, out: &mut [u8]) -> usize {
    scenario.variants.clear();
    scenario.expect = None;
    fixed().apply(&mut scenario);
    let mut text = Vec::with_capacity(1024);
    loop {
        scenario::print_into(&scenario, &mut text);
        if let Some(place) = out.get_mut(..text.len()) {
            place.copy_from_slice(&text);
            return text.len();
        }
        if scenario.schedule.is_empty() {
            return 0; // no room for the programs alone: libFuzzer tries something else
        }
        scenario.schedule.truncate(scenario.schedule.len() * 3 / 4);
        text.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mutator_makes_text_of_anything() {
        let mut data = vec![0; 4096];
        let mut size = 0;
        for seed in 0..2000 {
            size = mutate(&mut data, size, 4096, seed);
            assert!(scenario::parse(&data[..size]).is_ok());
        }
    }

    #[test]
    fn what_does_not_fit_is_cut() {
        let mut data = vec![0; 4096];
        for seed in 0..500 {
            let size = mutate(&mut data, 0, 4096, seed);
            let most = size / 2;
            let cut = mutate(&mut data, size, most, seed);
            assert!(cut <= most);
            assert!(cut == 0 || scenario::parse(&data[..cut]).is_ok());
        }
    }

    #[test]
    fn crossovers_are_text_or_nothing() {
        let (mut a, mut b, mut out) = (vec![0; 4096], vec![0; 4096], vec![0; 4096]);
        let mut made = 0;
        for seed in 0..500 {
            let (x, y) = (
                mutate(&mut a, 0, 4096, seed),
                mutate(&mut b, 0, 4096, seed + 500),
            );
            let size = crossover(&a[..x], &b[..y], &mut out, seed);
            made += usize::from(size > 0);
            assert!(size == 0 || scenario::parse(&out[..size]).is_ok());
        }
        assert!(made > 20);
        assert_eq!(crossover(b"", b"x", &mut out, 1), 0);
    }

    #[test]
    fn an_input_shows_as_text() {
        let input = Input::arbitrary_take_rest(Unstructured::new(b"\x01\x02\x03")).unwrap();
        assert!(format!("{input:#?}").starts_with("scenario 1\nmachine "));
    }
}
