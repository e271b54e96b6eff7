// SPDX-License-Identifier: GPL-2.0-only
//! KVM on arm64: nested virtualisation, of a guest whose granule is larger than the host's.

use crate::Defect;
use crate::kvm::nested::{Flavour, Granule, Look, Nested, defects as d, fault, tlbi};

/// The variant.
#[derive(Debug)]
pub enum Larger {}

impl Flavour for Larger {
    const NAME: &'static str = "kvm-nested-16k";
    const ABOUT: &'static str = "the same; the guest's granule is 16K and the host's 4K";
    const DEFECTS: &'static [Defect] = &[d::HOST_GRANULE, d::NO_ALIGN];
    const GOALS: &'static [&'static str] = &[fault::GOAL_SPLINTER, tlbi::GOAL_NOTED, tlbi::GOAL_HEAD];
    const LOOK: Look = Look::Down;
    const GRANULE: Granule = Granule::Larger;
}

/// The variant.
pub type Port = Nested<Larger>;
