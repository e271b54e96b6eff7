// SPDX-License-Identifier: GPL-2.0-only
//! KVM on arm64 (VHE), today: the VMID is updated, and VTTBR written, when a vCPU is loaded.

use crate::kvm::host::{Flavour, NO_SWITCH_DSB, Vms};
use crate::kvm::tlb::{NO_EPD, NO_RELOAD};
use crate::kvm::vmid::{self, Version, Vmids};
use crate::{Defect, Source};
use shootdown_machine::Boot;

/// Version 4, as it is called since.
#[derive(Debug)]
pub enum Loaded {}

impl Flavour for Loaded {
    const NAME: &'static str = "kvm-vmid-load";
    const ABOUT: &'static str = "KVM VMID allocator v4, stage 2 loaded with the vCPU (VHE)";
    const SOURCE: Source = Source {
        tree: "Linux 7.3",
        files: "arch/arm64/kvm/vmid.c, arch/arm64/kvm/arm.c, arch/arm64/kvm/hyp/vhe/tlb.c",
    };
    const DEFECTS: &'static [Defect] = &[NO_RELOAD, NO_SWITCH_DSB, NO_EPD];
    const GOALS: &'static [&'static str] = vmid::GOALS_V4;
    const LOAD: bool = true;
    type Vmids = Vmids;

    fn vmids(boot: &Boot<'_>) -> Vmids {
        Vmids::boot(boot, Version::V4)
    }
}

/// The variant.
pub type Port = Vms<Loaded>;
