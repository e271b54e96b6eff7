// SPDX-License-Identifier: GPL-2.0-only
//! Pinned VMIDs, in the RFC of the allocator only: a device shares a VM's stage 2, and its number
//! must outlast rollovers.

use super::vmid::{Vmids, idx};
use crate::Defect;
use crate::consequences::ALIASED;
use shootdown_machine::{Boot, Cpu, Done, Shared, Space};

/// A rollover that begins with an empty map, though VMs keep what they have pinned.
pub const PINS_FORGOTTEN: Defect = Defect {
    name: "pins-forgotten",
    about: "rollover does not keep pinned VMIDs from being handed out",
    source: "derived from the RFC of 6 May 2021",
    breaks: &[ALIASED],
    needs: &[],
};

/// VMIDs that a rollover leaves as they are.
#[derive(Debug)]
pub(super) struct Pins {
    pinned_map: Shared<u64>,
    nr_pinned: Shared<u64>,
    max_pinned: u64,
    /// How often each VM is pinned.
    pub(super) pinned: [Shared<u64>; 8],
    forgotten: bool,
}

impl Pins {
    pub(super) fn boot(boot: &Boot<'_>) -> Pins {
        let config = boot.config();
        Pins {
            pinned_map: boot.var("pinned_vmid_map", 0),
            nr_pinned: boot.var("nr_pinned_vmids", 0),
            max_pinned: (config.tags as u64).saturating_sub(config.cpus as u64 + 2),
            pinned: boot.vars("vmid.pinned", 0),
            forgotten: boot.has(PINS_FORGOTTEN.name),
        }
    }

    /// The numbers that a rollover begins with.
    pub(super) async fn map_at_rollover(&self, cpu: Cpu<'_>) -> u64 {
        if self.forgotten {
            return 0;
        }
        self.pinned_map.read(cpu).await
    }
}

impl Vmids {
    /// `kvm_arm_pinned_vmid_get`: a device shares the VM's stage 2 from now on.
    pub(super) async fn kvm_arm_pinned_vmid_get(
        &self,
        cpu: Cpu<'_>,
        pins: &Pins,
        vm: Space,
    ) -> Done {
        let irqs_were_off = cpu.local_irq_save().await;
        self.cpu_vmid_lock.lock(cpu).await;
        let mut done = Done::Yes;
        let count = pins.pinned[vm.0 as usize].read(cpu).await;
        let nr_pinned = pins.nr_pinned.read(cpu).await;
        if count == 0 && nr_pinned >= pins.max_pinned {
            done = Done::No;
        } else if count == 0 {
            let mut vmid = self.id[vm.0 as usize].read(cpu).await;
            if !self.vmid_gen_match(cpu, vmid).await {
                vmid = self.new_vmid(cpu, vm).await;
            }
            // Unnoticed: how many there are only keeps their number down.
            pins.nr_pinned.write(cpu, nr_pinned + 1).await;
            pins.pinned_map.fetch_or(cpu, 1 << idx(vmid)).await;
        }
        if done == Done::Yes {
            // Unnoticed: without it the VM changes its number like any other, and only the
            // device, which is not modelled, would know.
            pins.pinned[vm.0 as usize].write(cpu, count + 1).await;
        }
        self.cpu_vmid_lock.unlock(cpu).await;
        if !irqs_were_off {
            cpu.local_irq_enable().await;
        }
        done
    }

    /// `kvm_arm_pinned_vmid_put`; `all`: the VM ends, and with it every use.
    pub(super) async fn kvm_arm_pinned_vmid_put(
        &self,
        cpu: Cpu<'_>,
        pins: &Pins,
        vm: Space,
        all: bool,
    ) -> Done {
        let vmid = self.id[vm.0 as usize].read(cpu).await;
        let irqs_were_off = cpu.local_irq_save().await;
        self.cpu_vmid_lock.lock(cpu).await;
        let count = pins.pinned[vm.0 as usize].read(cpu).await;
        let left = if all { 0 } else { count.saturating_sub(1) };
        if count != 0 {
            // Unnoticed: a VM that stays pinned costs a number, not safety.
            pins.pinned[vm.0 as usize].write(cpu, left).await;
        }
        if count != 0 && left == 0 {
            // Unnoticed: as the count.
            pins.pinned_map.fetch_andnot(cpu, 1 << idx(vmid)).await;
            let nr_pinned = pins.nr_pinned.read(cpu).await;
            // Unnoticed: as the count.
            pins.nr_pinned.write(cpu, nr_pinned.wrapping_sub(1)).await;
        }
        self.cpu_vmid_lock.unlock(cpu).await;
        if !irqs_were_off {
            cpu.local_irq_enable().await;
        }
        if count == 0 { Done::No } else { Done::Yes }
    }
}
