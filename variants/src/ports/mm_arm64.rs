// SPDX-License-Identifier: GPL-2.0-only
//! Generic mm code on arm64.

/// The variant.
pub type Port = crate::mm::Kernel<crate::mm::arm64::Arm64>;
