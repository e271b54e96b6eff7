// SPDX-License-Identifier: MIT OR Apache-2.0
//! `no-conflicting-entries`: two entries of different size for one address raise a conflict abort or answer with a mix, unless FEAT_BBM level 2 vouches for it and they agree

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Bbm, Entry, Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "no-conflicting-entries",
    class: Class::Latent,
    why: "two entries of different size for one address raise a conflict abort or answer with a mix, unless FEAT_BBM level 2 vouches for it and they agree",
    on: &[On::Fill],
    check,
};

fn check(_: &Facts, state: &State, event: &Event) -> Option<Breach> {
    let Event::Fill {
        cpu, entry: new, ..
    } = event
    else {
        return None;
    };
    if !new.leaf {
        return None;
    }
    let old = state.tlb(*cpu).entries.iter().find(|old| {
        let tags = old.vmid == new.vmid && (old.global || new.global || old.asid == new.asid);
        let together = tags && (old.cpu == new.cpu || (old.cnp && new.cnp));
        old.id != new.id
            && old.leaf
            && old.stage == new.stage
            && old.owner == new.owner
            && together
            && old.overlaps(new)
            && !(state.config.bbm >= Bbm::Level2 && agree(old, new))
            && !(old.size == new.size && agree(old, new))
    })?;
    Some(Breach {
        cpu: Some(*cpu),
        va: Some(new.va.max(old.va)),
        entry: Some(*old),
        what: format!(
            "{:#x} has an entry of {:#x} bytes to {:#x} and one of {:#x} bytes to {:#x}",
            new.va.max(old.va),
            old.size,
            old.pa,
            new.size,
            new.pa
        ),
    })
}

/// Whether both translate what they have in common alike.
fn agree(a: &Entry, b: &Entry) -> bool {
    a.pa.wrapping_sub(a.va) == b.pa.wrapping_sub(b.va)
}
