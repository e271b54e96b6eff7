// SPDX-License-Identifier: MIT OR Apache-2.0
//! `break-before-make`: a live descriptor may change its output address, or its size below FEAT_BBM level 2, only through invalid and a completed invalidation

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Bbm, Event, SLOTS, State, Use, arm64::Desc, level_size};

/// The rule.
pub const RULE: Rule = Rule {
    name: "break-before-make",
    class: Class::Protocol,
    why: "a live descriptor may change its output address, or its size below FEAT_BBM level 2, only through invalid and a completed invalidation",
    on: &[On::Pte],
    check,
};

fn check(_: &Facts, state: &State, event: &Event) -> Option<Breach> {
    let Event::Pte {
        cpu, pa, old, new, ..
    } = *event
    else {
        return None;
    };
    if !new.valid() {
        return None;
    }
    let Use::Table(Some(life)) = state.mem.frame(pa).usage else {
        return None;
    };
    if life != state.life(life.space) {
        return None;
    }
    let root = state.roots[life.space.0 as usize];
    let mut users = (0..state.config.cpus).filter_map(|c| {
        let ctx = state.loaded(c).filter(|ctx| ctx.root() == root)?;
        Some((c, ctx))
    });
    let (va, level) = state.locate(life.space, pa)?;
    let breach = |entry, what| {
        Some(Breach {
            cpu: Some(cpu),
            va: Some(va),
            entry,
            what,
        })
    };
    if old.valid() {
        users.next()?;
        let resized = old.is_table(level) != new.is_table(level);
        let moved = old.addr() != new.addr() && !resized;
        // Between a block and a table, the address is kept if the pages are the block's.
        let replaced = resized && !same_output(state, old, new, level);
        return if moved || replaced {
            breach(
                None,
                format!("the output address for {va:#x} changed without a break"),
            )
        } else if resized && state.config.bbm < Bbm::Level2 {
            breach(
                None,
                format!("the size of the mapping of {va:#x} changed without a break"),
            )
        } else {
            None
        };
    }
    let stale = users.find_map(|(c, ctx)| {
        let entries = state.tlb(c).entries.iter();
        entries.copied().find(|e| {
            e.leaf
                && e.desc_pa == pa
                && e.owner == Some(life)
                && e.usable(c, ctx.tags)
                && (e.desc.addr() != new.addr() || new.is_table(level))
        })
    })?;
    breach(
        Some(stale),
        format!("{va:#x} was made valid again while a TLB still has what was there before"),
    )
}

/// Whether a block, and a table that replaces it or is replaced by it, translate alike.
fn same_output(state: &State, old: Desc, new: Desc, level: u8) -> bool {
    let (table, block) = if old.is_table(level) {
        (old, new)
    } else {
        (new, old)
    };
    (0..SLOTS as u64).all(|i| {
        let page = state.mem.desc(table.addr() + i * 8);
        page.valid() && page.addr() == block.addr() + i * level_size(level + 1)
    })
}
