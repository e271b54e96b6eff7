// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names for what steps touch.

use shootdown_machine::{Act, Name, State};

/// The kernel variable (or lock) that a step accesses; `None`: a descriptor, or nothing.
pub fn variable(state: &State, act: &Act) -> Option<Name> {
    let word = match act {
        Act::Load(w, _) | Act::Store(w, ..) | Act::Rmw(w, ..) | Act::Lock(w) | Act::Unlock(w) => *w,
        _ => return None,
    };
    state.mem.names.get(word as usize).copied()
}
