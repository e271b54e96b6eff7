// SPDX-License-Identifier: GPL-2.0-only
//! KVM on arm64 (VHE) until 2021: VMIDs in generations, an IPI to every CPU when they run out.

use crate::kvm::host::{Flavour, Vms};
use crate::kvm::vmid_gen::{self, Generations};
use crate::{Defect, Source};
use shootdown_machine::Boot;

/// As fb544d1ca65a left it, and a barrier that VHE lacks.
#[derive(Debug)]
pub enum Generational {}

impl Flavour for Generational {
    const NAME: &'static str = "kvm-vmid-gen";
    const ABOUT: &'static str = "KVM VMID generations, IPIs and broadcast flush on rollover (VHE)";
    const SOURCE: Source = Source {
        tree: "Linux 5.0 to 5.15 (fb544d1ca65a)",
        files: "virt/kvm/arm/arm.c",
    };
    const DEFECTS: &'static [Defect] = &[
        vmid_gen::GEN_FIRST,
        vmid_gen::RWLOCK,
        vmid_gen::NO_WMB,
        vmid_gen::NO_RMB,
    ];
    const GOALS: &'static [&'static str] = vmid_gen::GOALS;

    type Vmids = Generations;

    fn vmids(boot: &Boot<'_>) -> Generations {
        Generations::boot(boot)
    }
}

/// The variant.
pub type Port = Vms<Generational>;
