// SPDX-License-Identifier: MIT OR Apache-2.0
//! `no-lost-mapping`: an access to a page that stays mapped must succeed

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Access, Done, Event, Op, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "no-lost-mapping",
    class: Class::Differential,
    why: "an access to a page that stays mapped must succeed",
    on: &[On::End],
    check,
};

fn check(facts: &Facts, _: &State, event: &Event) -> Option<Breach> {
    let Event::End {
        cpu,
        op: Op::Touch(va, access),
        done: Done::Fault,
        ..
    } = *event
    else {
        return None;
    };
    let running = &facts.cpus[cpu as usize];
    let life = running.life?;
    let cell = facts.reference.cell(life.space, va)?;
    let may_fault = cell
        .values()
        .iter()
        .any(|v| v.page.is_none() || (access == Access::Write && !v.writable));
    (cell.settled() && !running.disturbed && !may_fault).then(|| Breach {
        cpu: Some(cpu),
        va: Some(va),
        entry: None,
        what: format!(
            "{} was refused {va:#x}, which is mapped and permits it",
            Facts::name(Some(life))
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::script::*;

    /// CPU 1 touches a block that CPU 0 is splitting with a break. To its user, nothing
    /// changes: the fault must be waited out.
    async fn touch(s: &Scene<'_>, again: bool) {
        let (pmd, touch) = (s.pmd(A, 0x4000), Op::Touch(0x5000, Access::Read));
        s.switch(s.c1, A, 1).await;
        s.begin(s.c0, Op::Split(A, 0x4000));
        let table = s.split_table(s.c0, A, 0x4000).await;
        s.c0.pte_xchg(pmd, Desc::INVALID).await;
        flush(s.c0, by_addr(Kind::Vale1is, 0x4000)).await;
        s.begin(s.c1, touch);
        assert_eq!(
            s.c1.access(0x5000, Access::Read).await,
            Outcome::Translation
        );
        s.c0.pte_write_release(pmd, Desc::table(table)).await;
        s.end(s.c0, Op::Split(A, 0x4000), Done::Yes);
        let done = again && s.c1.access(0x5000, Access::Read).await == Outcome::Done;
        s.end(s.c1, touch, if done { Done::Yes } else { Done::Fault });
    }

    #[test]
    fn good_retry_after_the_split() {
        assert_eq!(stage1(private(), async |s| touch(s, true).await), None);
    }

    #[test]
    fn bad_fault_that_is_passed_on() {
        let broken = stage1(private(), async |s| touch(s, false).await);
        assert_eq!(broken, Some(RULE.name));
    }
}
