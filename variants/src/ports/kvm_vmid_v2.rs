// SPDX-License-Identifier: GPL-2.0-only
//! KVM on arm64 (VHE): version 2 of the VMID allocator, the ASID allocator's algorithm.

use crate::kvm::host::{Flavour, NO_SWITCH_DSB, Vms};
use crate::kvm::vmid::{self, Version, Vmids};
use crate::{Defect, Source};
use shootdown_machine::{Boot, Switch};

/// Version 2.
#[derive(Debug)]
pub enum Second {}

impl Flavour for Second {
    const NAME: &'static str = "kvm-vmid-v2";
    const ABOUT: &'static str = "KVM VMID allocator v2, local flush on rollover (VHE)";
    const SOURCE: Source = Source {
        tree: "linux-arm-kernel, 16 Jun 2021 (20210616155606.2806)",
        files: "arch/arm64/kvm/vmid.c",
    };
    const DEFECTS: &'static [Defect] = &[Defect {
        // The flush at a rollover is the entering CPU's own: a walk must outlive its guest to be missed.
        needs: &[Switch::Inflight],
        ..NO_SWITCH_DSB
    }];
    const GOALS: &'static [&'static str] = vmid::GOALS_V2;

    type Vmids = Vmids;

    fn vmids(boot: &Boot<'_>) -> Vmids {
        Vmids::boot(boot, Version::V2)
    }
}

/// The variant.
pub type Port = Vms<Second>;
