// SPDX-License-Identifier: MIT OR Apache-2.0
//! One panicking function for each rule, so that crash de-duplication by stack keeps
//! the findings of different rules apart.

use shootdown::breach;
use shootdown::check::Found;

type Panic = fn(&str) -> !;

/// A function for each rule, and the table of them. The names are those of the rules'
/// modules; a rule without a line here fails a test.
macro_rules! rules {
    ($($rule:ident)*) => {
        $(
            #[cold]
            #[inline(never)]
            fn $rule(line: &str) -> ! {
                // The name makes each function's code its own: equal ones get merged.
                panic!("{}\nbroken: {}", line, shootdown_oracle::rules::$rule::RULE.name)
            }
        )*

        fn panics() -> Vec<(&'static str, Panic)> {
            vec![$((shootdown_oracle::rules::$rule::RULE.name, $rule as Panic)),*]
        }
    };
}

rules! {
    own_translations_only
    no_use_of_freed_frame
    no_use_after_unmap
    no_write_after_protect
    no_lost_write
    no_walk_of_freed_table
    no_store_to_freed_table
    no_leaked_table
    frame_freed_twice
    unique_asid_per_cpu
    unique_asid_all_cpus
    unique_vmid_per_cpu
    unique_vmid_all_cpus
    unique_asid_active_task
    same_asid_active_task
    tlb_empty_inval_pte
    flush_before_reuse
    no_conflicting_entries
    break_before_make
    dsb_before_tlbi
    dsb_after_tlbi
    ttl_mismatch
    restriction_scope
    no_illegal_instruction
    deadlock
    livelock
    no_mutual_undoing
    recurring_fault
    allocator_exhaustion
    matches_reference
    no_lost_mapping
    one_result
}

/// Ends the process with a finding.
pub fn finding(found: &Found) -> ! {
    let line = breach::Line::of(found).to_string();
    let name = found.finding.rule.name;
    match panics().iter().find(|(rule, _)| *rule == name) {
        Some((_, panic)) => panic(&line),
        None => panic!("{line}"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_rule_has_its_function() {
        let panics = super::panics();
        for rule in shootdown_oracle::RULES {
            assert!(
                panics.iter().any(|(name, _)| *name == rule.name),
                "{} has none",
                rule.name
            );
        }
        assert_eq!(panics.len(), shootdown_oracle::RULES.len());
    }
}
