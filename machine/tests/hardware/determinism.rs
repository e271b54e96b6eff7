// SPDX-License-Identifier: MIT OR Apache-2.0
//! A run is a function of what is done to the machine, and of nothing else.

use crate::rig::{A, B, Rig, by_addr, smt};
use shootdown_machine::arm64::{Desc, Kind, Tlbi};
use shootdown_machine::{Access, Config, Dsb, Machine, Page, Space};

/// A little of everything.
fn script(rig: &Rig, tracing: bool) -> Vec<String> {
    rig.hardware(|state| state.tracing = tracing);
    let (c0, c1) = (rig.cpu(0), rig.cpu(1));
    rig.run(async {
        rig.load(c0, A, 1).await;
        rig.load(c1, B, 2).await;
        c0.access(0x1000, Access::Write).await;
        c1.access(0x5000, Access::Read).await;
        rig.walk(0, 0x4000, Some(2));
        let new = c1.alloc_page(A, Page(200)).await;
        let old = c1.pte_xchg(rig.pte(A, 0x1000), Desc::INVALID).await;
        c1.dsb(Dsb::Ishst).await;
        c1.tlbi(by_addr(Kind::Vale1is, 0x1000)).await;
        rig.hardware(|state| state.deliver(0, false));
        c0.access(0x1000, Access::Read).await;
        c1.dsb(Dsb::Ish).await;
        c1.copy_page(old.addr(), new).await;
        c1.free(old.addr()).await;
        c0.send_ipi(1, 7).await;
        rig.hardware(|state| state.deliver_ipi(1));
        rig.walk(0, 0x4000, Some(1));
        rig.hardware(|state| state.evict(0, None));
        c1.new_root(B).await;
        c0.tlbi(Tlbi::all(Kind::Vmalle1)).await;
        c0.dsb(Dsb::Nsh).await;
    });
    let events = rig.take_events();
    events.iter().map(|event| format!("{event:?}")).collect()
}

#[test]
fn the_same_script_gives_the_same_events() {
    let first = script(&Rig::new(smt()), true);
    assert!(first.len() > 50);
    assert_eq!(first, script(&Rig::new(smt()), true));
}

#[test]
fn another_machine_line_gives_others() {
    let levels = Config { levels: 3, ..smt() };
    let first = script(&Rig::new(smt()), true);
    assert_ne!(first, script(&Rig::new(levels), true));
}

/// Tracing adds events; it moves none.
#[test]
fn tracing_changes_nothing_else() {
    let traced = ["Did", "Dropped", "Delivered", "Frame"];
    let all = script(&Rig::new(smt()), true);
    let plain = all
        .into_iter()
        .filter(|event| !traced.iter().any(|t| event.starts_with(t)));
    assert_eq!(plain.collect::<Vec<_>>(), script(&Rig::new(smt()), false));
}

#[test]
fn a_reset_machine_is_a_new_one() {
    let used = Rig::new(smt());
    script(&used, true);
    used.machine.reset(smt());
    let new = Machine::default();
    new.reset(smt());
    let look = |machine: &Machine| {
        let state = machine.state();
        let words: Vec<u64> = (0..2000).map(|word| state.mem.get(word)).collect();
        let frames: Vec<_> = (0..1000).map(|i| state.mem.frame(i * 4096)).collect();
        format!(
            "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {words:?} {frames:?}",
            state.step,
            state.cost,
            state.cpus,
            state.tlbs(),
            state.events,
            state.roots,
            state.life(Space(1)),
            state.mem.names,
        )
    };
    assert_eq!(look(&used.machine), look(&new));
}

/// A reset machine hands out the same frames and numbers as a new one.
#[test]
fn a_script_on_a_reset_machine_gives_the_same_events() {
    let first = script(&Rig::new(smt()), true);
    let used = Rig::new(smt());
    script(&used, true);
    assert_eq!(script(&used.again(smt()), true), first);
}
