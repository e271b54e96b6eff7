// SPDX-License-Identifier: GPL-2.0-only
//! Generic mm code on x86.

/// The variant.
pub type Port = crate::mm::Kernel<crate::mm::x86::X86>;
