// SPDX-License-Identifier: GPL-2.0-only
//! KVM on arm64 (VHE): stage-2 tables changed by many faults at a time, with
//! break-before-make.

use crate::kvm::host::{Flavour, Vms};
use crate::kvm::mmu::Mmu;
use crate::kvm::vmid::{Version, Vmids};
use crate::kvm::{mmu_ops, pgtable_defects as d, stage2_goals};
use crate::{Defect, Source};
use shootdown_machine::{Boot, OpKind};

/// As in mainline.
#[derive(Debug)]
pub enum Mainline {}

impl Flavour for Mainline {
    const NAME: &'static str = "kvm-s2";
    const ABOUT: &'static str = "KVM stage-2 tables: concurrent faults, break-before-make, MMU notifiers (VHE)";
    const SOURCE: Source = Source {
        tree: "Linux 7.3",
        files: "arch/arm64/kvm/hyp/pgtable.c, arch/arm64/kvm/mmu.c, virt/kvm/kvm_main.c",
    };
    const DEFECTS: &'static [Defect] = &[
        d::MERGE_ONE_IPA,
        d::CANCEL,
        d::LEAK,
        d::VALID_TO_VALID,
        d::PING_PONG,
        d::NO_RELOAD,
        d::PLAIN_STORE,
        d::NO_RETRY,
        d::NO_RCU,
        d::RELAX_NO_FLUSH,
    ];
    const GOALS: &'static [&'static str] = stage2_goals::BREAK;
    const OPS: &'static [OpKind] = mmu_ops::OPS;
    const LOAD: bool = true;
    type Vmids = Vmids;

    fn vmids(boot: &Boot<'_>) -> Vmids {
        Vmids::boot(boot, Version::V4)
    }
}

/// The variant.
pub type Port = Vms<Mainline, Mmu<false>>;
