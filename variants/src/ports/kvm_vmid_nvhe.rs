// SPDX-License-Identifier: GPL-2.0-only
//! KVM on arm64 without VHE: the host is at EL1 under VMID 0, and VTTBR is a guest's only between
//! its entry and its exit, or inside a TLB operation.

use crate::kvm::host::{Flavour, NO_WALK_DSB, Vms};
use crate::kvm::tlb::NO_EPD;
use crate::kvm::vmid::{self, Version, Vmids};
use crate::{Defect, Source};
use shootdown_machine::Boot;

/// Version 4, from EL1.
#[derive(Debug)]
pub enum Nvhe {}

impl Flavour for Nvhe {
    const NAME: &'static str = "kvm-vmid-nvhe";
    const ABOUT: &'static str = "KVM VMID allocator v4, VTTBR changed at guest entry and exit (nVHE)";
    const SOURCE: Source = Source {
        tree: "Linux 6.4 to 6.5",
        files: "arch/arm64/kvm/vmid.c, arch/arm64/kvm/arm.c, arch/arm64/kvm/hyp/nvhe/tlb.c, \
                arch/arm64/kvm/hyp/nvhe/switch.c",
    };
    const DEFECTS: &'static [Defect] = &[NO_WALK_DSB, NO_EPD];
    const GOALS: &'static [&'static str] = vmid::GOALS_V4;
    const NVHE: bool = true;

    type Vmids = Vmids;

    fn vmids(boot: &Boot<'_>) -> Vmids {
        Vmids::boot(boot, Version::V4).nvhe()
    }
}

/// The variant.
pub type Port = Vms<Nvhe>;
