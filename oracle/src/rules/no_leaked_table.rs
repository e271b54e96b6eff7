// SPDX-License-Identifier: MIT OR Apache-2.0
//! `no-leaked-table`: when a space has ended, its tables must be free, or wait for a grace period or for who has them loaded

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Done, Event, Op, Space, State, Use};

/// The rule.
pub const RULE: Rule = Rule {
    name: "no-leaked-table",
    class: Class::Liveness,
    why: "when a space has ended, its tables must be free, or wait for a grace period or for who has them loaded",
    on: &[On::End],
    check,
};

fn check(facts: &Facts, state: &State, event: &Event) -> Option<Breach> {
    let Event::End {
        cpu,
        op: Op::Exit(space),
        done: Done::Yes,
        ..
    } = *event
    else {
        return None;
    };
    // A CPU that is lazy with the space has its root loaded, and frees it when it leaves. One that
    // is just leaving may have done all but that.
    let lazy = |pa: u64| {
        (0..).zip(&facts.cpus).any(|(cpu, running)| {
            running.switching || state.loaded(cpu).is_some_and(|ctx| ctx.root() == pa)
        })
    };
    // Another space that shares the table frees it.
    let others = |pa: u64| {
        let mut spaces = (0..state.config.spaces).map(Space);
        spaces.any(|s| state.locate(s, pa).is_some())
    };
    // Nobody else can be working on a space that ends.
    let now = state.life(space);
    let leaked = state.mem.in_use().find(|(pa, usage)| match usage {
        Use::Table(Some(life)) => {
            life.space == space
                && life.nth < now.nth
                && !state.waits_for_grace(*pa)
                && !lazy(*pa)
                && !others(*pa)
        }
        _ => false,
    });
    leaked.map(|(pa, usage)| Breach {
        cpu: Some(cpu),
        ..Breach::new(format!(
            "{} has ended, and nothing will ever free its table {pa:#x}",
            Facts::name(usage.life())
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::script::*;

    /// A space ends; what its root pointed to is freed, or forgotten.
    async fn exit(s: &Scene<'_>, freed: bool) {
        let table = s.c0.pte_read(s.pmd(A, 0x1000)).await.addr();
        let root = s.oracle(|_, state| state.roots[A.0 as usize]);
        s.begin(s.c0, Op::Exit(A));
        if freed {
            s.c0.free(table).await;
        }
        s.c0.new_root(A).await;
        // A grace period may outlast the operation.
        s.c1.local_irq_save().await;
        s.c0.tlb_remove_table(root).await;
        s.end(s.c0, Op::Exit(A), Done::Yes);
    }

    #[test]
    fn good_exit_that_frees_everything() {
        assert_eq!(stage1(private(), async |s| exit(s, true).await), None);
    }

    /// A space ends without its root being freed, which CPU 1 may have loaded.
    async fn keep_root(s: &Scene<'_>, lazy: bool) {
        if lazy {
            s.load(s.c1, A, 1).await;
        }
        let table = s.c0.pte_read(s.pmd(A, 0x1000)).await.addr();
        s.begin(s.c0, Op::Exit(A));
        s.c0.free(table).await;
        s.c0.new_root(A).await;
        s.end(s.c0, Op::Exit(A), Done::Yes);
    }

    #[test]
    fn good_root_that_a_lazy_cpu_has_loaded() {
        assert_eq!(stage1(private(), async |s| keep_root(s, true).await), None);
    }

    #[test]
    fn bad_root_that_nobody_has_loaded() {
        let broken = stage1(private(), async |s| keep_root(s, false).await);
        assert_eq!(broken, Some(RULE.name));
    }

    /// B has A's table too when A ends, or has not.
    async fn exit_shared(s: &Scene<'_>, shared: bool) {
        let table = s.c0.pte_read(s.pmd(A, 0x1000)).await;
        let root = s.oracle(|_, state| state.roots[A.0 as usize]);
        if shared {
            s.c0.pte_xchg(s.pmd(B, 0x1000), table).await;
        }
        s.begin(s.c0, Op::Exit(A));
        s.c0.new_root(A).await;
        s.c0.free(root).await;
        s.end(s.c0, Op::Exit(A), Done::Yes);
    }

    #[test]
    fn good_exit_that_leaves_a_table_to_who_shares_it() {
        assert_eq!(
            stage1(private(), async |s| exit_shared(s, true).await),
            None
        );
        let broken = stage1(private(), async |s| exit_shared(s, false).await);
        assert_eq!(broken, Some(RULE.name));
    }

    #[test]
    fn bad_exit_that_forgets_a_table() {
        let broken = stage1(private(), async |s| exit(s, false).await);
        assert_eq!(broken, Some(RULE.name));
    }
}
