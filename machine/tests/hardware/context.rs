// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which context a walk begins under, and which it outlives (machine rules 8 and 9).

use crate::rig::{A, B, Rig, private};
use shootdown_machine::arm64::{HCR_TGE, HCR_VM, Reg, Stage, TCR_EPD, ttbr};
use shootdown_machine::{Access, Config, Dsb, El, Event, Life, Space, Switch, Switches};

fn life(space: Space) -> Option<Life> {
    Some(Life { space, nth: 0 })
}

/// CPU 0 runs A, and has written B to TTBR0 since.
fn window(config: Config) -> Rig {
    let rig = Rig::new(config);
    let cpu = rig.cpu(0);
    rig.run(rig.load(cpu, A, 1));
    rig.run(cpu.write_sysreg(Reg::Ttbr0, ttbr::new(rig.root(B), 0, false)));
    rig
}

/// Whose table a walk begins in.
fn owner(rig: &Rig, old: bool) -> Option<Life> {
    assert!(rig.hardware(|state| state.walk(0, 0x4000, old, None)));
    let state = rig.machine.state();
    state.tlb(0).entries.last().expect("an entry").owner
}

#[test]
fn until_the_isb_walks_may_use_either_value() {
    let rig = window(private());
    assert_eq!(owner(&rig, true), life(A));
    assert_eq!(owner(&rig, false), life(B));
    assert_eq!(owner(&rig, true), life(A), "and the old one again");
}

#[test]
fn after_the_isb_walks_use_the_new_value() {
    let rig = window(private());
    rig.run(rig.cpu(0).isb());
    assert_eq!(owner(&rig, true), life(B));
    assert_eq!(owner(&rig, false), life(B));
}

#[test]
fn the_tag_follows_its_register() {
    let rig = Rig::new(private());
    let cpu = rig.cpu(0);
    rig.run(rig.load(cpu, A, 1));
    rig.run(cpu.write_sysreg(Reg::Ttbr1, ttbr::new(0, 2, false)));
    for (old, want) in [(true, 1), (false, 2)] {
        owner(&rig, old);
        let state = rig.machine.state();
        assert_eq!(state.tlb(0).entries.last().unwrap().asid, want);
    }
}

#[test]
fn an_access_and_exceptions_synchronize() {
    let unsynced = |rig: &Rig| rig.machine.state().cpus[0].unsynced.len();
    let rig = window(private());
    assert_eq!(unsynced(&rig), 1);
    rig.run(rig.cpu(0).dsb(Dsb::Ish));
    assert_eq!(unsynced(&rig), 1, "a DSB is no context synchronization");
    rig.run(rig.cpu(0).access(0x4000, Access::Read));
    assert_eq!(unsynced(&rig), 0);
    for enter in [true, false] {
        let rig = window(private());
        rig.run(if enter {
            rig.cpu(0).enter_guest()
        } else {
            rig.cpu(0).exit_guest()
        });
        assert_eq!(unsynced(&rig), 0);
        assert_eq!(owner(&rig, true), life(B));
    }
}

/// A walk for A that has begun before the switch to B.
fn crossing(switches: Switches) -> Rig {
    let rig = Rig::new(Config {
        switches,
        ..private()
    });
    let cpu = rig.cpu(0);
    rig.run(rig.load(cpu, A, 1));
    rig.walk(0, 0x4000, Some(1));
    rig.run(cpu.write_sysreg(Reg::Ttbr0, ttbr::new(rig.root(B), 0, false)));
    assert!(rig.walking(0), "a register write alone ends no walk");
    rig
}

#[test]
fn the_switches_are_off_by_default() {
    assert_eq!(Config::default().switches.iter().count(), 0);
}

#[test]
fn by_default_a_walk_ends_with_its_context() {
    let rig = crossing(Switches::default());
    rig.run(rig.cpu(0).isb());
    assert!(!rig.walking(0));
}

#[test]
fn inflight_walks_outlive_the_isb_and_not_the_dsb() {
    let switches = Switches::default().with(Switch::Inflight, true);
    let rig = crossing(switches);
    rig.run(rig.cpu(0).isb());
    assert!(rig.walking(0));
    rig.walk(0, 0x4000, Some(2));
    let entry = *rig.machine.state().tlb(0).entries.last().unwrap();
    assert_eq!((entry.owner, entry.asid), (life(A), 1), "as it began");
    for dsb in [Dsb::Ish, Dsb::Nsh] {
        let rig = crossing(switches);
        rig.run(rig.cpu(0).isb());
        rig.run(rig.cpu(0).dsb(dsb));
        assert!(!rig.walking(0));
    }
    for dsb in [Dsb::Ishst, Dsb::Nshst] {
        let rig = crossing(switches);
        rig.run(rig.cpu(0).isb());
        rig.run(rig.cpu(0).dsb(dsb));
        assert!(rig.walking(0), "that is for stores");
    }
    let rig = crossing(switches);
    rig.run(rig.cpu(0).isb());
    rig.run(rig.cpu(1).dsb(Dsb::Ish));
    assert!(rig.walking(0), "that is another CPU's");
}

/// The tag of what a walk inserts that began under ASID 1 of A, and ends under ASID 2 of B.
fn late(switches: Switches) -> Option<u16> {
    let rig = Rig::new(Config {
        switches,
        ..private()
    });
    let cpu = rig.cpu(0);
    rig.run(rig.load(cpu, A, 1));
    rig.walk(0, 0x4000, Some(2)); // begun, and the block of A read
    rig.run(rig.load(cpu, B, 2));
    if !rig.walking(0) {
        return None;
    }
    rig.walk(0, 0x4000, Some(1));
    let entry = *rig.machine.state().tlb(0).entries.last().expect("an entry");
    assert_eq!(entry.owner, life(A));
    Some(entry.asid)
}

/// What commits 55b5bac15939, 7e1b2329c205 and 1ff2755d6800 prevent by a DSB (B-16).
#[test]
fn latetag_gives_an_old_walks_entry_to_the_new_context() {
    let inflight = Switches::default().with(Switch::Inflight, true);
    let both = inflight.with(Switch::LateTag, true);
    assert_eq!(late(inflight), Some(1));
    assert_eq!(late(both), Some(2), "B would be served from A's block");
    let alone = Switches::default().with(Switch::LateTag, true);
    assert_eq!(late(alone), None, "no walk lives that long");
}

/// Before the ISB, a walk of the new context is nobody's but the new one's.
#[test]
fn latetag_waits_for_the_synchronization() {
    let both = Switches::default().with(Switch::Inflight, true);
    let rig = Rig::new(Config {
        switches: both.with(Switch::LateTag, true),
        ..private()
    });
    let cpu = rig.cpu(0);
    rig.run(rig.load(cpu, A, 1));
    rig.run(cpu.write_sysreg(Reg::Ttbr1, ttbr::new(0, 2, false)));
    rig.run(cpu.write_sysreg(Reg::Ttbr0, ttbr::new(rig.root(B), 0, false)));
    for (old, want) in [(true, (life(A), 1)), (false, (life(B), 2))] {
        assert!(rig.hardware(|state| state.walk(0, 0x4000, old, None)));
        let state = rig.machine.state();
        let entry = state.tlb(0).entries.last().expect("an entry");
        assert_eq!((entry.owner, entry.asid), want);
    }
}

#[test]
fn a_dsb_between_two_contexts_leaves_latetag_nothing_to_tag() {
    let both = Switches::default().with(Switch::Inflight, true);
    let rig = crossing(both.with(Switch::LateTag, true));
    rig.run(rig.cpu(0).isb());
    rig.run(rig.cpu(0).dsb(Dsb::Nsh));
    assert!(!rig.walking(0));
}

/// Without EIS and EOS, the context that was loaded before a register write goes on.
#[test]
fn with_exs_exceptions_do_not_synchronize() {
    let exs = Switches::default().with(Switch::ExS, true);
    for (switches, want) in [(Switches::default(), 0), (exs, 1)] {
        for enter in [true, false] {
            let rig = window(Config {
                switches,
                ..private()
            });
            rig.run(if enter {
                rig.cpu(0).enter_guest()
            } else {
                rig.cpu(0).exit_guest()
            });
            assert_eq!(rig.machine.state().cpus[0].unsynced.len(), want);
        }
    }
}

/// Whose block an access of CPU 0 reaches after B was written to TTBR0.
fn reached(rig: &Rig) -> Option<Life> {
    rig.take_events();
    rig.run(rig.cpu(0).access(0x4000, Access::Read));
    let via = rig.take_events().into_iter().find_map(|event| match event {
        Event::Accessed { via, .. } => via,
        _ => None,
    });
    via.and_then(|entry| entry.owner)
}

#[test]
fn with_exs_a_user_may_run_in_the_old_context_until_an_isb() {
    let exs = Switches::default().with(Switch::ExS, true);
    for (switches, isb, want) in [
        (Switches::default(), false, B),
        (exs, false, A),
        (exs, true, B),
    ] {
        let rig = window(Config {
            switches,
            ..private()
        });
        if isb {
            rig.run(rig.cpu(0).isb());
        }
        assert_eq!(reached(&rig), life(want));
    }
}

#[test]
fn taking_an_interrupt_synchronizes_unless_exs_says_otherwise() {
    let exs = Switches::default().with(Switch::ExS, true);
    for (switches, want) in [(Switches::default(), 0), (exs, 1)] {
        let rig = window(Config {
            switches,
            ..private()
        });
        rig.run(rig.cpu(1).send_ipi(0, 7));
        rig.hardware(|state| state.deliver_ipi(0));
        assert_eq!(rig.machine.state().cpus[0].unsynced.len(), 1, "not yet");
        assert!(rig.hardware(|state| state.take_ipi(0)).is_some());
        assert_eq!(rig.machine.state().cpus[0].unsynced.len(), want);
    }
}

#[test]
fn a_walk_of_the_context_that_stays_is_left_alone() {
    let rig = Rig::new(private());
    let cpu = rig.cpu(0);
    rig.run(rig.load(cpu, A, 1));
    rig.walk(0, 0x4000, Some(1));
    rig.run(cpu.isb());
    rig.run(cpu.dsb(Dsb::Ish));
    assert!(rig.walking(0));
}

/// CPU 0 is at EL2 with the registers of a guest loaded.
fn host_with_guest(switches: Switches) -> Rig {
    let rig = Rig::guests(Config {
        switches,
        ..private()
    });
    let cpu = rig.cpu(0);
    rig.run(cpu.write_sysreg(Reg::Vttbr, ttbr::new(rig.root(A), 7, false)));
    rig.run(cpu.write_sysreg(Reg::Hcr, HCR_VM));
    rig.run(cpu.isb());
    assert_eq!(rig.machine.state().cpus[0].el, El::Host);
    rig
}

#[test]
fn by_default_the_host_does_not_walk_for_a_guest() {
    let rig = host_with_guest(Switches::default());
    assert!(!rig.walk(0, 0x1000, None));
    rig.run(rig.cpu(0).enter_guest());
    assert!(rig.walk(0, 0x1000, None));
}

#[test]
fn out_of_context_walks_fill_the_guests_entries() {
    let rig = host_with_guest(Switches::default().with(Switch::OutOfContext, true));
    assert!(rig.walk(0, 0x1000, None));
    assert_eq!(rig.leaves(0, Stage::One), [0x1000]);
    let state = rig.machine.state();
    assert!(
        state
            .tlb(0)
            .entries
            .iter()
            .all(|e| e.vmid == 7 && e.owner == life(A))
    );
}

#[test]
fn out_of_context_walks_are_prevented_by_tge_and_by_epd() {
    for (reg, value) in [(Reg::Hcr, HCR_VM | HCR_TGE), (Reg::Tcr, TCR_EPD)] {
        let rig = host_with_guest(Switches::default().with(Switch::OutOfContext, true));
        let cpu = rig.cpu(0);
        let before = rig.machine.state().regs(0, false).get(reg);
        rig.run(cpu.write_sysreg(reg, value));
        rig.run(cpu.isb());
        assert!(!rig.walk(0, 0x1000, None), "{}", reg.name());
        rig.run(cpu.write_sysreg(reg, before));
        rig.run(cpu.isb());
        assert!(rig.walk(0, 0x1000, None), "{}", reg.name());
    }
}

#[test]
fn accesses_use_no_out_of_context_context() {
    let rig = host_with_guest(Switches::default().with(Switch::OutOfContext, true));
    assert!(rig.machine.state().context(0, false).is_some());
    assert!(rig.machine.state().used(0).is_none());
    rig.run(rig.cpu(0).enter_guest());
    assert!(rig.machine.state().used(0).is_some());
}

#[test]
fn leaving_the_guest_ends_its_walks() {
    for (out_of_context, want) in [(false, false), (true, true)] {
        let rig = host_with_guest(Switches::default().with(Switch::OutOfContext, out_of_context));
        rig.run(rig.cpu(0).enter_guest());
        rig.walk(0, 0x1000, Some(1));
        rig.run(rig.cpu(0).exit_guest());
        assert_eq!(rig.walking(0), want);
    }
}
