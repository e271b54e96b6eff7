// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the hardware may do: CPUs, memory, page tables, TLBs, and the agents that act on
//! their own (walkers, evictions, TLBIs on their way).
//!
//! Kernel code is `async fn` over a [`Cpu`]; each access to shared state is one [`Step`],
//! and only there may another CPU run. docs/machine.md lists the rules and their sources.

mod act;
mod arch;
pub mod arm64;
mod config;
mod context;
mod cpu;
mod event;
pub mod litmus;
mod machine;
mod mem;
mod op;
mod order;
mod perform;
mod regs;
pub mod riscv;
mod tlb;
mod tlbi;
mod walk;
pub mod x86;

pub use act::{Act, Dsb, Fence, Note, Order, Outcome, Rmw};
pub use arch::{Decoded, Leaf};
pub use config::{Arch, Bbm, Config, Domain, Memory, Pick, Switch, Switches, limits};
pub use context::{Context, El, level_size, slot_pa, tlbi_vmid};
pub use cpu::{Boot, Cpu, Lock, Machine, RwLock, Shared, Step, Value};
pub use event::{Done, Drop, Event, Site};
pub use machine::{Announced, Cost, CpuState, Ipi, Sabotage, State};
pub use mem::{
    BITS, Frame, GROUP, Memory as Ram, Name, Page, SLOTS, Use, VARS, Word, initial_page,
};
pub use op::{Access, BLOCK_PAGES, Op, OpKind, OpSet, Operands, PAGE, PAGES, Prot, Space, Va};
pub use order::{History, Time, Values, Views, Waiting};
pub use tlb::{Entry, Found, HOST_REGIME, Life, Tags, Tlb};
pub use walk::{Progress, Reading, Walk};
