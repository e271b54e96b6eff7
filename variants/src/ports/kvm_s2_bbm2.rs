// SPDX-License-Identifier: GPL-2.0-only
//! KVM on arm64 (VHE): stage-2 tables whose entries change their size in place, where the
//! machine has FEAT_BBM level 2. What the RFC of June 2023 did wrong is docs/bbm2.md's topic.

use crate::kvm::host::{Flavour, Vms};
use crate::kvm::mmu::Mmu;
use crate::kvm::vmid::{Version, Vmids};
use crate::kvm::{mmu_ops, pgtable_defects as d, stage2_goals};
use crate::{Defect, Source};
use shootdown_machine::{Boot, OpKind};

/// Without a break where that is right.
#[derive(Debug)]
pub enum InPlace {}

impl Flavour for InPlace {
    const NAME: &'static str = "kvm-s2-bbm2";
    const ABOUT: &'static str = "KVM stage-2 tables: sizes change without a break under FEAT_BBM level 2 (VHE)";
    const SOURCE: Source = Source {
        tree: "our own, after Linux 7.3, the RFC of 2 Jun 2023 and the list's objections to it",
        files: "arch/arm64/kvm/hyp/pgtable.c, arch/arm64/kvm/mmu.c",
    };
    const DEFECTS: &'static [Defect] = &[
        d::NSH,
        d::PERMS_ENUM,
        d::OA,
        d::KEEP_BLOCK,
        d::NO_RELEASE,
        d::REFCOUNT,
        d::NO_LOCKED,
        d::CONFLICT,
        d::NO_HANDLER,
    ];
    const GOALS: &'static [&'static str] = stage2_goals::IN_PLACE;
    const OPS: &'static [OpKind] = mmu_ops::OPS;
    const LOAD: bool = true;
    type Vmids = Vmids;

    fn vmids(boot: &Boot<'_>) -> Vmids {
        Vmids::boot(boot, Version::V4)
    }
}

/// The variant.
pub type Port = Vms<InPlace, Mmu<true>>;
