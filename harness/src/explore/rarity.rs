// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which programs are worth more schedules: those whose CPUs meet as few others' do. A bug that
//! any common program showed would be known by now.

use super::conflicts::{About, of_word, writes};
use shootdown_machine::Announced;
use shootdown_variants::source;
use std::collections::{HashMap, VecDeque};

/// The last programs, that one is compared with.
const RECENT: usize = 256;
/// One in so many of them is rare.
const RARE: usize = 10;

/// Where the CPUs of some programs meet, in all their runs so far. A meeting is a pair of places in
/// a port: at the second a CPU uses a word that another has used at the first, one of them writing.
#[derive(Clone, Default)]
pub(super) struct Meetings {
    /// By word, in this run: who used it last, whether by writing it, and where.
    used: Vec<Option<(u8, bool, u64)>>,
    /// The last meeting of this run.
    last: u64,
    /// Each, by a number for its pair of places.
    single: Vec<u64>,
    /// Each with the one before it in its run.
    double: Vec<u64>,
}

impl Meetings {
    /// Forgets everything, for other programs.
    pub(super) fn clear(&mut self) {
        self.begin();
        self.single.clear();
        self.double.clear();
    }

    /// A run begins.
    pub(super) fn begin(&mut self) {
        self.used.clear();
        self.last = 0;
    }

    /// What a CPU is about to do.
    pub(super) fn saw(&mut self, cpu: u8, next: Announced) {
        // What TLBs hold is like one word that accesses read and TLBIs write.
        let word = match About::of(Some(next.act)) {
            About::Tlbs => 0,
            About::Word(word) => word as usize + 1,
            About::Other => return,
        };
        let writes = writes(next.act);
        let used = of_word(&mut self.used, word);
        // Files are told apart by how long their names are: nearly always, and at once.
        let site = next.site;
        let file = source(site.file()).len() as u64;
        let here = mix(
            file,
            u64::from(site.line()) << 16 | u64::from(site.column()),
        );
        let mut hidden = false;
        if let Some((last, wrote, there)) = *used
            && last != cpu
            && (wrote || writes)
        {
            let pair = mix(there, here);
            self.double.push(mix(self.last, pair));
            self.single.push(pair);
            self.last = pair;
            // One that reads does not hide from the next what was written.
            hidden = !writes;
        }
        if !hidden {
            *used = Some((cpu, writes, here));
        }
    }
}

/// A number for two, in this order.
fn mix(first: u64, second: u64) -> u64 {
    let mixed = (first.rotate_left(23) ^ second).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 32
}

/// What was seen of the programs of a search.
#[derive(Clone, Default)]
pub(super) struct Rarity {
    /// In how many programs.
    seen: HashMap<u64, u64>,
    /// How common the last programs are.
    recent: VecDeque<u64>,
}

impl Rarity {
    /// Whether the next programs are among the rarest tenth, by the rarest of their meetings and
    /// the rarest two in a row.
    pub(super) fn is_rare(&mut self, meetings: &mut Meetings) -> bool {
        let single = self.count(&mut meetings.single);
        let double = self.count(&mut meetings.double);
        let Some((single, double)) = single.zip(double) else {
            return false; // nobody meets
        };
        let common = single.saturating_mul(double);
        let as_rare = self.recent.iter().filter(|other| **other <= common).count();
        let is_rare = as_rare * RARE <= self.recent.len();
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(common);
        is_rare
    }

    /// Counts that programs have these, and tells how many had the rarest.
    fn count(&mut self, things: &mut Vec<u64>) -> Option<u64> {
        things.sort_unstable();
        things.dedup();
        let count = |thing: &u64| {
            let seen = self.seen.entry(*thing).or_default();
            *seen += 1;
            *seen
        };
        things.iter().map(count).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::panic::Location;
    use fastrand::Rng;
    use shootdown_machine::arm64::{Kind, Tlbi};
    use shootdown_machine::{Access, Act, Order};

    /// What is done at the place of the caller.
    #[track_caller]
    fn here(act: Act) -> Announced {
        Announced {
            act,
            site: Location::caller(),
        }
    }

    fn load(word: u32) -> Act {
        Act::Load(word, Order::Relaxed)
    }

    fn store(word: u32) -> Act {
        Act::Store(word, 1, Order::Relaxed)
    }

    /// How many meetings one run has.
    fn meetings(steps: &[(u8, Announced)]) -> usize {
        let mut meetings = Meetings::default();
        for (cpu, next) in steps {
            meetings.saw(*cpu, *next);
        }
        meetings.single.len()
    }

    #[test]
    fn two_meet_at_a_word_that_one_of_them_writes() {
        assert_eq!(meetings(&[(0, here(load(5))), (1, here(load(5)))]), 0);
        assert_eq!(meetings(&[(0, here(load(5))), (1, here(store(5)))]), 1);
        assert_eq!(meetings(&[(0, here(store(5))), (1, here(load(5)))]), 1);
        assert_eq!(meetings(&[(0, here(store(5))), (1, here(store(6)))]), 0);
        assert_eq!(meetings(&[(0, here(store(5))), (0, here(load(5)))]), 0);
        // Two that read what a third has written, both meet that.
        let (write, read) = (here(store(5)), here(load(5)));
        assert_eq!(meetings(&[(0, write), (1, read), (2, read)]), 2);
    }

    #[test]
    fn an_access_meets_a_tlbi() {
        let tlbi = here(Act::Tlbi(Tlbi::all(Kind::Vmalle1is)));
        let access = here(Act::Access(0, Access::Read));
        assert_eq!(meetings(&[(0, tlbi), (1, access)]), 1);
        assert_eq!(meetings(&[(0, access), (1, access)]), 0);
    }

    #[test]
    fn a_meeting_is_known_by_its_places() {
        let (one, other) = (here(store(5)), here(store(5)));
        let mut meetings = Meetings::default();
        for steps in [[one, other], [one, other], [other, one]] {
            meetings.begin();
            meetings.saw(0, steps[0]);
            meetings.saw(1, steps[1]);
        }
        assert_eq!(meetings.single.len(), 3);
        assert_eq!(meetings.single[0], meetings.single[1]);
        assert_ne!(meetings.single[0], meetings.single[2]);
        meetings.clear();
        assert!(meetings.single.is_empty() && meetings.double.is_empty());
    }

    /// Programs with these meetings.
    fn programs(of: &[u64]) -> Meetings {
        Meetings {
            single: of.to_vec(),
            double: of.to_vec(),
            ..Meetings::default()
        }
    }

    #[test]
    fn what_few_have_is_rare() {
        let mut rarity = Rarity::default();
        for _ in 0..100 {
            rarity.is_rare(&mut programs(&[1, 2]));
        }
        assert!(!rarity.is_rare(&mut programs(&[1, 2])));
        assert!(rarity.is_rare(&mut programs(&[1, 2, 3])));
        // Nor is it rare that nobody meets.
        assert!(!rarity.is_rare(&mut programs(&[])));
    }

    #[test]
    fn a_tenth_is_rare() {
        let (mut rarity, mut rng) = (Rarity::default(), Rng::with_seed(1));
        let mut rare = 0;
        for _ in 0..5000 {
            // Small numbers are common.
            let mut some = || 1000 / rng.u64(1..=1000);
            let of = [some(), some(), some()];
            rare += u32::from(rarity.is_rare(&mut programs(&of)));
        }
        assert!((250..750).contains(&rare), "{rare}");
    }
}
