// SPDX-License-Identifier: GPL-2.0-only
//! KVM on arm64 (VHE): the RFC of the VMID allocator, a copy of the ASID allocator's algorithm
//! with its pinning, for an SMMU that shares stage 2.
//!
//! The series before it (April 2021) had both allocators use one library with callbacks: the
//! same steps in the same order, so that it has no port of its own.

use crate::kvm::host::{Flavour, Vms};
use crate::kvm::vmid::{self, Version, Vmids};
use crate::kvm::vmid_pin::PINS_FORGOTTEN;
use crate::{Defect, Source};
use shootdown_machine::{Boot, OpKind};

/// Version 1.
#[derive(Debug)]
pub enum First {}

impl Flavour for First {
    const NAME: &'static str = "kvm-vmid-v1";
    const ABOUT: &'static str = "KVM VMID allocator RFC, local flush on rollover, pinned VMIDs (VHE)";
    const SOURCE: Source = Source {
        tree: "linux-arm-kernel, 6 May 2021 (20210506165232.1969)",
        files: "arch/arm64/kvm/vmid.c",
    };
    const OPS: &'static [OpKind] = &[
        OpKind::Switch,
        OpKind::SchedOut,
        OpKind::Map,
        OpKind::Unmap,
        OpKind::Protect,
        OpKind::Remap,
        OpKind::Split,
        OpKind::Collapse,
        OpKind::Touch,
        OpKind::Exit,
        OpKind::Pin,
        OpKind::Unpin,
    ];
    const DEFECTS: &'static [Defect] = &[PINS_FORGOTTEN];
    const GOALS: &'static [&'static str] = vmid::GOALS_V1;

    type Vmids = Vmids;

    fn vmids(boot: &Boot<'_>) -> Vmids {
        Vmids::boot(boot, Version::V1)
    }
}

/// The variant.
pub type Port = Vms<First>;
