// SPDX-License-Identifier: MIT OR Apache-2.0
//! `no-store-to-freed-table`: a descriptor that is stored into a frame which is no table any more changes somebody else's memory

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State, Use};

/// The rule.
pub const RULE: Rule = Rule {
    name: "no-store-to-freed-table",
    class: Class::Observed,
    why: "a descriptor that is stored into a frame which is no table any more changes somebody else's memory",
    on: &[On::Pte],
    check,
};

fn check(_: &Facts, state: &State, event: &Event) -> Option<Breach> {
    let Event::Pte { cpu, pa, new, .. } = *event else {
        return None;
    };
    // A guest keeps its own tables in its pages, so that those may be stored to.
    (state.mem.frame(pa).usage == Use::Free).then(|| Breach {
        cpu: Some(cpu),
        ..Breach::new(format!(
            "\"{new}\" was stored at {pa:#x}, which has been freed"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::script::*;

    /// A descriptor is stored into a table that was unlinked, and freed or not.
    async fn store(s: &Scene<'_>, freed: bool) {
        let table = s.c0.pte_read(s.pmd(A, 0x1000)).await.addr();
        s.begin(s.c0, Op::Unmap(A, 0x1000));
        s.c0.pte_xchg(s.pmd(A, 0x1000), Desc::INVALID).await;
        flush(s.c0, Tlbi::all(Kind::Vmalle1is)).await;
        if freed {
            s.c0.free(table).await;
        }
        s.c0.pte_write(table, Desc::INVALID).await;
    }

    #[test]
    fn good_store_to_an_unlinked_table() {
        assert_eq!(stage1(private(), async |s| store(s, false).await), None);
    }

    #[test]
    fn bad_store_to_a_freed_one() {
        let broken = stage1(private(), async |s| store(s, true).await);
        assert_eq!(broken, Some(RULE.name));
    }
}
