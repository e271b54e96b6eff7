// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which steps of some programs race, as their runs show.

use core::ops::Range;
use fastrand::Rng;
use shootdown_machine::{Act, Announced, VARS};

/// CPUs that use one word, a bit for each.
#[derive(Clone, Copy, Default)]
struct Users {
    readers: u8,
    writers: u8,
}

/// Who uses which word.
#[derive(Clone, Default)]
pub(super) struct Words {
    users: Vec<Users>,
}

impl Words {
    /// Whether it may matter what others do before this step of a CPU.
    pub(super) fn race(&self, cpu: u8, act: Option<Act>) -> bool {
        let Some(act) = act else {
            return true; // between two operations
        };
        let users = |word: u32| self.users.get(word as usize).copied().unwrap_or_default();
        let others = |users: u8| users & !(1 << cpu) != 0;
        match act {
            Act::Load(word, _) | Act::ReadLock(word) => others(users(word).writers),
            Act::Store(word, ..) | Act::Rmw(word, ..) | Act::Lock(word) => {
                others(users(word).readers | users(word).writers)
            }
            Act::Unlock(_)
            | Act::ReadUnlock(_)
            | Act::AwaitChange(_)
            | Act::AwaitOthers
            | Act::IrqOff
            | Act::IrqOn
            | Act::Fence(_)
            | Act::Isb
            | Act::EnterGuest
            | Act::ExitGuest => false,
            // TLBIs, barriers, accesses, frames: others may see these without a word.
            _ => true,
        }
    }
}

/// A run of one CPU, or of one operation: its steps, `None` where an operation begins.
type Run = Vec<Option<Act>>;

/// A step that races, by its number among those of its operation; its beginning is the first.
/// How often a CPU came round in an operation before says nothing about it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) struct Place {
    /// The operation, by its number among those of the program that have a step: one that has
    /// nothing to do is over before anybody sees it, and so those after it are counted anew.
    pub(super) op: usize,
    pub(super) step: usize,
}

/// What the CPUs have been seen to do in the runs of some programs.
#[derive(Clone, Default)]
pub struct Conflicts {
    pub(super) words: Words,
    /// The last run, by CPU.
    last: [Run; 4],
    /// The longest run of each operation, by CPU. A shorter one has no place in it for what is
    /// done when there is more to do.
    longest: [Vec<Run>; 4],
}

/// What a step is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum About {
    Word(u32),
    /// What TLBs hold.
    Tlbs,
    Other,
}

impl About {
    pub(super) fn of(act: Option<Act>) -> About {
        match act {
            Some(
                Act::Load(word, _)
                | Act::Store(word, ..)
                | Act::Rmw(word, ..)
                | Act::Lock(word)
                | Act::ReadLock(word),
            ) => About::Word(word),
            Some(Act::Access(..) | Act::Tlbi(_)) => About::Tlbs,
            _ => About::Other,
        }
    }
}

/// What is kept about a word. There is room made for it.
pub(super) fn of_word<T: Clone + Default>(all: &mut Vec<T>, word: usize) -> &mut T {
    if all.len() <= word {
        all.resize(word + 1, T::default());
    }
    &mut all[word]
}

/// Whether a step changes what it is about, a lock's state or what TLBs hold among it.
pub(super) fn writes(act: Act) -> bool {
    !matches!(act, Act::Access(..) | Act::Load(..) | Act::ReadLock(_))
}

impl Conflicts {
    /// Forgets everything, for other programs.
    pub fn clear(&mut self) {
        self.words.users.clear();
        let longest = self.longest.iter_mut().flatten();
        for run in self.last.iter_mut().chain(longest) {
            run.clear();
        }
    }

    /// A run begins.
    pub(super) fn begin(&mut self) {
        for (last, longest) in self.last.iter_mut().zip(&mut self.longest) {
            let ops = last.chunk_by(|_, act| act.is_some());
            for (op, run) in ops.enumerate() {
                if longest.len() == op {
                    longest.push(Run::new());
                }
                if run.len() > longest[op].len() {
                    longest[op].clear();
                    longest[op].extend(run);
                }
            }
            last.clear();
        }
    }

    /// A CPU is about to do this.
    pub(super) fn saw(&mut self, cpu: u8, next: Option<Announced>) {
        let act = next.map(|next| next.act);
        self.last[cpu as usize].push(act);
        let (About::Word(word), Some(act)) = (About::of(act), act) else {
            return;
        };
        let users = of_word(&mut self.words.users, word as usize);
        if !matches!(act, Act::Store(..)) {
            users.readers |= 1 << cpu;
        }
        if writes(act) {
            users.writers |= 1 << cpu;
        }
    }

    /// The runs of some operations, with their numbers.
    fn runs(&self, cpu: u8, ops: &Range<usize>) -> impl Iterator<Item = (usize, &Run)> {
        let runs = self.longest[cpu as usize].iter().enumerate();
        runs.take(ops.end).skip(ops.start)
    }

    /// The steps of these operations that race, in their order, and what each is about.
    fn races(&self, cpu: u8, ops: &Range<usize>) -> Vec<(Place, About)> {
        let mut races = Vec::new();
        for (op, run) in self.runs(cpu, ops) {
            let race = run.iter().filter(|act| self.words.race(cpu, **act));
            let place = |step| Place { op, step };
            races.extend((0..).map(place).zip(race.map(|act| About::of(*act))));
        }
        races
    }

    /// All operations of a CPU or, if `one`, mostly one of the last: those before make what these
    /// need.
    fn ops(&self, rng: &mut Rng, cpu: u8, one: bool) -> Range<usize> {
        let runs = &self.longest[cpu as usize];
        let ops = runs.iter().take_while(|run| !run.is_empty()).count();
        if !one || ops == 0 {
            return 0..ops;
        }
        let op = match rng.u8(..20) {
            0..8 => ops - 1,
            8..13 => ops.saturating_sub(2),
            _ => rng.usize(..ops),
        };
        op..op + 1
    }

    /// A step of a CPU that races: any, or one while TLBs are not told yet, or one about anything,
    /// so that what is done once is as likely as what is done all the time.
    pub(super) fn any(&self, rng: &mut Rng, cpu: u8) -> Option<Place> {
        let one = rng.bool();
        let ops = self.ops(rng, cpu, one);
        let way = rng.u8(..3);
        if way == 0
            && let Some(place) = rng.choice(self.pending(cpu, &ops))
        {
            return Some(place);
        }
        let races = self.races(cpu, &ops);
        if way < 2 {
            return rng.choice(races).map(|(place, _)| place);
        }
        let thing = rng.choice(things(&races))?;
        rng.choice(of(&races, thing))
    }

    /// A CPU, and a step of it that races while TLBs are not told yet: of any operation that has
    /// such, as likely as of any other.
    pub(super) fn window(&self, rng: &mut Rng) -> Option<(u8, Place)> {
        let each = |cpu: u8| {
            let ops = 0..self.longest[cpu as usize].len();
            ops.map(move |op| (cpu, self.pending(cpu, &(op..op + 1))))
        };
        let windows = (0..4)
            .flat_map(each)
            .filter(|(_, places)| !places.is_empty());
        let (cpu, places) = rng.choice(windows.collect::<Vec<_>>())?;
        Some((cpu, rng.choice(places)?))
    }

    /// Steps of these operations that race while a descriptor has changed and TLBs are not told
    /// yet.
    fn pending(&self, cpu: u8, ops: &Range<usize>) -> Vec<Place> {
        let mut places = Vec::new();
        for (op, run) in self.runs(cpu, ops) {
            let (mut changed, mut step) = (false, 0);
            for act in run {
                if self.words.race(cpu, *act) {
                    if changed {
                        places.push(Place { op, step });
                    }
                    step += 1;
                }
                match act {
                    Some(Act::Store(word, ..) | Act::Rmw(word, ..)) if *word as usize >= VARS => {
                        changed = true;
                    }
                    Some(Act::Tlbi(_) | Act::SendIpi(..)) => changed = false,
                    _ => {}
                }
            }
        }
        places
    }

    /// Two CPUs, and for each a step that races right before or after what it does to one thing.
    pub(super) fn pair(&self, rng: &mut Rng) -> Option<[(u8, Place); 2]> {
        let within_one = rng.bool();
        let races: [_; 4] = core::array::from_fn(|cpu| {
            let cpu = cpu as u8;
            self.races(cpu, &self.ops(rng, cpu, within_one))
        });
        let some = |cpu: &usize| !races[*cpu].is_empty();
        let one = rng.choice((0..4).filter(some).collect::<Vec<_>>())?;
        let races = &races;
        let others = |thing| {
            let has = move |other: &usize| {
                *other != one && races[*other].iter().any(|(_, about)| *about == thing)
            };
            (0..4).filter(has).map(move |other| (thing, other))
        };
        let shared = things(&races[one])
            .into_iter()
            .filter(|thing| *thing != About::Other);
        let (thing, other) = rng.choice(shared.flat_map(others).collect::<Vec<_>>())?;
        let mut near = |cpu: usize| {
            let mut place = rng.choice(of(&races[cpu], thing))?;
            place.step += rng.usize(..2);
            Some((cpu as u8, place))
        };
        Some([near(one)?, near(other)?])
    }
}

/// Each thing once.
fn things(races: &[(Place, About)]) -> Vec<About> {
    let mut things: Vec<_> = races.iter().map(|(_, about)| *about).collect();
    things.sort_unstable();
    things.dedup();
    things
}

/// The steps about this.
fn of(races: &[(Place, About)], thing: About) -> Vec<Place> {
    let about = races.iter().filter(|(_, about)| *about == thing);
    about.map(|(place, _)| *place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shootdown_machine::Order;
    use shootdown_machine::arm64::{Kind, Tlbi};

    fn here(act: Act) -> Announced {
        Announced {
            act,
            site: core::panic::Location::caller(),
        }
    }

    fn seen(acts: &[(u8, Act)]) -> Conflicts {
        let mut conflicts = Conflicts::default();
        for (cpu, act) in acts {
            conflicts.saw(*cpu, Some(here(*act)));
        }
        conflicts.begin();
        conflicts
    }

    const STORE: Act = Act::Store(5, 1, Order::Relaxed);
    const LOAD: Act = Act::Load(5, Order::Relaxed);

    #[test]
    fn two_that_only_read_do_not_race() {
        let conflicts = seen(&[(0, LOAD), (1, LOAD)]);
        assert!(!conflicts.words.race(0, Some(LOAD)));
        // Until somebody writes.
        assert!(conflicts.words.race(0, Some(STORE)));
        let conflicts = seen(&[(0, LOAD), (1, STORE)]);
        assert!(conflicts.words.race(0, Some(LOAD)));
        assert!(conflicts.words.race(1, Some(STORE)));
        assert!(!conflicts.words.race(1, Some(LOAD)), "its own store alone");
    }

    #[test]
    fn a_step_is_counted_among_those_that_race() {
        let own = Act::Store(6, 1, Order::Relaxed);
        let conflicts = seen(&[(0, own), (0, own), (0, STORE), (1, LOAD)]);
        let mut rng = Rng::with_seed(1);
        for _ in 0..20 {
            assert_eq!(conflicts.any(&mut rng, 0), Some(Place::default()));
            assert_eq!(conflicts.any(&mut rng, 2), None);
            let pair = conflicts.pair(&mut rng).unwrap();
            let mut cpus = pair.map(|(cpu, _)| cpu);
            cpus.sort_unstable();
            assert_eq!(cpus, [0, 1]);
            assert!(
                pair.iter()
                    .all(|(_, place)| place.op == 0 && place.step < 2)
            );
        }
    }

    #[test]
    fn a_pair_needs_a_thing_that_two_share() {
        let other = Act::Store(7, 1, Order::Relaxed);
        let dsb = Act::Dsb(shootdown_machine::Dsb::Ish);
        let conflicts = seen(&[(0, STORE), (0, dsb), (1, other), (1, dsb)]);
        assert!(conflicts.pair(&mut Rng::with_seed(1)).is_none());
    }

    #[test]
    fn what_races_before_a_tlbi_is_pending() {
        let desc = |new| Act::Store(VARS as u32, new, Order::Relaxed);
        let tlbi = Act::Tlbi(Tlbi::all(Kind::Vmalle1is));
        let load = |word| Act::Load(word, Order::Relaxed);
        let other = (1, STORE);
        let steps = [load(5), desc(1), load(5), load(6), tlbi, load(5)];
        let mut acts = steps.map(|act| (0, act)).to_vec();
        acts.push(other);
        // The store itself races with nobody; nor does word 6.
        let places = [1, 2].map(|step| Place { op: 0, step });
        assert_eq!(seen(&acts).pending(0, &(0..1)), places);
        assert!(seen(&acts[..2]).pending(0, &(0..1)).is_empty());
        assert!(seen(&acts).pending(1, &(0..1)).is_empty());
        let mut rng = Rng::with_seed(1);
        for _ in 0..20 {
            let (cpu, place) = seen(&acts).window(&mut rng).unwrap();
            assert!(cpu == 0 && places.contains(&place));
        }
        assert!(seen(&acts[..2]).window(&mut rng).is_none());
    }

    #[test]
    fn the_longest_run_of_each_operation_is_kept() {
        let mut conflicts = seen(&[(1, LOAD)]);
        let runs: [&[_]; 3] = [&[1, 3], &[2, 1, 1], &[1]];
        for run in runs {
            for steps in run {
                conflicts.saw(0, None);
                (0..*steps).for_each(|_| conflicts.saw(0, Some(here(STORE))));
            }
            conflicts.begin();
        }
        let races = conflicts.races(0, &(0..3));
        let places: Vec<_> = races.iter().map(|race| race.0).collect();
        let each = [(0, 3), (1, 4), (2, 2)];
        let each = each.map(|(op, steps)| (0..steps).map(move |step| Place { op, step }));
        assert_eq!(places, each.into_iter().flatten().collect::<Vec<_>>());
        conflicts.clear();
        assert!(conflicts.races(0, &(0..3)).is_empty());
    }
}
