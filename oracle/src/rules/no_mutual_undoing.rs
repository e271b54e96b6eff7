// SPDX-License-Identifier: MIT OR Apache-2.0
//! `no-mutual-undoing`: a fault handler that breaks a mapping only to make it again as it was takes from other CPUs what they have just been given; two that do so can go on for ever

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, Op, State, Use, level_size};

/// The rule.
pub const RULE: Rule = Rule {
    name: "no-mutual-undoing",
    class: Class::Liveness,
    why: "a fault handler that breaks a mapping only to make it again as it was takes from other CPUs what they have just been given; two that do so can go on for ever",
    on: &[On::Pte],
    check,
};

fn check(facts: &Facts, state: &State, event: &Event) -> Option<Breach> {
    let Event::Pte { cpu, pa, new, .. } = *event else {
        return None;
    };
    let running = &facts.cpus[cpu as usize];
    let (Some((Op::Touch(va, _), ..)), Some((at, old))) = (running.op, running.broke) else {
        return None;
    };
    let Use::Table(Some(life)) = state.mem.frame(pa).usage else {
        return None;
    };
    if at != pa || old != new || !new.valid() {
        return None;
    }
    // Neighbours of the page that the fault is for may have to change with it, as in a group.
    let (first, level) = state.locate(life.space, pa)?;
    (first..first + level_size(level))
        .contains(&va)
        .then(|| Breach {
            cpu: Some(cpu),
            va: Some(first),
            entry: None,
            what: format!("a fault on cpu{cpu} has broken {new} and made the same again"),
        })
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::script::*;

    /// A fault of CPU 0 on a page that is mapped by the time that it is handled.
    async fn fault(s: &Scene<'_>, op: Op, other_permission: bool) {
        s.switch(s.c0, A, 1).await;
        let pte = s.pte(A, 0x1000);
        s.begin(s.c0, op);
        let old = s.c0.pte_xchg(pte, Desc::BUSY).await;
        flush(s.c0, by_addr(Kind::Vale1is, 0x1000)).await;
        let new = if other_permission {
            old.with_writable(Stage::One, false)
        } else {
            old
        };
        s.c0.pte_write_release(pte, new).await;
    }

    #[test]
    fn good_fault_that_changes_something() {
        let op = Op::Touch(0x1000, Access::Read);
        assert_eq!(stage1(private(), async |s| fault(s, op, true).await), None);
    }

    /// What one fault has broken and made anew, the next gives its old value, without a break.
    #[test]
    fn good_fault_after_another() {
        let op = Op::Touch(0x1000, Access::Read);
        let broken = stage1(private(), async |s| {
            fault(s, op, true).await;
            let pte = s.pte(A, 0x1000);
            let old = s.c0.pte_read(pte).await.with_writable(Stage::One, true);
            s.c0.pte_write_release(pte, old).await;
        });
        assert_eq!(broken, None);
    }

    /// What one fault has broken and made anew, another CPU takes away. That the access faults
    /// again and gets the old value is not the break's other half.
    #[test]
    fn good_fault_after_another_cpu() {
        let op = Op::Touch(0x1000, Access::Read);
        let broken = stage1(private(), async |s| {
            let pte = s.pte(A, 0x1000);
            let old = s.c0.pte_read(pte).await;
            fault(s, op, true).await;
            s.c1.pte_xchg(pte, Desc::INVALID).await;
            flush(s.c1, by_addr(Kind::Vale1is, 0x1000)).await;
            s.c0.pte_cmpxchg(pte, Desc::INVALID, Desc::BUSY).await;
            s.c0.pte_write_release(pte, old).await;
        });
        assert_eq!(broken, None);
    }

    /// Only faults are tried again until they succeed.
    #[test]
    fn good_operation_that_is_no_fault() {
        let op = Op::Protect(A, 0x1000, Prot::Rw);
        assert_eq!(stage1(private(), async |s| fault(s, op, false).await), None);
    }

    #[test]
    fn bad_fault_that_makes_the_same_again() {
        let op = Op::Touch(0x1000, Access::Read);
        let broken = stage1(private(), async |s| fault(s, op, false).await);
        assert_eq!(broken, Some(RULE.name));
    }
}
