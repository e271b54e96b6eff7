// SPDX-License-Identifier: GPL-2.0-only
//! A planted bug, to prove that the whole pipeline can still find one: `naive` without the
//! flush after a leaf was removed.

/// The variant.
pub type Port = super::naive::Naive<true>;
