// SPDX-License-Identifier: GPL-2.0-only
//! KVM on arm64: nested virtualisation: shadow stage 2s, guest TLBIs that are narrowed by a noted level.

use crate::Defect;
use crate::kvm::nested::{Flavour, Look, Nested, defects as d, fault, shadow, tlbi, vncr};

/// The variant.
#[derive(Debug)]
pub enum Mainline {}

impl Flavour for Mainline {
    const NAME: &'static str = "kvm-nested";
    const ABOUT: &'static str = "nested virtualisation: shadow stage 2s, guest TLBIs that are narrowed by a noted level";
    const DEFECTS: &'static [Defect] = &[d::NO_BOUND_TEST, d::HOST_LEVEL, d::NO_ALIGN, d::ONE_MMU, d::RANGE_TTL, d::NOT_EMPTIED, d::IN_USE, d::BBM_EXPOSED, d::OVERTAKEN, d::VNCR_UNLOCKED];
    const GOALS: &'static [&'static str] = &[fault::GOAL_SPLINTER, fault::GOAL_BLOCK, fault::GOAL_OVERTAKEN, fault::GOAL_INJECTED, shadow::GOAL_RECYCLED, shadow::GOAL_HELP, tlbi::GOAL_NOTED, tlbi::GOAL_ELSEWHERE, tlbi::GOAL_HEAD, tlbi::GOAL_SEVERAL, vncr::GOAL_EMPTY];
    const LOOK: Look = Look::Down;
}

/// The variant.
pub type Port = Nested<Mainline>;
