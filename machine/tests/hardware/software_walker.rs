// SPDX-License-Identifier: MIT OR Apache-2.0
//! A lockless walk of page tables by software, with interrupts masked (GUP-fast): what waits
//! for it, and what does not.

use crate::rig::{A, Rig, by_addr, flush, poll, private};
use core::future::Future;
use core::pin::{Pin, pin};
use shootdown_machine::arm64::{Desc, Kind};
use shootdown_machine::{Cpu, Use, Va, slot_pa};

const VA: Va = 0x1000;

/// Reads its way down to a leaf, as `gup_fast` does. What it found last.
async fn walk(cpu: Cpu<'_>, root: u64) -> Desc {
    cpu.local_irq_save().await;
    let pmd = cpu.pte_read(slot_pa(root, 2, VA)).await;
    let mut found = pmd;
    if pmd.is_table(2) {
        found = cpu.pte_read(slot_pa(pmd.addr(), 3, VA)).await;
    }
    cpu.local_irq_enable().await;
    found
}

/// CPU 1 walks, and has read the pointer to the last table; then `remover`, on CPU 0, takes
/// that table out. Gives whether the table is still in use when the walker goes on to read it.
fn inside(remover: impl AsyncFnOnce(&Rig, Cpu<'_>, u64, Walker<'_>)) -> bool {
    let rig = Rig::new(private());
    rig.run(rig.load(rig.cpu(1), A, 1));
    let root = rig.root(A);
    let table = rig.desc(root).addr();
    let mut walker = pin!(walk(rig.cpu(1), root));
    // Announced; interrupts masked; the pointer read.
    assert!(poll(walker.as_mut(), 3).is_none());
    let mut used = None;
    rig.run(rig.cpu(0).pte_write(root, Desc::INVALID));
    let look = || used = Some(rig.machine.state().mem.frame(table).usage != Use::Free);
    let walker = Walker {
        script: walker,
        look: Box::new(look),
    };
    rig.run(remover(&rig, rig.cpu(0), table, walker));
    used.expect("the walker has gone on")
}

/// The walker in the middle of its walk.
struct Walker<'a> {
    script: Pin<&'a mut dyn Future<Output = Desc>>,
    look: Box<dyn FnMut() + 'a>,
}

impl Walker<'_> {
    /// Lets it read the table, and leave.
    fn go_on(&mut self) {
        (self.look)();
        let mut context = core::task::Context::from_waker(core::task::Waker::noop());
        while self.script.as_mut().poll(&mut context).is_pending() {}
    }
}

/// A broadcast TLBI interrupts nobody (B-31): the table is reused under the walker.
#[test]
fn a_broadcast_tlbi_does_not_wait_for_it() {
    let used = inside(async |_, cpu, table, mut walker| {
        flush(cpu, by_addr(Kind::Vae1is, VA)).await;
        cpu.free(table).await;
        walker.go_on();
    });
    assert!(!used);
}

/// An IPI does: `tlb_remove_table_sync_one`.
#[test]
fn an_ipi_waits_for_it() {
    let used = inside(async |rig, cpu, table, mut walker| {
        flush(cpu, by_addr(Kind::Vae1is, VA)).await;
        cpu.send_ipi(1, 7).await;
        rig.hardware(|state| state.deliver_ipi(1));
        {
            let mut wait = pin!(cpu.wait_ipis());
            assert!(poll(wait.as_mut(), 1).is_none());
            assert_eq!(rig.hardware(|state| state.take_ipi(1)), None, "masked");
            assert!(rig.machine.state().blocked(0));
            walker.go_on();
            let ipi = rig.hardware(|state| state.take_ipi(1)).expect("unmasked");
            rig.hardware(|state| state.acknowledge(1, ipi));
            assert!(!rig.machine.state().blocked(0));
            wait.await;
        }
        cpu.free(table).await;
    });
    assert!(used);
}

/// And so does the grace period of `tlb_remove_table`.
#[test]
fn a_grace_period_waits_for_it() {
    let mut after = None;
    let used = inside(async |rig, cpu, table, mut walker| {
        flush(cpu, by_addr(Kind::Vae1is, VA)).await;
        cpu.tlb_remove_table(table).await;
        walker.go_on();
        after = Some(rig.machine.state().mem.frame(table).usage);
    });
    assert!(used);
    assert_eq!(after, Some(Use::Free), "and ends with it");
}

#[test]
fn a_grace_period_does_not_wait_for_a_walk_that_begins_later() {
    let rig = Rig::new(private());
    let table = rig.desc(rig.root(A)).addr();
    rig.run(rig.cpu(0).pte_write(rig.root(A), Desc::INVALID));
    rig.run(rig.cpu(0).tlb_remove_table(table));
    assert_eq!(rig.machine.state().mem.frame(table).usage, Use::Free);
    let found = rig.run(walk(rig.cpu(1), rig.root(A)));
    assert_eq!(found, Desc::INVALID);
}
