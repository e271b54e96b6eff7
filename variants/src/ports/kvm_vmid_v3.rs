// SPDX-License-Identifier: GPL-2.0-only
//! KVM on arm64 (VHE): version 3 of the VMID allocator; a put leaves no VMID active.

use crate::kvm::host::{Flavour, Vms};
use crate::kvm::vmid::{self, Version, Vmids};
use crate::{Defect, Source};
use shootdown_machine::Boot;

/// Version 3.
#[derive(Debug)]
pub enum Third {}

impl Flavour for Third {
    const NAME: &'static str = "kvm-vmid-v3";
    const ABOUT: &'static str = "KVM VMID allocator v3, broadcast flush, active_vmids 0 when a vCPU is put (VHE)";
    const SOURCE: Source = Source {
        tree: "linux-arm-kernel, 29 Jul 2021",
        files: "arch/arm64/kvm/vmid.c",
    };
    const DEFECTS: &'static [Defect] = &[];
    const GOALS: &'static [&'static str] = vmid::GOALS;

    type Vmids = Vmids;

    fn vmids(boot: &Boot<'_>) -> Vmids {
        Vmids::boot(boot, Version::V3)
    }
}

/// The variant.
pub type Port = Vms<Third>;
