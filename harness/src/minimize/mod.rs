// SPDX-License-Identifier: MIT OR Apache-2.0
//! The minimizer: the smallest scenario, by removals, that still makes the same variant
//! break the same rule first, by the same place in the port. Deterministic; what it returns never
//! has more operations, nor, unless it has fewer CPUs, more hand-overs between them. One turn may
//! be written as several of the same CPU, to say where it ends.

mod forms;

use crate::check::{Found, Subject, check};
use crate::exec::{Bench, DONE};
use crate::explain::unroll::Unrolled;
use crate::explore::{Conflicts, Strategy, rng, schedule};
use crate::report::origin;
use crate::scenario::{MAX_STEPS, Scenario, Slot, Stop};
use crate::turns::{Turn, turns};
use forms::{in_one_go, tidy, used_spaces, without_cpu};
use shootdown_machine::arm64::Granule;
use shootdown_machine::{Bbm, Domain, Memory, Space};

/// Trials that one minimization makes, at most. Removal passes converge far earlier.
const MOST_TRIALS: u32 = 60_000;

/// Schedules that are tried for programs of which one has become part of another's.
const SOUGHT: u32 = 200;

/// Schedules that are tried for an operation less.
const SOUGHT_LONGER: u32 = 2000;

/// Operations and slots that a reader still follows: of what has more, other schedules are tried.
const READABLE: (usize, usize) = (12, 10);

/// A scenario that breaks a rule, and what it breaks.
#[derive(Clone, Debug)]
pub struct Minimized {
    /// The scenario, with its variants and expectation set.
    pub scenario: Scenario,
    /// What it breaks.
    pub found: Found,
    /// Runs that it took.
    pub trials: u32,
}

/// A name that is counted further than this is not easy to find in a turn of several operations.
const FEW: u16 = 3;

struct Shrink<'a> {
    bench: &'a mut Bench,
    progress: &'a mut dyn FnMut(u32, &Scenario),
    subjects: Vec<Subject>,
    best: Scenario,
    found: Found,
    /// Where in the port it comes from.
    origin: String,
    trials: u32,
}

/// Minimizes a scenario for the variants that it names; `None`: they break no rule.
///
/// # Errors
/// A sentence, if it names a variant or defect that does not exist.
pub fn minimize(bench: &mut Bench, scenario: &Scenario) -> Result<Option<Minimized>, String> {
    minimize_telling(bench, scenario, &mut |_, _| ())
}

/// The same. `progress` is told the runs so far and the smallest scenario, whenever that gets
/// smaller.
///
/// # Errors
/// As [`minimize`].
pub fn minimize_telling(
    bench: &mut Bench,
    scenario: &Scenario,
    progress: &mut dyn FnMut(u32, &Scenario),
) -> Result<Option<Minimized>, String> {
    let mut subjects = Subject::of(scenario)?;
    let Some(found) = check(bench, scenario, &subjects).found else {
        return Ok(None);
    };
    // One variant is enough, unless it is the comparison that failed.
    let alone = vec![found.by];
    let same = check(bench, scenario, &alone)
        .found
        .is_some_and(|f| is_same(&f, &found));
    if same {
        subjects = alone;
    }
    let mut best = scenario.clone();
    best.variants = subjects.iter().map(Subject::choice).collect();
    best.expect = None;
    let origin = origin(bench, scenario, &found);
    let mut shrink = Shrink {
        bench,
        progress,
        origin,
        subjects,
        best,
        found,
        trials: 0,
    };
    loop {
        shrink.settle();
        if !shrink.seek_smaller() {
            break;
        }
    }
    let Shrink {
        mut best,
        found,
        trials,
        ..
    } = shrink;
    best.expect = Some(found.expect());
    Ok(Some(Minimized {
        scenario: best,
        found,
        trials,
    }))
}

/// A CPU's program before or after another's.
fn joined(scenario: &Scenario, cpu: u8, other: u8, before: bool) -> Scenario {
    let mut joined = scenario.clone();
    let moved = core::mem::take(&mut joined.programs[cpu as usize]);
    let program = &mut joined.programs[other as usize];
    let at = if before { 0 } else { program.len() };
    program.splice(at..at, moved);
    joined
}

fn is_same(a: &Found, b: &Found) -> bool {
    a.finding.rule.name == b.finding.rule.name && a.by.name() == b.by.name()
}

impl Shrink<'_> {
    /// Keeps `candidate` if it has the same finding.
    fn offer(&mut self, mut candidate: Scenario) -> bool {
        tidy(&mut candidate.schedule);
        candidate.machine = candidate.machine.clamp();
        if candidate == self.best || self.trials >= MOST_TRIALS {
            return false;
        }
        self.trials += 1;
        let found = check(self.bench, &candidate, &self.subjects).found;
        let Some(found) = found.filter(|found| is_same(found, &self.found)) else {
            return false;
        };
        // One rule may be broken in more ways than one: another bug is no smaller form of this.
        if origin(self.bench, &candidate, &found) != self.origin {
            return false;
        }
        self.best = candidate;
        self.found = found;
        (self.progress)(self.trials, &self.best);
        true
    }

    /// All passes, until they change nothing.
    fn settle(&mut self) {
        // A name may come to a little less than its steps did, which is one more thing to use.
        loop {
            let before = self.best.clone();
            self.count_turns();
            self.all();
            self.name_turns();
            // With a CPU less, a loop over all of them has fewer steps: names hold where counts
            // do not.
            self.drop_cpus();
            if self.best == before {
                return;
            }
        }
    }

    fn all(&mut self) {
        self.drop_variants();
        loop {
            let before = self.best.clone();
            self.strengthen_memory();
            self.drop_tail();
            self.drop_slots();
            self.merge_turns();
            self.drop_cpus();
            self.drop_ops();
            self.simplify_machine();
            self.rename_spaces();
            self.simplify_slots();
            if self.best == before {
                return;
            }
        }
    }

    /// Gives turns that end at a name, or where the CPU cannot go on, their steps, which the
    /// passes can make fewer.
    fn count_turns(&mut self) {
        self.change_turns(|stop, turn| match stop {
            Stop::Steps(steps) if *steps == turn.steps => None,
            _ => Some(Stop::Steps(turn.steps)),
        });
    }

    /// Gives turns of some steps the name of the step that they come to, or more steps than there
    /// are. A count is off with the next change of the port, and tells a reader nothing.
    fn name_turns(&mut self) {
        self.change_turns(|stop, turn| match (stop, &turn.end) {
            (Stop::Until { .. }, _) => None,
            (_, None) => Some(Stop::Steps(MAX_STEPS)),
            (_, end) => end.clone(),
        });
        // Within an access, no step has a name of its own; at its end there is one.
        self.change_turns(|stop, turn| match stop {
            Stop::Steps(steps) if turn.end.is_some() && *steps < MAX_STEPS => Some(Stop::Until {
                name: DONE.into(),
                nth: turn.done + 1,
            }),
            _ => None,
        });
        // Else it is named by what comes before. So is one that is counted over many operations:
        // an edit of any of them would put it off.
        self.split_turns(|stop, turn| match stop {
            Stop::Steps(steps) => turn.end.is_some() && *steps < MAX_STEPS,
            Stop::Until { name, nth } => {
                name != DONE && *nth > FEW && turn.parts.last() != Some(stop)
            }
        });
    }

    /// Another form for the ends of turns, where it comes to the same. From the last to the
    /// first, since turns that are counted join their neighbours.
    fn change_turns(&mut self, to: impl Fn(&Stop, &Turn) -> Option<Stop>) {
        self.replace_turns(|stop, turn| to(stop, turn).into_iter().collect());
    }

    /// Turns as several of the same CPU, each with its own end, where it comes to the same.
    fn split_turns(&mut self, which: impl Fn(&Stop, &Turn) -> bool) {
        self.replace_turns(|stop, turn| match &turn.parts[..] {
            parts if parts.len() > 1 && which(stop, turn) => parts.to_vec(),
            _ => Vec::new(),
        });
    }

    fn replace_turns(&mut self, by: impl Fn(&Stop, &Turn) -> Vec<Stop>) {
        let Some(subject) = self.subjects.first() else {
            return;
        };
        let turns = turns(self.bench, *subject, &self.best);
        for (at, turn) in turns.iter().enumerate().rev() {
            let mut candidate = self.best.clone();
            if let (Some(Slot::Run { cpu, stop }), Some(turn)) = (candidate.schedule.get(at), turn)
            {
                let (cpu, stops) = (*cpu, by(stop, turn));
                if !stops.is_empty() {
                    let slots = stops.into_iter().map(|stop| Slot::Run { cpu, stop });
                    candidate.schedule.splice(at..=at, slots);
                    self.offer(candidate);
                }
            }
        }
    }

    /// Variants, where it takes more than one: a comparison needs two.
    fn drop_variants(&mut self) {
        let mut at = self.subjects.len();
        while at > 0 && self.subjects.len() > 2 {
            at -= 1;
            let dropped = self.subjects.remove(at);
            let mut candidate = self.best.clone();
            candidate.variants.remove(at);
            if !self.offer(candidate) {
                self.subjects.insert(at, dropped);
            }
        }
    }

    /// The strongest memory model: what the finding does not need, nobody has to think of.
    fn strengthen_memory(&mut self) {
        for &memory in Memory::ALL {
            if memory == self.best.machine.memory {
                return;
            }
            let mut candidate = self.best.clone();
            candidate.machine.memory = memory;
            if self.offer(candidate) {
                return;
            }
        }
    }

    /// The schedule's tail, by halves.
    fn drop_tail(&mut self) {
        let mut keep = 0;
        while keep < self.best.schedule.len() {
            let mut candidate = self.best.clone();
            candidate.schedule.truncate(keep);
            if self.offer(candidate) {
                return;
            }
            let left = self.best.schedule.len() - keep;
            keep += left.div_ceil(2).max(1);
        }
    }

    /// Slots, in chunks that get smaller.
    fn drop_slots(&mut self) {
        let mut chunk = self.best.schedule.len().div_ceil(2);
        while chunk > 0 {
            let mut at = 0;
            while at < self.best.schedule.len() {
                let mut candidate = self.best.clone();
                let end = (at + chunk).min(candidate.schedule.len());
                candidate.schedule.drain(at..end);
                if !self.offer(candidate) {
                    at += chunk;
                }
            }
            chunk /= 2;
        }
    }

    /// A CPU's whole program; the last CPU altogether.
    fn drop_cpus(&mut self) {
        for cpu in (0..self.best.programs.len()).rev() {
            let mut candidate = self.best.clone();
            candidate.programs[cpu].clear();
            self.offer(candidate);
        }
        let mut cpu = self.best.machine.cpus;
        while cpu > 0 && self.best.machine.cpus > 1 {
            cpu -= 1;
            let mut candidate = self.best.clone();
            candidate.schedule.retain(|slot| slot.cpu() != cpu);
            without_cpu(&mut candidate, cpu);
            if !self.offer(candidate) {
                self.join_cpu(cpu);
            }
        }
    }

    /// A CPU's program before or after another's; its turns go to that one, or nowhere, or all
    /// turns are sought anew.
    fn join_cpu(&mut self, cpu: u8) {
        let cpus = self.best.machine.cpus;
        for other in (0..cpus).filter(|other| *other != cpu) {
            for (before, keep) in [(true, true), (true, false), (false, true), (false, false)] {
                let mut candidate = joined(&self.best, cpu, other, before);
                candidate.schedule.retain(|slot| keep || slot.cpu() != cpu);
                for slot in &mut candidate.schedule {
                    let of = slot.cpu_mut();
                    if *of == cpu {
                        *of = other;
                    }
                }
                without_cpu(&mut candidate, cpu);
                if self.offer(candidate) {
                    return;
                }
            }
        }
        for other in (0..cpus).filter(|other| *other != cpu && cpus > 2) {
            for before in [true, false] {
                let mut candidate = joined(&self.best, cpu, other, before);
                without_cpu(&mut candidate, cpu);
                if self.seek(candidate, SOUGHT) {
                    return;
                }
            }
        }
    }

    /// Of one that is large, another schedule, or one for all operations but one, if that comes to
    /// something smaller. Where many operations are interrupted in many places, none can be left
    /// out as they are.
    fn seek_smaller(&mut self) -> bool {
        let (ops, turns) = self.best.size();
        let slots = self.best.schedule.len();
        if ops <= READABLE.0 && slots <= READABLE.1 {
            return false;
        }
        let lengths = self.best.programs.iter().map(Vec::len).enumerate();
        let all = lengths.flat_map(|(cpu, length)| (0..length).map(move |at| (cpu, at)));
        let all: Vec<_> = all.collect();
        for without in all.into_iter().rev().map(Some).chain([None]) {
            let mut candidate = self.best.clone();
            if let Some((cpu, at)) = without {
                candidate.programs[cpu].remove(at);
            }
            let mut other = Shrink {
                bench: &mut *self.bench,
                progress: &mut |_, _| (),
                subjects: self.subjects.clone(),
                best: self.best.clone(),
                found: self.found.clone(),
                origin: self.origin.clone(),
                trials: self.trials,
            };
            if other.seek(candidate, SOUGHT_LONGER) {
                other.settle();
            }
            let (fewer, shorter) = (other.best.size(), other.best.schedule.len());
            let no_larger = fewer.0 <= ops && fewer.1 <= turns && shorter <= slots;
            let smaller = no_larger && (fewer.0, shorter) != (ops, slots);
            self.trials = other.trials;
            if smaller {
                (self.best, self.found) = (other.best, other.found);
                (self.progress)(self.trials, &self.best);
                return true;
            }
        }
        false
    }

    /// Another schedule with the same finding.
    fn seek(&mut self, mut candidate: Scenario, schedules: u32) -> bool {
        candidate.machine = candidate.machine.clamp();
        let (mut rng, mut conflicts) = (rng(0, 0), Conflicts::default());
        for i in 0..schedules {
            let strategy = if i % 6 == 0 {
                Strategy::Sticky
            } else {
                Strategy::Races
            };
            let (by, bench) = (self.found.by, &mut *self.bench);
            schedule(
                bench,
                by,
                &mut candidate,
                strategy,
                &mut conflicts,
                &mut rng,
            );
            self.trials += 1;
            let broken = bench.oracle.finding.as_ref();
            let same = broken.is_some_and(|f| f.rule.name == self.found.finding.rule.name);
            if same && self.offer(candidate.clone()) {
                return true;
            }
        }
        false
    }

    /// Operations, and with them their steps, so that the others are interrupted where they were;
    /// or the operation alone.
    fn drop_ops(&mut self) {
        for cpu in 0..self.best.programs.len() {
            let mut at = self.best.programs[cpu].len();
            while at > 0 {
                at -= 1;
                let unrolled = Unrolled::new(self.bench, self.found.by, &self.best);
                let less = unrolled.without_op(self.bench, &self.found, cpu as u8, at);
                if self.offer(less) {
                    continue;
                }
                let mut candidate = self.best.clone();
                candidate.programs[cpu].remove(at);
                self.offer(candidate);
            }
        }
    }

    /// Fewer hand-overs: within a stretch of the schedule, each CPU takes its steps in one go.
    fn merge_turns(&mut self) {
        let mut length = self.best.schedule.len();
        while length > 2 {
            let mut at = 0;
            while at + length <= self.best.schedule.len() {
                let stretch = at..at + length;
                let orders = in_one_go(&self.best.schedule[stretch.clone()]);
                let merged = orders.into_iter().any(|order| {
                    let mut candidate = self.best.clone();
                    candidate.schedule.splice(stretch.clone(), order);
                    self.offer(candidate)
                });
                if !merged {
                    at += length.div_ceil(4);
                }
            }
            length = length * 3 / 4;
        }
    }

    fn simplify_machine(&mut self) {
        let least = |s: &mut Scenario| s.machine.tags = s.machine.cpus + 2;
        let changes: [fn(&mut Scenario); 6] = [
            least,
            |s| s.machine.levels = 2,
            |s| s.machine.granule = Granule::default(),
            |s| s.machine.domain = Domain::Private,
            |s| s.machine.bbm = Bbm::Level2,
            |s| s.machine.spaces = used_spaces(s),
        ];
        for change in changes {
            let mut candidate = self.best.clone();
            change(&mut candidate);
            self.offer(candidate);
        }
        for switch in self.best.machine.switches.iter() {
            let mut candidate = self.best.clone();
            candidate.machine.switches = candidate.machine.switches.with(switch, false);
            self.offer(candidate);
        }
    }

    /// Letters in the order of their first use.
    fn rename_spaces(&mut self) {
        let mut order: Vec<Space> = Vec::new();
        for op in self.best.programs.iter().flatten() {
            for space in [op.space(), op.other_space()].into_iter().flatten() {
                if !order.contains(&space) {
                    order.push(space);
                }
            }
        }
        let mut candidate = self.best.clone();
        for op in candidate.programs.iter_mut().flatten() {
            let rename = |space: &mut Space| {
                let place = order.iter().position(|s| s == space);
                *space = Space(place.unwrap_or(0) as u8);
            };
            op.space_mut().map(rename);
            op.other_space_mut().map(rename);
        }
        self.offer(candidate);
    }

    /// Whole walks for partial ones, smaller counts, stores in order, newer values.
    fn simplify_slots(&mut self) {
        for at in 0..self.best.schedule.len() {
            let Some(slot) = self.best.schedule.get(at).cloned() else {
                return;
            };
            let simpler: Vec<Slot> = match slot {
                Slot::Walk {
                    cpu,
                    va,
                    old,
                    steps,
                } => [(false, None), (old, None), (false, steps)]
                    .into_iter()
                    .filter(|simple| *simple != (old, steps))
                    .map(|(old, steps)| Slot::Walk {
                        cpu,
                        va,
                        old,
                        steps,
                    })
                    .collect(),
                Slot::Run {
                    cpu,
                    stop: Stop::Steps(n),
                } => [n / 2, n - n / 4, n.saturating_sub(1)]
                    .into_iter()
                    .filter(|fewer| *fewer > 0 && *fewer < n)
                    .map(|n| Slot::Run {
                        cpu,
                        stop: Stop::Steps(n),
                    })
                    .collect(),
                Slot::Drain { cpu, last: true } => vec![Slot::Drain { cpu, last: false }],
                Slot::Stale { cpu, by } => (1..by).map(|by| Slot::Stale { cpu, by }).collect(),
                _ => Vec::new(),
            };
            for slot in simpler {
                let mut candidate = self.best.clone();
                candidate.schedule[at] = slot;
                if self.offer(candidate) {
                    break;
                }
            }
        }
    }
}
