// SPDX-License-Identifier: GPL-2.0-only
//! x86 in a guest of KVM: vCPUs that are preempted are flushed by their host.

use crate::x86::defects;
use crate::x86::mm::{self, Flavour, Mms};
use crate::x86::tlbstate::Features;
use crate::{Defect, Source};

/// In a guest.
#[derive(Debug)]
pub enum Guest {}

impl Flavour for Guest {
    const NAME: &'static str = "x86-pvflush";
    const ABOUT: &'static str =
        "x86 in a KVM guest: the host flushes for vCPUs that it has preempted";
    const SOURCE: Source = Source {
        tree: "Linux 7.3.4",
        files: "arch/x86/kernel/kvm.c, arch/x86/kvm/x86.c",
    };
    const DEFECTS: &'static [Defect] = &[defects::B41, defects::PLAIN_WISH];
    const GOALS: &'static [&'static str] = mm::GOALS_PV;
    const FEATURES: Features = Features {
        pv: true,
        ..Features::NONE
    };
}

/// The variant.
pub type Port = Mms<Guest>;
