// SPDX-License-Identifier: MIT OR Apache-2.0
//! `TLBEmptyInvalPTE`: once an invalidation has returned, no entry that a running space can use may hold what it invalidated

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Entry, Event, State, arm64::Stage};

/// The rule.
pub const RULE: Rule = Rule {
    name: "TLBEmptyInvalPTE",
    class: Class::Latent,
    why: "once an invalidation has returned, no entry that a running space can use may hold what it invalidated",
    on: &[On::End, On::Settled, On::Context, On::Fill],
    check,
};

fn check(facts: &Facts, state: &State, event: &Event) -> Option<Breach> {
    for cpu in 0..state.config.cpus {
        let runs = facts.cpus[cpu as usize].life;
        let concerned = match event {
            Event::End { op, .. } => runs.is_some_and(|l| op.space() == Some(l.space)),
            Event::Fill { entry, .. } => runs.is_some() && entry.owner == runs,
            Event::Context { cpu: c } | Event::Settled { cpu: c, .. } => *c == cpu,
            _ => false,
        };
        if !concerned {
            continue;
        }
        let Some((life, ctx)) = facts.settled_on(state, cpu) else {
            continue;
        };
        let usable = |e: &&Entry| {
            e.leaf && e.stage == Stage::One && e.owner == Some(life) && e.usable(cpu, ctx.tags)
        };
        let stale = match event {
            Event::Fill { entry, .. } => {
                let entry = Some(entry).filter(usable);
                entry.and_then(|e| Some((e, facts.stale(state, life, e)?)))
            }
            _ => {
                let mut entries = state.tlb(cpu).entries.iter().filter(usable);
                entries.find_map(|e| Some((e, facts.stale(state, life, e)?)))
            }
        };
        if let Some((entry, (va, why))) = stale {
            return Some(Breach {
                cpu: Some(cpu),
                va: Some(va),
                entry: Some(*entry),
                what: format!(
                    "cpu{cpu} runs {} and can use an entry for {va:#x} with {why}",
                    Facts::name(Some(life))
                ),
            });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::script::*;

    /// CPU 1 runs A and has the page cached.
    async fn unmap(s: &Scene<'_>, asid: u16) {
        s.switch(s.c1, A, 1).await;
        s.c1.access(0x1000, Access::Read).await;
        s.begin(s.c0, Op::Unmap(A, 0x1000));
        s.c0.pte_xchg(s.pte(A, 0x1000), Desc::INVALID).await;
        flush(s.c0, Tlbi::addr(Kind::Vale1is, 0x1000, asid, Ttl::Level(3))).await;
        s.end(s.c0, Op::Unmap(A, 0x1000), Done::Yes);
    }

    #[test]
    fn good_tlbi_under_the_spaces_asid() {
        assert_eq!(stage1(private(), async |s| unmap(s, 1).await), None);
    }

    #[test]
    fn bad_tlbi_under_another_asid() {
        let broken = stage1(private(), async |s| unmap(s, 2).await);
        assert_eq!(broken, Some(RULE.name));
    }

    /// A walk that has read the old descriptor inserts it after the unmap has returned.
    async fn unmap_under_a_walk(s: &Scene<'_>, kind: Kind) {
        s.switch(s.c1, A, 1).await;
        s.walk(s.c1, 0x1000, Some(3));
        s.begin(s.c0, Op::Unmap(A, 0x1000));
        s.c0.pte_xchg(s.pte(A, 0x1000), Desc::INVALID).await;
        flush(s.c0, by_addr(kind, 0x1000)).await;
        s.end(s.c0, Op::Unmap(A, 0x1000), Done::Yes);
        s.walk(s.c1, 0x1000, Some(1));
    }

    #[test]
    fn good_tlbi_catches_the_walk() {
        let script = async |s: &Scene<'_>| unmap_under_a_walk(s, Kind::Vale1is).await;
        assert_eq!(stage1(private(), script), None);
    }

    #[test]
    fn bad_local_tlbi_misses_the_walk() {
        let script = async |s: &Scene<'_>| unmap_under_a_walk(s, Kind::Vale1).await;
        assert_eq!(stage1(private(), script), Some(RULE.name));
    }
}
