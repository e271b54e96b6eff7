// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rules: one file each, and one line here.

pub mod allocator_exhaustion;
pub mod break_before_make;
pub mod deadlock;
pub mod dsb_after_tlbi;
pub mod dsb_before_tlbi;
pub mod flush_before_reuse;
pub mod frame_freed_twice;
pub mod livelock;
pub mod matches_reference;
pub mod no_conflicting_entries;
pub mod no_illegal_instruction;
pub mod no_leaked_table;
pub mod no_lost_mapping;
pub mod no_lost_write;
pub mod no_mutual_undoing;
pub mod no_store_to_freed_table;
pub mod no_use_after_unmap;
pub mod no_use_of_freed_frame;
pub mod no_walk_of_freed_table;
pub mod no_write_after_protect;
pub mod one_result;
pub mod own_translations_only;
pub mod recurring_fault;
pub mod restriction_scope;
pub mod same_asid_active_task;
mod tags;
pub mod tlb_empty_inval_pte;
pub mod ttl_mismatch;
pub mod unique_asid_active_task;
pub mod unique_asid_all_cpus;
pub mod unique_asid_per_cpu;
pub mod unique_vmid_all_cpus;
pub mod unique_vmid_per_cpu;

use crate::facts::{Covering, Debt};
use crate::{Breach, Facts, Rule};
use shootdown_machine::{Entry, Event, Life, Outcome, Page, State, Use, Va};

/// Every rule. Where one event breaks several, the first here is the one reported.
pub const RULES: &[&Rule] = &[
    &own_translations_only::RULE,
    &no_use_of_freed_frame::RULE,
    &no_use_after_unmap::RULE,
    &no_write_after_protect::RULE,
    &no_lost_write::RULE,
    &no_walk_of_freed_table::RULE,
    &no_store_to_freed_table::RULE,
    &frame_freed_twice::RULE,
    &no_illegal_instruction::RULE,
    &unique_asid_per_cpu::RULE,
    &unique_asid_all_cpus::RULE,
    &unique_vmid_per_cpu::RULE,
    &unique_vmid_all_cpus::RULE,
    &unique_asid_active_task::RULE,
    &same_asid_active_task::RULE,
    &tlb_empty_inval_pte::RULE,
    &flush_before_reuse::RULE,
    &no_conflicting_entries::RULE,
    &break_before_make::RULE,
    &dsb_before_tlbi::RULE,
    &dsb_after_tlbi::RULE,
    &ttl_mismatch::RULE,
    &restriction_scope::RULE,
    &deadlock::RULE,
    &livelock::RULE,
    &recurring_fault::RULE,
    &no_mutual_undoing::RULE,
    &no_leaked_table::RULE,
    &allocator_exhaustion::RULE,
    &matches_reference::RULE,
    &no_lost_mapping::RULE,
    &one_result::RULE,
];

/// An access that reached memory: CPU, address and the entry it went through.
fn reached(event: &Event) -> Option<(u8, Va, Entry)> {
    match *event {
        Event::Accessed {
            cpu,
            va,
            outcome: Outcome::Done,
            via: Some(entry),
            ..
        } => Some((cpu, va, entry)),
        _ => None,
    }
}

/// Whether a space may map a frame at all: a page that is its own, or has been shared. Which
/// of those it maps, and where, is for the reference to say.
pub(crate) fn may_map(state: &State, life: Life, pa: u64) -> bool {
    let frame = state.mem.frame(pa);
    matches!(frame.usage, Use::Page(owner, _) if owner == life || frame.shared)
}

/// The page of its own space that an access reached.
fn own_page(facts: &Facts, state: &State, cpu: u8, va: Va, entry: &Entry) -> Option<(Life, Page)> {
    let life = facts.cpus[cpu as usize].life?;
    let pa = entry.pa + (va - entry.va);
    match state.mem.frame(pa).usage {
        Use::Page(_, page) if entry.owner == Some(life) && may_map(state, life, pa) => {
            Some((life, page))
        }
        _ => None,
    }
}

/// What an operation that returns has not made good. Only where it did issue a TLBI for it:
/// whether one is needed at all is for the latent and observed rules to say.
fn owed(
    facts: &Facts,
    event: &Event,
    wrong: impl Fn(&Debt, &Covering) -> Option<String>,
) -> Option<Breach> {
    let Event::End { cpu, .. } = *event else {
        return None;
    };
    facts.cpus[cpu as usize].debts.iter().find_map(|debt| {
        let what = debt
            .best
            .iter()
            .flatten()
            .find_map(|covering| wrong(debt, covering))?;
        let space = Facts::name(Some(debt.life));
        Some(Breach {
            cpu: Some(cpu),
            va: Some(debt.va),
            entry: None,
            what: format!("{space} {:#x} changed at {}: {what}", debt.va, debt.site),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_found() {
        let names: BTreeSet<_> = RULES.iter().map(|r| r.name).collect();
        assert_eq!(names.len(), RULES.len());
        for rule in RULES {
            assert_eq!(crate::rule(rule.name).map(|r| r.why), Some(rule.why));
        }
        assert!(crate::rule("no-such-rule").is_none());
    }

    /// A file of `rules/` without its line in [`RULES`] would never be asked.
    #[test]
    fn every_rule_is_listed() {
        let files = include_str!("mod.rs").matches("\npub mod ").count();
        assert_eq!(files, RULES.len());
    }

    #[test]
    fn every_rule_says_why() {
        for rule in RULES {
            assert!(
                !rule.why.is_empty() && !rule.why.ends_with('.'),
                "{}",
                rule.name
            );
        }
    }
}
