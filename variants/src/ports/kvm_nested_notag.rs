// SPDX-License-Identifier: GPL-2.0-only
//! KVM on arm64: the same without noted levels: a TLBI without a hint takes the largest size.

use crate::Defect;
use crate::kvm::nested::{Flavour, Look, Nested, defects as d, fault};

/// The variant.
#[derive(Debug)]
pub enum NoTag {}

impl Flavour for NoTag {
    const NAME: &'static str = "kvm-nested-notag";
    const ABOUT: &'static str = "the same without noted levels: a TLBI without a hint takes the largest size";
    const DEFECTS: &'static [Defect] = &[d::NO_ALIGN];
    const GOALS: &'static [&'static str] = &[fault::GOAL_SPLINTER];
    const LOOK: Look = Look::Nowhere;
}

/// The variant.
pub type Port = Nested<NoTag>;
