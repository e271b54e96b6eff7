// SPDX-License-Identifier: GPL-2.0-only
//! KVM on arm64 (VHE): VMID allocator v4 as merged, broadcast flush on rollover. The VMID is
//! updated in the run loop, and VTTBR written at guest entry.

use crate::kvm::host::{Flavour, Vms};
use crate::kvm::vmid::{self, Version, Vmids};
use crate::{Defect, Source};
use shootdown_machine::Boot;

/// Version 4.
#[derive(Debug)]
pub enum Merged {}

impl Flavour for Merged {
    const NAME: &'static str = "kvm-vmid";
    const ABOUT: &'static str = "KVM VMID allocator v4, broadcast flush on rollover (VHE)";
    const SOURCE: Source = Source {
        tree: "Linux 5.16 to 6.5",
        files: "arch/arm64/kvm/vmid.c, arch/arm64/kvm/arm.c, arch/arm64/kvm/hyp/vhe/tlb.c",
    };
    const DEFECTS: &'static [Defect] = &[vmid::NO_XCHG, vmid::ALWAYS_NEW, vmid::INVALID_LOCAL, vmid::FROM_ZERO];
    const GOALS: &'static [&'static str] = vmid::GOALS_V4;

    type Vmids = Vmids;

    fn vmids(boot: &Boot<'_>) -> Vmids {
        Vmids::boot(boot, Version::V4)
    }
}

/// The variant.
pub type Port = Vms<Merged>;
