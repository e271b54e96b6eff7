// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the four uniqueness rules of entries have in common.

use crate::{Breach, Facts};
use shootdown_machine::{Entry, Event, State};

/// Which entries a rule compares.
pub struct Kind {
    /// Tagged by VMID; else by ASID.
    pub vmid: bool,
    /// Shared by siblings (CnP); else seen by one CPU.
    pub shared: bool,
}

/// Two entries with one tag and two owners, in a TLB of a CPU that is outside the switch
/// code: there, nothing of the old owner is going to be flushed before a new use.
pub fn shared_tag(facts: &Facts, state: &State, event: &Event, kind: Kind) -> Option<Breach> {
    let pair = |cpu: u8, new: &Entry| -> Option<Breach> {
        if new.owner.is_none() || (new.vmid != 0) != kind.vmid {
            return None;
        }
        let old = state.tlb(cpu).entries.iter().find(|old| {
            let tag = old.vmid == new.vmid && (kind.vmid || old.asid == new.asid);
            let global = !kind.vmid && (old.global || new.global);
            let shared = old.cnp && new.cnp;
            tag && !global
                && old.owner.is_some()
                && old.owner != new.owner
                && shared == kind.shared
                && (shared || old.cpu == new.cpu)
                && (0..state.config.cpus).any(|c| settled_user(facts, state, c, cpu, old, new))
        })?;
        let (name, tag) = if kind.vmid {
            ("VMID", new.vmid)
        } else {
            ("ASID", new.asid)
        };
        Some(Breach {
            cpu: Some(cpu),
            va: Some(new.va),
            entry: Some(*old),
            what: format!(
                "{name} {tag} tags entries of {} and of {} in the TLB of cpu{cpu}",
                Facts::name(old.owner),
                Facts::name(new.owner)
            ),
        })
    };
    match event {
        Event::Fill { cpu, entry, .. } => pair(*cpu, entry),
        Event::Settled {
            cpu,
            switching: false,
            ..
        } => state.tlb(*cpu).entries.iter().find_map(|e| pair(*cpu, e)),
        _ => None,
    }
}

/// A CPU outside of the switch code that sees both.
fn settled_user(facts: &Facts, state: &State, c: u8, cpu: u8, a: &Entry, b: &Entry) -> bool {
    let running = &facts.cpus[c as usize];
    state.config.tlb_of(c) == state.config.tlb_of(cpu)
        && !running.switching
        && running.life.is_some()
        && a.visible(c, a.cnp)
        && b.visible(c, b.cnp)
}
