// SPDX-License-Identifier: MIT OR Apache-2.0
//! `no-illegal-instruction`: a kernel must not execute what raises an exception in it

use crate::{Breach, Class, Facts, On, Rule};
use shootdown_machine::{Event, State};

/// The rule.
pub const RULE: Rule = Rule {
    name: "no-illegal-instruction",
    class: Class::Observed,
    why: "a kernel must not execute what raises an exception in it",
    on: &[On::Illegal],
    check,
};

fn check(_: &Facts, _: &State, event: &Event) -> Option<Breach> {
    let Event::Illegal { cpu, what, .. } = *event else {
        return None;
    };
    Some(Breach {
        cpu: Some(cpu),
        ..Breach::new(format!("cpu{cpu} takes #GP: {what}"))
    })
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::script::*;
    use shootdown_machine::{Arch, x86};

    /// A kernel flushes PCID 1 on a machine that may have no PCIDs.
    async fn flush_pcid(s: &Scene<'_>, pcids: bool) {
        s.c0.write_cr4(if pcids { x86::PCIDE } else { 0 }).await;
        s.c0.invpcid_single(1).await;
    }

    fn machine() -> Config {
        Config {
            arch: Arch::X86,
            ..private()
        }
    }

    #[test]
    fn good_with_pcids() {
        let script = async |s: &Scene<'_>| flush_pcid(s, true).await;
        assert_eq!(stage1(machine(), script), None);
    }

    #[test]
    fn bad_without() {
        let script = async |s: &Scene<'_>| flush_pcid(s, false).await;
        assert_eq!(stage1(machine(), script), Some(RULE.name));
    }
}
