// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stops within operations that come upon what another CPU has half done.
//!
//! A bug of three CPUs mostly has two of them interrupted: one in the middle of something, and one
//! that has seen it so. Which operation of the second that is, and where, no earlier run tells.

use super::conflicts::{About, of_word};
use fastrand::Rng;
use shootdown_machine::Act;

/// Until when a CPU goes on.
#[derive(Clone, Copy)]
enum Until {
    /// It comes upon something, and takes as many more steps that race.
    Met(usize),
    /// It has taken so many.
    Steps(usize),
    End,
}

/// Who is where within what was begun.
pub(super) struct Unfinished {
    /// By word: who wrote it last, and in which of its operations.
    wrote: Vec<Option<(u8, usize)>>,
    /// By CPU: the operations that it has begun.
    begun: [usize; 4],
    /// By CPU.
    until: [Until; 4],
}

impl Unfinished {
    /// Stops for all CPUs, mostly but for this one.
    pub(super) fn new(rng: &mut Rng, last: Option<u8>) -> Unfinished {
        let spared = last.filter(|_| rng.u8(..4) > 0);
        let most = if rng.bool() { 6 } else { 12 };
        let until = |cpu: usize| match spared == Some(cpu as u8) {
            true => Until::End,
            false => Until::Met(rng.usize(..most)),
        };
        Unfinished {
            wrote: Vec::new(),
            begun: [0; 4],
            until: core::array::from_fn(until),
        }
    }

    /// A CPU does this; `None`: it begins an operation.
    pub(super) fn did(&mut self, cpu: u8, act: Option<Act>) {
        match act {
            None => self.begun[cpu as usize] += 1,
            Some(Act::Store(word, ..) | Act::Rmw(word, ..)) => {
                let op = self.begun[cpu as usize];
                *of_word(&mut self.wrote, word as usize) = Some((cpu, op));
            }
            _ => {}
        }
    }

    /// Whether a CPU is to stop at this step, which races. `within`: whether one is in the middle
    /// of an operation.
    pub(super) fn stops(&mut self, cpu: u8, act: Option<Act>, within: impl Fn(u8) -> bool) -> bool {
        let until = self.until[cpu as usize];
        let (until, stops) = match until {
            Until::Steps(0) => (Until::End, true),
            Until::Steps(left) => (Until::Steps(left - 1), false),
            Until::Met(steps) if self.meets(cpu, act, within) => (Until::Steps(steps), false),
            _ => (until, false),
        };
        self.until[cpu as usize] = until;
        stops
    }

    /// Whether a step is about what another CPU has written in the operation that it is in.
    fn meets(&self, cpu: u8, act: Option<Act>, within: impl Fn(u8) -> bool) -> bool {
        let About::Word(word) = About::of(act) else {
            return false;
        };
        let Some(Some((by, op))) = self.wrote.get(word as usize).copied() else {
            return false;
        };
        by != cpu && op == self.begun[by as usize] && within(by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shootdown_machine::Order;

    const LOAD: Option<Act> = Some(Act::Load(5, Order::Relaxed));
    const STORE: Option<Act> = Some(Act::Store(5, 1, Order::Relaxed));

    /// The steps after which CPU 1 stops, who loads one word again and again. CPU 0 has stored to
    /// it, and is in the middle of that or not.
    fn stops(seed: u64, within: bool) -> Vec<usize> {
        let mut unfinished = Unfinished::new(&mut Rng::with_seed(seed), Some(2));
        unfinished.did(0, None);
        unfinished.did(0, STORE);
        let mut at = |_: &usize| unfinished.stops(1, LOAD, |cpu| cpu == 0 && within);
        (0..40).filter(&mut at).collect()
    }

    #[test]
    fn who_meets_what_is_half_done_is_stopped_once() {
        let at: std::collections::BTreeSet<_> = (0..200).map(|seed| stops(seed, true)).collect();
        let once: Vec<_> = (1..=12).map(|steps| vec![steps]).collect();
        assert_eq!(at.into_iter().collect::<Vec<_>>(), once);
        for seed in 0..20 {
            assert!(stops(seed, false).is_empty());
        }
    }

    #[test]
    fn what_an_operation_before_has_done_is_not_half_done() {
        let mut unfinished = Unfinished::new(&mut Rng::with_seed(1), None);
        unfinished.did(0, None);
        unfinished.did(0, STORE);
        assert!(unfinished.meets(1, LOAD, |_| true));
        assert!(!unfinished.meets(0, LOAD, |_| true), "its own");
        unfinished.did(0, None);
        assert!(!unfinished.meets(1, LOAD, |_| true));
    }

    #[test]
    fn the_last_mostly_goes_through() {
        let mut stopped = 0;
        for seed in 0..400 {
            let mut unfinished = Unfinished::new(&mut Rng::with_seed(seed), Some(1));
            unfinished.did(0, STORE);
            let mut at = |_: usize| unfinished.stops(1, LOAD, |_| true);
            stopped += usize::from((0..40).any(&mut at));
        }
        assert!((60..140).contains(&stopped), "{stopped}");
    }
}
