// SPDX-License-Identifier: GPL-2.0-only
//! A guest hypervisor's TLBIs, emulated: `sys_regs.c`, and `nested.c` for how much to take away.

use super::shadow::{INVALID, Shadows};
use super::{Granule, Look};
use shootdown_machine::arm64::Ttl;
use shootdown_machine::{Cpu, PAGE, PAGES, Space, Va};

/// Places worth reaching.
pub const GOAL_NOTED: &str = "a shadow leaf says that the guest has a block";
/// As above.
pub const GOAL_ELSEWHERE: &str = "the shadow leaf found is not about the address";
/// As above.
pub const GOAL_HEAD: &str = "the first page of a block has the note, not the page itself";
/// As above.
pub const GOAL_SEVERAL: &str = "a TLBI reaches several shadow stage 2s";

/// What a guest hypervisor has executed. What reaches fewer CPUs than the inner shareable domain
/// is taken to reach that.
#[derive(Clone, Copy, Debug)]
pub(super) enum GuestTlbi {
    /// IPAS2E1: an address, and the level of its leaf if the guest gives it.
    Ipa(Va, Option<u8>),
    /// RIPAS2E1: first address and size, and the level of the leaves.
    Range(Va, u64, u8),
    /// VMALLS12E1.
    All,
}

/// Bytes that a guest's guest can address.
const ALL: u64 = PAGES as u64 * PAGE;

impl Shadows {
    /// `handle_ipas2e1is` and its like, by way of `kvm_s2_mmu_iterate_by_vmid`: all that have the
    /// guest's VMID, whatever their tables.
    pub(super) async fn handle_tlbi(&self, cpu: Cpu<'_>, vttbr: u64, tlbi: GuestTlbi) {
        let mut reached = 0;
        self.mmu_lock.write_lock(cpu).await;
        // Our own: a fault that has read the guest's tables before now may not map what it has
        // read. The kernel may give mmu_lock back on the way, so that this comes first.
        if !self.dev.overtaken {
            let seq = self.mmu_invalidate_seq.read(cpu).await;
            self.mmu_invalidate_seq.write(cpu, seq + 1).await;
        }
        for i in 0..self.nested_mmus_size {
            let theirs = self.tlb_vttbr[i as usize].read(cpu).await;
            if theirs == INVALID || !Shadows::same_vmid(theirs, vttbr) {
                continue;
            }
            self.unmap(cpu, Space(i), tlbi).await;
            reached += 1;
            if self.dev.one_mmu {
                break;
            }
        }
        if reached > 1 {
            cpu.goal(GOAL_SEVERAL);
        }
        self.mmu_lock.write_unlock(cpu).await;
    }

    /// `s2_mmu_unmap_ipa`, `s2_mmu_unmap_range`.
    async fn unmap(&self, cpu: Cpu<'_>, mmu: Space, tlbi: GuestTlbi) {
        let mut ttl = Ttl::Unknown;
        let range = match tlbi {
            GuestTlbi::Ipa(base_addr, hint) => {
                let max_size = self
                    .compute_tlb_inval_range(cpu, mmu, base_addr, hint)
                    .await;
                let first = base_addr / max_size * max_size;
                match self.dev.no_align {
                    true => (base_addr, max_size.min(ALL - base_addr)),
                    false => (first, max_size),
                }
            }
            GuestTlbi::Range(base, range, level) => {
                if self.dev.range_ttl {
                    ttl = Ttl::Level(level);
                }
                (base, range)
            }
            GuestTlbi::All => (0, ALL),
        };
        self.pgt.unmap_hinted(cpu, mmu, range, ttl).await;
    }

    async fn compute_tlb_inval_range(
        &self,
        cpu: Cpu<'_>,
        mmu: Space,
        addr: Va,
        hint: Option<u8>,
    ) -> u64 {
        let level = match (hint, self.look) {
            (Some(level), _) => Some(level),
            (None, Look::Down) => self.get_guest_mapping_ttl(cpu, mmu, addr).await,
            (None, Look::Around) => self.look_around(cpu, mmu, addr).await,
            (None, Look::Nowhere) => None,
        };
        let granule = self.guest_granule();
        granule.size(level.unwrap_or(granule.largest()))
    }

    /// The granule that the guest has in VTCR_EL2.
    fn guest_granule(&self) -> Granule {
        match self.dev.host_granule {
            true => Granule::Same,
            false => self.granule,
        }
    }

    /// What the shadow leaf at an address notes.
    async fn noted(&self, cpu: Cpu<'_>, mmu: Space, at: Va) -> Option<u8> {
        let (leaf, _) = self.pgt.get_leaf(cpu, mmu, at).await;
        Some(leaf.noted_level()).filter(|level| leaf.valid() && *level != 0)
    }

    /// `get_guest_mapping_ttl`: a guest's leaf of each size would begin at one address, and if
    /// that is in the shadow, it says how large the leaf is.
    async fn get_guest_mapping_ttl(&self, cpu: Cpu<'_>, mmu: Space, addr: Va) -> Option<u8> {
        let granule = self.guest_granule();
        for level in (granule.largest()..=3).rev() {
            let tmp = addr / granule.size(level) * granule.size(level);
            let Some(noted) = self.noted(cpu, mmu, tmp).await else {
                continue;
            };
            if addr >= tmp + granule.size(noted) {
                cpu.goal(GOAL_ELSEWHERE);
                return self.dev.no_bound_test.then_some(noted);
            }
            if granule.size(noted) > PAGE {
                cpu.goal(GOAL_NOTED);
            }
            if tmp != addr && level == noted {
                cpu.goal(GOAL_HEAD);
            }
            return Some(noted);
        }
        None
    }

    /// What the first version of the patch had: any page of a leaf says how large it is.
    async fn look_around(&self, cpu: Cpu<'_>, mmu: Space, addr: Va) -> Option<u8> {
        let granule = self.guest_granule();
        for level in (granule.largest()..=3).rev() {
            let size = granule.size(level);
            let first = addr / size * size;
            for at in (first..first + size).step_by(PAGE as usize) {
                let Some(noted) = self.noted(cpu, mmu, at).await else {
                    continue;
                };
                let leaf = at / granule.size(noted) * granule.size(noted);
                if addr.wrapping_sub(leaf) < granule.size(noted) {
                    if granule.size(noted) > PAGE {
                        cpu.goal(GOAL_NOTED);
                    }
                    return Some(noted);
                }
                cpu.goal(GOAL_ELSEWHERE);
            }
        }
        None
    }
}
