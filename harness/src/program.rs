// SPDX-License-Identifier: MIT OR Apache-2.0
//! A CPU's program: how a logical operation becomes calls of a variant.

use crate::exec::Work;
use core::cell::Cell;
use shootdown_machine::{BLOCK_PAGES, Cpu, Done, Event, Op, Outcome, Page, Space};
use shootdown_variants::Variant;

/// Times that a fault may be called spurious while no descriptor changes.
const MOST_RETRIES: u32 = 8;
/// Pages that spaces start with; operations make others.
const FIRST_PAGE: u16 = 128;

/// Who uses which space: what `mmget` and `exit` go by. Not part of what is tested.
#[derive(Default)]
pub struct Lives {
    loaded: [Cell<Option<Space>>; 4],
    users: [Cell<u32>; 8],
    exiting: [Cell<bool>; 8],
    offline: [Cell<bool>; 4],
}

impl Lives {
    fn take(&self, space: Space) {
        let users = &self.users[space.0 as usize];
        users.set(users.get() + 1);
    }

    /// Whether a space is there to be worked on: not while it is torn down.
    fn has(&self, space: Space, cpu: Cpu<'_>) -> bool {
        space.0 < cpu.config().spaces && !self.exiting[space.0 as usize].get()
    }

    fn give(&self, space: Space) {
        let users = &self.users[space.0 as usize];
        users.set(users.get() - 1);
    }
}

/// The first of the pages that an operation may create.
fn fresh_page(cpu: u8, index: u8) -> u16 {
    FIRST_PAGE + (cpu as u16 * crate::scenario::MAX_OPS as u16 + index as u16) * BLOCK_PAGES as u16
}

/// Does what is to be done on a CPU.
pub async fn run_op<V: Variant>(variant: &V, lives: &Lives, cpu: Cpu<'_>, work: Work) {
    let (index, op) = match work {
        Work::Op(index, op) => (index, op),
        Work::Ipi(message) => return variant.ipi(cpu, message).await,
    };
    let me = cpu.id() as usize;
    if !V::has(op) {
        return;
    }
    let loaded = lives.loaded[me].get();
    if lives.offline[me].get() && !matches!(op, Op::Switch(_)) {
        return;
    }
    let mut spaces = [op.space(), op.other_space()].into_iter().flatten();
    if !spaces.all(|space| lives.has(space, cpu)) {
        return;
    }
    match op.space() {
        // Torn down while used: not to be had.
        Some(space) if matches!(op, Op::Exit(_)) => {
            if lives.users[space.0 as usize].get() != 0 {
                return;
            }
            lives.exiting[space.0 as usize].set(true);
        }
        Some(space) => {
            if matches!(op, Op::Switch(_)) && loaded == Some(space) && !V::THREADS {
                return;
            }
            lives.take(space);
            op.other_space().inspect(|child| lives.take(*child));
        }
        None if loaded.is_none() && op != Op::Offline => return,
        None => {}
    }
    let page = fresh_page(cpu.id(), index);
    cpu.with(|state| state.catch_up_all(cpu.id()));
    cpu.emit(Event::Begin {
        cpu: cpu.id(),
        index,
        op,
        page,
    });
    let done = dispatch(variant, lives, cpu, op, Page(page)).await;
    match op {
        Op::Exit(space) => lives.exiting[space.0 as usize].set(false),
        Op::Switch(_) | Op::SchedOut | Op::Offline => {
            if let Some(prev) = loaded {
                lives.give(prev);
            }
        }
        _ => {
            if let Some(space) = op.space() {
                lives.give(space);
                op.other_space().inspect(|child| lives.give(*child));
            }
        }
    }
    // The counts that guard a space's life are full atomics: what this CPU did is seen by whoever
    // uses the space next.
    cpu.with(|state| state.memory_barrier(cpu.id()));
    cpu.emit(Event::End {
        cpu: cpu.id(),
        index,
        op,
        page,
        done,
    });
}

async fn dispatch<V: Variant>(
    variant: &V,
    lives: &Lives,
    cpu: Cpu<'_>,
    op: Op,
    page: Page,
) -> Done {
    let loaded = &lives.loaded[cpu.id() as usize];
    match op {
        Op::Switch(_) | Op::SchedOut | Op::Offline => {
            let (prev, next) = (loaded.get(), op.space());
            let offline = &lives.offline[cpu.id() as usize];
            settle(cpu, None, true);
            if offline.replace(op == Op::Offline) {
                variant.online(cpu).await;
            }
            match (prev, next) {
                _ if op == Op::Offline => variant.offline(cpu, prev).await,
                (_, Some(next)) => variant.switch_to(cpu, prev, next).await,
                (Some(prev), None) => variant.sched_out(cpu, prev).await,
                (None, None) => {}
            }
            loaded.set(next);
            settle(cpu, next, false);
            Done::Yes
        }
        Op::Map(space, va) => variant.map(cpu, space, va, page).await,
        Op::Unmap(space, va) => variant.unmap(cpu, space, va).await,
        Op::Protect(space, va, prot) => variant.protect(cpu, space, va, prot).await,
        Op::Remap(space, va) => variant.remap(cpu, space, va, page).await,
        Op::Split(space, va) => variant.split(cpu, space, va).await,
        Op::Collapse(space, va) => variant.collapse(cpu, space, va, page).await,
        Op::Exit(space) => variant.exit(cpu, space).await,
        Op::Reclaim(space, va) => variant.reclaim(cpu, space, va).await,
        Op::Zap(space, va) => variant.zap(cpu, space, va).await,
        Op::Clean(space, va) => variant.clean(cpu, space, va).await,
        Op::Hint(space, va) => variant.hint(cpu, space, va).await,
        Op::Age(space, va) => variant.age(cpu, space, va).await,
        Op::Gup(space, va) => variant.gup(cpu, space, va).await,
        Op::Move(space, va, to) => variant.mremap(cpu, space, va, to).await,
        Op::Fork(space, child) => variant.fork(cpu, space, child).await,
        Op::Pin(space) => {
            let done = variant.pin(cpu, space).await;
            if done == Done::Yes {
                cpu.with(|state| state.pins[space.0 as usize] += 1);
            }
            done
        }
        // Only who has a pin by now gives one back.
        Op::Unpin(space) if cpu.with(|state| state.unpin(space)) => variant.unpin(cpu, space).await,
        Op::Unpin(_) => Done::No,
        Op::Touch(va, access) => match loaded.get() {
            Some(space) => touch(variant, cpu, space, va, access, page).await,
            None => Done::No,
        },
    }
}

fn settle(cpu: Cpu<'_>, space: Option<Space>, switching: bool) {
    let space = space.map(|s| cpu.with(|state| state.life(s)));
    cpu.emit(Event::Settled {
        cpu: cpu.id(),
        space,
        switching,
    });
}

async fn touch<V: Variant>(
    variant: &V,
    cpu: Cpu<'_>,
    space: Space,
    va: u64,
    access: shootdown_machine::Access,
    page: Page,
) -> Done {
    variant.enter(cpu, space).await;
    let mut retries = 0;
    let changes_so_far = || cpu.with(|s| s.changes_for_access(cpu.id()));
    let mut changes = changes_so_far();
    let done = loop {
        let outcome = cpu.access(va, access).await;
        if outcome == Outcome::Done {
            break Done::Yes;
        }
        cpu.with(|s| s.cost.faults += 1);
        let again = if V::FAULTS_MAP {
            let me = cpu.id();
            cpu.emit(Event::Faulting { cpu: me, space, va });
            let fault = variant.fault_in(cpu, space, va, access, outcome, page);
            let again = fault.await;
            // As after an operation: the next use of the page is ordered after it by a lock.
            cpu.with(|state| state.memory_barrier(me));
            cpu.emit(Event::Faulted { cpu: me, space, va });
            again
        } else {
            variant.fault(cpu, space, va, access, outcome).await
        };
        if !again {
            break Done::Fault;
        }
        let now = changes_so_far();
        retries = if now == changes { retries + 1 } else { 0 };
        changes = now;
        if retries > MOST_RETRIES {
            // What another CPU is in the middle of may be what ends it: an invalidation to come.
            // A conflict is for the handler to resolve, whatever others do (Arm ARM, D8.14.3).
            if outcome != Outcome::Conflict {
                let steps = cpu.with(|s| s.step);
                cpu.await_others().await;
                if cpu.with(|s| s.step) > steps + 1 {
                    retries = 0;
                    continue;
                }
            }
            cpu.emit(Event::FaultLoop { cpu: cpu.id(), va });
            break Done::Fault;
        }
    };
    variant.leave(cpu, space).await;
    done
}
