// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the hardware may do, and what it may not: a file for each topic, and for each
//! behaviour a run that shows it and one in which it must not be seen.

mod capacity;
mod context;
mod contiguous;
mod delivery;
mod determinism;
mod dirty;
mod frames;
mod granules;
mod hints;
mod in_flight;
mod ipis;
mod locks;
mod memory;
mod migration;
mod nested;
mod overlap;
mod rig;
mod riscv;
mod riscv_walks;
mod sharing;
mod software_walker;
mod tagged;
mod walk_cache;
mod walks;
mod x86;
mod x86_host;
mod x86_order;
mod x86_walks;
