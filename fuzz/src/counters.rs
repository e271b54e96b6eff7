// SPDX-License-Identifier: MIT OR Apache-2.0
//! libFuzzer's extra counters: features beyond the edges of the code.

use core::sync::atomic::{AtomicU8, Ordering::Relaxed};
use shootdown::coverage::COUNTERS;

/// What libFuzzer reads after each run, and clears before it.
///
/// Safety of the section: libFuzzer takes everything in it for an array of bytes, from
/// `__start___libfuzzer_extra_counters` to `__stop_...`, and reads and writes them on the
/// thread that runs the target, between runs. `AtomicU8` has the size, alignment and bit
/// validity of `u8` and may be written through a shared place. Nothing else is put there.
#[used]
#[cfg_attr(
    any(target_os = "linux", target_os = "freebsd", target_os = "netbsd"),
    expect(unsafe_code, reason = "the one way to name a linker section"),
    unsafe(link_section = "__libfuzzer_extra_counters")
)]
static EXTRA: [AtomicU8; 2 * FOLDED] = [const { AtomicU8::new(0) }; 2 * FOLDED];

/// Counters that hand-overs are folded into, and as many again for goals. With all of them
/// apart nearly every input is new in some way and the corpus grows to thousands. Folding
/// halved the mean time to kvm-vmid/invalid-local-flush (six seeds, much scatter), and did
/// arm64-asid/broadcast-flush no harm.
const FOLDED: usize = 128;

/// What a goal's counter is set to.
const GOAL: u8 = u8::MAX;

/// Shows counters to libFuzzer, which has cleared its own.
pub fn show(counters: &[u8; COUNTERS]) {
    // Most are zero, so they are passed over eight at a time.
    for (from, some) in (0..).step_by(8).zip(counters.chunks_exact(8)) {
        if some != [0; 8] {
            for (at, &count) in (from..).zip(some).filter(|(_, count)| **count > 0) {
                let half = usize::from(count == GOAL) * FOLDED;
                let place = &EXTRA[half + at % FOLDED];
                place.store(place.load(Relaxed).max(count), Relaxed);
            }
        }
    }
}
