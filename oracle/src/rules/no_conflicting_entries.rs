// SPDX-License-Identifier: MIT OR Apache-2.0
//! `no-conflicting-entries`: two entries of different size for one address raise a conflict abort or answer with a mix, unless FEAT_BBM level 2 vouches for it and they agree

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Arch, Bbm, Entry, Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "no-conflicting-entries",
    class: Class::Latent,
    why: "two entries of different size for one address raise a conflict abort or answer with a mix, unless FEAT_BBM level 2 vouches for it and they agree",
    on: &[On::Fill, On::Settled, On::Context],
    check,
};

fn check(facts: &Facts, state: &State, event: &Event) -> Option<Breach> {
    let filled = match event {
        Event::Fill { entry, .. } if entry.leaf => Some(entry),
        Event::Fill { .. } => return None,
        _ => None,
    };
    let one = match event {
        Event::Settled { cpu, .. } | Event::Context { cpu } => Some(*cpu),
        _ => None,
    };
    // Any of several answers there, and fences by address reach them all.
    if state.config.arch == Arch::Riscv {
        return None;
    }
    for cpu in 0..state.config.cpus {
        let owner = facts.cpus[cpu as usize].life;
        // An entry of another space is no concern of this CPU, nor another CPU's context.
        if one.is_some_and(|c| c != cpu) || filled.is_some_and(|e| e.owner != owner) {
            continue;
        }
        let Some((life, ctx)) = facts.settled_on(state, cpu) else {
            continue;
        };
        let usable = |e: &&Entry| e.leaf && e.owner == Some(life) && e.usable(cpu, ctx.tags);
        let entries = &state.tlb(cpu).entries;
        let pair = match filled {
            Some(new) => {
                let new = Some(new).filter(usable);
                new.and_then(|new| {
                    let old = entries
                        .iter()
                        .filter(usable)
                        .find(|old| conflict(state, old, new));
                    Some((old?, new))
                })
            }
            None => entries
                .iter()
                .filter(usable)
                .enumerate()
                .find_map(|(i, old)| {
                    let mut later = entries[i + 1..].iter().filter(usable);
                    Some((old, later.find(|new| conflict(state, old, new))?))
                }),
        };
        if let Some((old, new)) = pair {
            let va = new.va.max(old.va);
            return Some(Breach {
                cpu: Some(cpu),
                va: Some(va),
                entry: Some(*old),
                what: format!(
                    "{va:#x} has an entry of {:#x} bytes to {:#x} and one of {:#x} bytes to {:#x}",
                    old.size, old.pa, new.size, new.pa
                ),
            });
        }
    }
    None
}

/// Whether hardware may be at a loss with the two. On x86, which of them answers may vary from one
/// access to the next, so that software must not change the size together with the page frame, the
/// access rights or other attributes (Intel SDM vol. 3, 4.10.2.3 "Details of TLB Use").
fn conflict(state: &State, old: &Entry, new: &Entry) -> bool {
    if state.config.arch == Arch::X86 {
        let alike = agree(old, new) && old.writable == new.writable && old.global == new.global;
        return old.size != new.size && old.overlaps(new) && !alike;
    }
    let resized = old.size != new.size && state.config.bbm < Bbm::Level2;
    old.id != new.id && old.stage == new.stage && old.overlaps(new) && (resized || !agree(old, new))
}

/// Whether both translate what they have in common alike.
fn agree(a: &Entry, b: &Entry) -> bool {
    a.pa.wrapping_sub(a.va) == b.pa.wrapping_sub(b.va)
}

#[cfg(test)]
mod tests {
    use super::{RULE, conflict};
    use crate::script::*;
    use shootdown_machine::{Arch, Entry};

    /// A walk of CPU 1 has read the block when CPU 0 replaces it by pages, with a break.
    async fn split(s: &Scene<'_>, asid: u16) {
        s.switch(s.c1, A, 1).await;
        s.walk(s.c1, 0x4000, Some(2));
        s.begin(s.c0, Op::Split(A, 0x4000));
        let table = s.split_table(s.c0, A, 0x4000).await;
        s.c0.pte_xchg(s.pmd(A, 0x4000), Desc::INVALID).await;
        flush(s.c0, Tlbi::addr(Kind::Vale1is, 0x4000, asid, Ttl::Level(2))).await;
        s.c0.pte_write_release(s.pmd(A, 0x4000), Desc::table(table))
            .await;
        s.c1.access(0x5000, Access::Read).await;
        s.walk(s.c1, 0x4000, Some(1));
    }

    fn level0() -> Config {
        Config {
            bbm: Bbm::Level0,
            ..private()
        }
    }

    #[test]
    fn good_tlbi_catches_the_walk() {
        assert_eq!(stage1(level0(), async |s| split(s, 1).await), None);
    }

    #[test]
    fn bad_tlbi_for_another_asid() {
        let broken = stage1(level0(), async |s| split(s, 2).await);
        assert_eq!(broken, Some(RULE.name));
    }

    #[test]
    fn good_entries_that_agree_at_level_2() {
        assert_eq!(stage1(private(), async |s| split(s, 2).await), None);
    }

    /// On x86, a size may change in place; not together with the permission.
    #[test]
    fn sizes_and_permissions_on_x86() {
        let mut made = None;
        play(private(), Stage::One, async |s| {
            s.switch(s.c0, A, 1).await;
            s.c0.access(0x4000, Access::Read).await;
            made =
                s.c0.with(|state| state.tlb(0).entries.iter().find(|e| e.leaf).copied());
        });
        let large = made.expect("an entry");
        let small = |writable| Entry {
            id: large.id + 1,
            size: PAGE,
            level: 3,
            writable,
            ..large
        };
        let mut state = State::default();
        state.config.arch = Arch::X86;
        assert!(!conflict(&state, &large, &small(large.writable)));
        assert!(conflict(&state, &large, &small(!large.writable)));
    }
}
