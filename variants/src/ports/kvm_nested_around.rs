// SPDX-License-Identifier: GPL-2.0-only
//! KVM on arm64: the same; a TLBI without a hint looks at every shadow leaf around.

use crate::Defect;
use crate::kvm::nested::{Flavour, Look, Nested, defects as d, fault, tlbi};

/// The variant.
#[derive(Debug)]
pub enum Around {}

impl Flavour for Around {
    const NAME: &'static str = "kvm-nested-around";
    const ABOUT: &'static str = "the same; a TLBI without a hint looks at every shadow leaf around";
    const DEFECTS: &'static [Defect] = &[d::HOST_LEVEL, d::BBM_EXPOSED];
    const GOALS: &'static [&'static str] = &[fault::GOAL_SPLINTER, tlbi::GOAL_NOTED, tlbi::GOAL_ELSEWHERE];
    const LOOK: Look = Look::Around;
}

/// The variant.
pub type Port = Nested<Around>;
