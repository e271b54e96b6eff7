// SPDX-License-Identifier: MIT OR Apache-2.0
//! The windows: how much earlier or later a CPU could have stopped for another.

use super::Verdict;
use super::unroll::{Unrolled, stand};
use crate::check::{Found, Subject};
use crate::exec::Bench;
use crate::report::with_run;
use crate::report::words::site;
use crate::scenario::{Scenario, Slot};
use crate::turns::turns;

/// Steps of a turn that are tried, at most.
const MOST: u16 = 2000;

/// Where a CPU stands that is done.
const END: &str = "its end";

/// Where a CPU stands: before its next step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The run's last step so far.
    pub step: u32,
    /// What the CPU does next, where in the port, and in which operation.
    pub before: String,
}

/// A CPU stops, and another goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HandOver {
    /// The CPU that stops.
    pub cpu: u8,
    /// Where it does.
    pub at: Place,
    /// The first place where it might, with the same finding.
    pub first: Place,
    /// The last.
    pub last: Place,
    /// Places from the first to the last.
    pub places: u32,
}

/// The hand-overs that a finding needs, each with its window: all else being equal, the CPU
/// may stop anywhere from the first place to the last, and the same rule is broken.
pub fn hand_overs(bench: &mut Bench, scenario: &Scenario, found: &Found) -> Vec<HandOver> {
    let by = found.by;
    let unrolled = Unrolled::new(bench, by, scenario);
    let wanted = Verdict::of(Some(found));
    let mut all = Vec::new();
    for slot in 0..scenario.schedule.len() {
        let Slot::Run { cpu, .. } = scenario.schedule[slot] else {
            continue;
        };
        let now = unrolled.steps(slot);
        // What one turn loses, the CPU's next one gains, so that it ends where it did.
        let next = (slot + 1..scenario.schedule.len()).find(
            |later| matches!(scenario.schedule[*later], Slot::Run { cpu: c, .. } if c == cpu),
        );
        let spare = next.map_or(MOST - now.min(MOST), |next| unrolled.steps(next));
        let moved = |steps: u16| {
            let mut lengths = vec![(slot, steps)];
            lengths.extend(next.map(|next| (next, unrolled.steps(next) + now - steps)));
            unrolled.with_steps(&lengths)
        };
        // As far as the CPU gets at all.
        let longest = turns(bench, by, &moved(now + spare)).swap_remove(slot);
        let longest = longest.map_or(now, |turn| turn.steps);
        let mut same = |steps: u16| Verdict::check(bench, &moved(steps), &[by]) == wanted;
        let first = (0..now).rev().take_while(|steps| same(*steps)).last();
        let last = (now + 1..=longest).take_while(|steps| same(*steps)).last();
        let (first, last) = (first.unwrap_or(now), last.unwrap_or(now));
        let mut place = |steps| place(bench, by, &moved(steps), slot, found);
        if let (Some(at), Some(first_at), Some(last_at)) = (place(now), place(first), place(last)) {
            if at.before == END {
                continue; // nobody made it stop
            }
            all.push(HandOver {
                cpu,
                at,
                first: first_at,
                last: last_at,
                places: u32::from(last - first) + 1,
            });
        }
    }
    all
}

/// Where the CPU of a slot stands after it.
fn place(
    bench: &mut Bench,
    by: Subject,
    scenario: &Scenario,
    slot: usize,
    found: &Found,
) -> Option<Place> {
    let stand = stand(bench, by, scenario, slot)?;
    let cpu = scenario.schedule[slot].cpu();
    let before = with_run(bench, scenario, by, &found.finding, |run| {
        let at = run.trace.partition_point(|t| t.0 <= stand.step);
        let span = run.span(cpu, at.saturating_sub(1));
        match stand.next {
            Some(next) => {
                let of = span.map_or(String::new(), |s| format!(", in \"{}\"", s.op));
                format!("{} ({}){of}", run.brief(next.act, at), site(next.site))
            }
            None => {
                let later = |s: &&crate::report::Span| s.cpu == cpu && s.begin >= at;
                match run.spans.iter().find(later) {
                    Some(s) => format!("\"{}\"", s.op),
                    None => END.into(),
                }
            }
        }
    });
    Some(Place {
        step: stand.step,
        before,
    })
}
