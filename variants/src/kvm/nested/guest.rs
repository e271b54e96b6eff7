// SPDX-License-Identifier: GPL-2.0-only
//! The guest hypervisor, L1: its VMs' stage 2, which it believes to be what hardware walks.
//!
//! It is a hypervisor of no particular make, and keeps to the architecture. Of VMs with an odd
//! letter (B, D, ...), it gives level hints, uses range operations, and has a root table for each
//! half of its CPUs (as it may with CnP = 0). Of the others it gives no hints.

use super::fault::Trans;
use super::shadow::Shadows;
use super::tlbi::GuestTlbi;
use shootdown_machine::arm64::{Desc, Stage, ttbr};
use shootdown_machine::{
    BLOCK_PAGES, Boot, Cpu, Done, Dsb, Lock, PAGE, Page, Prot, Ram, SLOTS, Shared, Space, Va,
    initial_page, level_size, slot_pa,
};

/// A block, as the host has it.
pub(super) const BLOCK: u64 = BLOCK_PAGES as u64 * PAGE;

/// L1.
#[derive(Debug)]
pub struct Guest {
    /// What it runs on.
    pub host: Shadows,
    /// Of its own, for each VM: nobody else changes the tables.
    pub(super) lock: [Lock; 8],
    /// The root tables, of level 2, and a table below each slot.
    roots: [[u64; 2]; 8],
    tables: [[u64; SLOTS]; 8],
    /// Where the guest thinks that its root tables are: a new VM's are elsewhere.
    pgd: [Shared<u64>; 8],
    /// It is shown FEAT_BBM level 2.
    bbm: bool,
}

/// Whether L1 gives hints for a VM, and has a root table for each half of its CPUs.
fn elaborate(vm: Space) -> bool {
    vm.0 % 2 == 1
}

impl Guest {
    /// L1 with its VMs, which have what spaces begin with.
    pub fn boot(boot: &Boot<'_>, host: Shadows) -> Guest {
        let spaces = boot.config().spaces;
        let pgd = core::array::from_fn(|i| {
            let vm = Space(i as u8);
            if vm.0 < spaces { boot.root(vm) } else { 0 }
        });
        let mut guest = Guest {
            lock: boot.locks("l1.mmu_lock"),
            roots: [[0; 2]; 8],
            tables: [[0; SLOTS]; 8],
            pgd: boot.vars_from("l1.pgd_phys", pgd),
            bbm: host.dev.bbm_exposed,
            host,
        };
        for vm in (0..spaces).map(Space) {
            guest.boot_vm(boot, vm);
        }
        guest
    }

    fn boot_vm(&mut self, boot: &Boot<'_>, vm: Space) {
        let i = vm.0 as usize;
        let roots = if elaborate(vm) { 2 } else { 1 };
        self.roots[i] = [boot.reserved_table(); 2];
        if roots == 2 {
            self.roots[i][1] = boot.reserved_table();
        }
        boot.primary(vm, self.roots[i][0]);
        for slot in 0..SLOTS {
            let ptes = boot.reserved_table();
            self.tables[i][slot] = ptes;
            for root in &self.roots[i][..roots] {
                boot.set(root + slot as u64 * 8, Desc::table(ptes));
            }
        }
        for page in 0..2 {
            let pa = boot.page(vm, initial_page(vm, page));
            let pte = slot_pa(self.tables[i][0], 3, page as u64 * PAGE);
            boot.set(pte, Desc::leaf(Stage::Two, 3, pa, true));
        }
        let pa = boot.block(vm, initial_page(vm, BLOCK_PAGES));
        if self.bbm {
            // It makes a block of them when it sees that they are used.
            for i in 0..SLOTS as u64 {
                let page = Desc::leaf(Stage::Two, 3, pa + i * PAGE, true);
                boot.set(self.table(vm, BLOCK) + i * 8, page.with_accessed(false));
            }
            return;
        }
        for root in &self.roots[i][..roots] {
            let block = Desc::leaf(Stage::Two, 2, pa, true);
            boot.set(slot_pa(*root, 2, BLOCK), block);
        }
    }

    /// Which of the root tables a CPU uses.
    fn half(cpu: Cpu<'_>, vm: Space) -> usize {
        if elaborate(vm) {
            cpu.id() as usize % 2
        } else {
            0
        }
    }

    fn table(&self, vm: Space, ipa: Va) -> u64 {
        self.tables[vm.0 as usize][(ipa / BLOCK) as usize % SLOTS]
    }

    /// VTTBR_EL2, as L1 has it for a VM.
    pub(super) async fn vttbr(&self, cpu: Cpu<'_>, vm: Space) -> u64 {
        let pgd = self.pgd[vm.0 as usize].read(cpu).await;
        let half = Guest::half(cpu, vm) as u64;
        ttbr::new(pgd + half * PAGE / 2, vm.0 as u16 + 1, false)
    }

    /// `kvm_walk_nested_s2`: what the tables say that this CPU has in VTTBR_EL2.
    pub(super) async fn kvm_walk_nested_s2(&self, cpu: Cpu<'_>, vm: Space, ipa: Va) -> Trans {
        let root = self.roots[vm.0 as usize][Guest::half(cpu, vm)];
        self.walk(cpu, vm, root, ipa).await.1
    }

    /// A leaf, and where it lies.
    async fn walk(&self, cpu: Cpu<'_>, vm: Space, root: u64, ipa: Va) -> (u64, Trans) {
        let at = slot_pa(root, 2, ipa);
        let desc = cpu.pte_read(at).await;
        if !desc.is_table(2) {
            return (at, Trans { desc, level: 2 });
        }
        let at = slot_pa(self.table(vm, ipa), 3, ipa);
        let desc = cpu.pte_read(at).await;
        (at, Trans { desc, level: 3 })
    }

    /// L1's own look at its tables. Its lock is held.
    pub(super) async fn leaf(&self, cpu: Cpu<'_>, vm: Space, ipa: Va) -> (u64, Trans) {
        self.walk(cpu, vm, self.roots[vm.0 as usize][0], ipa).await
    }

    /// Writes a descriptor of level 2, in every root. The table that it points to is complete by
    /// then.
    async fn set_pmd(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, desc: Desc) {
        let roots = self.roots[vm.0 as usize];
        cpu.pte_write_release(slot_pa(roots[0], 2, ipa), desc).await;
        if elaborate(vm) {
            cpu.pte_write_release(slot_pa(roots[1], 2, ipa), desc).await;
        }
    }

    /// Writes a leaf, where it was found.
    pub(super) async fn set(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, at: (u64, u8), desc: Desc) {
        match at.1 {
            2 => self.set_pmd(cpu, vm, ipa, desc).await,
            _ => cpu.pte_write(at.0, desc).await,
        }
    }

    /// A TLBI of L1's, when its changes are visible. The DSB that would follow has nothing to wait
    /// for that the emulation has not waited for.
    async fn tlbi(&self, cpu: Cpu<'_>, vm: Space, tlbi: GuestTlbi) {
        let vttbr = self.vttbr(cpu, vm).await;
        cpu.dsb(Dsb::Ishst).await;
        self.host.handle_tlbi(cpu, vttbr, tlbi).await;
    }

    /// What was a leaf of this level is in no TLB.
    async fn flush(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, level: u8) {
        if level == 2 && self.bbm && self.flush_small(cpu, vm, ipa).await {
            return;
        }
        let tlbi = match self.host.granule.level(level) {
            _ if !elaborate(vm) => GuestTlbi::Ipa(ipa, None),
            2 => GuestTlbi::Range(ipa / BLOCK * BLOCK, BLOCK, 2),
            level => GuestTlbi::Ipa(ipa, Some(level)),
        };
        self.tlbi(cpu, vm, tlbi).await;
    }

    /// Under FEAT_BBM level 2, entries for pages may be left from before they became this block:
    /// for those that had been accessed, and only for those. A TLBI without a hint takes such an
    /// entry away, and that of the block. `false`: there are none.
    async fn flush_small(&self, cpu: Cpu<'_>, vm: Space, ipa: Va) -> bool {
        let first = ipa / BLOCK * BLOCK;
        let mut any = false;
        for page in (0..SLOTS as u64).map(|i| first + i * PAGE) {
            let at = slot_pa(self.table(vm, page), 3, page);
            let pte = cpu.pte_read(at).await;
            if pte.valid() && pte.accessed() {
                self.tlbi(cpu, vm, GuestTlbi::Ipa(page, None)).await;
                any = true;
            }
            cpu.pte_write(at, Desc::INVALID).await;
        }
        any
    }

    /// Maps a page, where nothing was.
    pub async fn map(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, page: Page) -> Done {
        self.lock[vm.0 as usize].lock(cpu).await;
        let (at, old) = self.leaf(cpu, vm, ipa).await;
        let mut done = Done::No;
        if !old.desc.valid() {
            let pa = cpu.alloc_page(vm, page).await;
            done = Done::Exhausted;
            if pa != 0 {
                cpu.pte_write(at, Desc::leaf(Stage::Two, 3, pa, true)).await;
                done = Done::Yes;
            }
        }
        self.lock[vm.0 as usize].unlock(cpu).await;
        done
    }

    /// Unmaps a page, and frees it.
    pub async fn unmap(&self, cpu: Cpu<'_>, vm: Space, ipa: Va) -> Done {
        self.lock[vm.0 as usize].lock(cpu).await;
        let (at, old) = self.leaf(cpu, vm, ipa).await;
        let mut done = Done::No;
        if old.level == 3 && old.desc.valid() {
            cpu.pte_write(at, Desc::INVALID).await;
            self.flush(cpu, vm, ipa, 3).await;
            // L1 has had the page in its own tables.
            self.host.kvm_handle_s1e2_tlbi(cpu).await;
            cpu.free(old.desc.addr()).await;
            done = Done::Yes;
        }
        self.lock[vm.0 as usize].unlock(cpu).await;
        done
    }

    /// A permission that is given needs no TLBI: it is asked for by a fault.
    pub async fn protect(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, prot: Prot) -> Done {
        self.lock[vm.0 as usize].lock(cpu).await;
        let (at, old) = self.leaf(cpu, vm, ipa).await;
        let writable = prot == Prot::Rw;
        let mut done = Done::No;
        if old.desc.valid() && old.desc.writable(Stage::Two) != writable {
            let new = old.desc.with_writable(Stage::Two, writable);
            self.set(cpu, vm, ipa, (at, old.level), new).await;
            if !writable || elaborate(vm) {
                self.flush(cpu, vm, ipa, old.level).await;
            }
            done = Done::Yes;
        }
        self.lock[vm.0 as usize].unlock(cpu).await;
        done
    }

    /// Moves a page, with a break.
    pub async fn remap(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, page: Page) -> Done {
        self.lock[vm.0 as usize].lock(cpu).await;
        let (at, old) = self.leaf(cpu, vm, ipa).await;
        let mut done = Done::No;
        if old.level == 3 && old.desc.valid() {
            let new = cpu.alloc_page(vm, page).await;
            done = Done::Exhausted;
            if new != 0 {
                cpu.pte_write(at, Desc::INVALID).await;
                self.flush(cpu, vm, ipa, 3).await;
                cpu.copy_page(old.desc.addr(), new).await;
                let writable = old.desc.writable(Stage::Two);
                cpu.pte_write(at, Desc::leaf(Stage::Two, 3, new, writable))
                    .await;
                cpu.free(old.desc.addr()).await;
                done = Done::Yes;
            }
        }
        self.lock[vm.0 as usize].unlock(cpu).await;
        done
    }

    /// A block becomes pages, with a break. Nobody has accessed them yet, which matters only to
    /// one who keeps account of that.
    pub async fn split(&self, cpu: Cpu<'_>, vm: Space, ipa: Va) -> Done {
        self.lock[vm.0 as usize].lock(cpu).await;
        let (_, old) = self.leaf(cpu, vm, ipa).await;
        let is_block = old.level == 2 && old.desc.valid();
        if is_block {
            self.set_pmd(cpu, vm, ipa, Desc::INVALID).await;
            self.flush(cpu, vm, ipa, 2).await;
            let (table, writable) = (self.table(vm, ipa), old.desc.writable(Stage::Two));
            for i in 0..SLOTS as u64 {
                let page = Desc::leaf(Stage::Two, 3, old.desc.addr() + i * PAGE, writable);
                cpu.pte_write(table + i * 8, page.with_accessed(!self.bbm))
                    .await;
            }
            self.set_pmd(cpu, vm, ipa, Desc::table(table)).await;
        }
        self.lock[vm.0 as usize].unlock(cpu).await;
        if is_block { Done::Yes } else { Done::No }
    }

    /// Pages become a block: in place if they are one already, else by copying.
    pub async fn collapse(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, page: Page) -> Done {
        self.lock[vm.0 as usize].lock(cpu).await;
        let done = self
            .collapse_locked(cpu, vm, ipa / BLOCK * BLOCK, page)
            .await;
        self.lock[vm.0 as usize].unlock(cpu).await;
        done
    }

    async fn collapse_locked(&self, cpu: Cpu<'_>, vm: Space, first: Va, page: Page) -> Done {
        let (_, old) = self.leaf(cpu, vm, first).await;
        if old.level == 2 {
            return Done::No;
        }
        let ptes = self.ptes(cpu, vm, first).await;
        if !alike(&ptes) {
            return Done::No;
        }
        let (base, writable) = (ptes[0].addr(), ptes[0].writable(Stage::Two));
        let in_place = adjacent(&ptes);
        if in_place && self.bbm {
            let block = Desc::leaf(Stage::Two, 2, base, writable);
            self.set_pmd(cpu, vm, first, block).await;
            return Done::Yes;
        }
        let new = match in_place {
            true => base,
            false => cpu.alloc_block(vm, page).await,
        };
        if new == 0 {
            return Done::Exhausted;
        }
        self.set_pmd(cpu, vm, first, Desc::INVALID).await;
        let pages = match elaborate(vm) {
            true => GuestTlbi::Range(first, BLOCK, 3),
            false => GuestTlbi::All,
        };
        self.tlbi(cpu, vm, pages).await;
        for (i, pte) in (0..).zip(&ptes).filter(|_| !in_place) {
            cpu.copy_page(pte.addr(), new + i * PAGE).await;
        }
        if self.bbm {
            // None of them has an entry.
            for page in (0..SLOTS as u64).map(|i| first + i * PAGE) {
                let at = slot_pa(self.table(vm, page), 3, page);
                cpu.pte_write(at, Desc::INVALID).await;
            }
        }
        let block = Desc::leaf(Stage::Two, 2, new, writable);
        self.set_pmd(cpu, vm, first, block).await;
        for pte in ptes.iter().filter(|_| !in_place) {
            cpu.free(pte.addr()).await;
        }
        Done::Yes
    }

    /// A page that had not been accessed is. Under FEAT_BBM level 2, the second one of what is
    /// a block in memory makes it one, in place: no TLB has an entry of it alone.
    pub(super) async fn accessed(&self, cpu: Cpu<'_>, vm: Space, ipa: Va, at: u64, page: Desc) {
        let first = ipa / BLOCK * BLOCK;
        let ptes = self.ptes(cpu, vm, first).await;
        if alike(&ptes) && adjacent(&ptes) && ptes.iter().any(|pte| pte.accessed()) {
            let writable = page.writable(Stage::Two);
            let block = Desc::leaf(Stage::Two, 2, ptes[0].addr(), writable);
            self.set_pmd(cpu, vm, first, block).await;
        } else {
            cpu.pte_write(at, page.with_accessed(true)).await;
        }
    }

    /// The descriptors of a block's pages.
    async fn ptes(&self, cpu: Cpu<'_>, vm: Space, first: Va) -> [Desc; SLOTS] {
        let mut ptes = [Desc::INVALID; SLOTS];
        for (i, pte) in (0..).zip(&mut ptes) {
            *pte = cpu.pte_read(self.table(vm, first) + i * 8).await;
        }
        ptes
    }

    /// Ends a VM. The next has another root table, under the same VMID.
    pub async fn exit(&self, cpu: Cpu<'_>, vm: Space) -> Done {
        let mut pages = [0; SLOTS * SLOTS];
        for (slot, pages) in (0..SLOTS as u64).zip(pages.chunks_mut(SLOTS)) {
            let first = slot * BLOCK;
            let table = self.table(vm, first);
            let (_, old) = self.leaf(cpu, vm, first).await;
            for (i, pa) in (0..).zip(pages) {
                let pte = cpu.pte_read(table + i * 8).await;
                if old.level == 2 {
                    *pa = old.desc.addr() + i * level_size(3);
                } else if pte.valid() {
                    *pa = pte.addr();
                }
                cpu.pte_write(table + i * 8, Desc::INVALID).await;
            }
            if old.level == 2 {
                self.set_pmd(cpu, vm, first, Desc::table(table)).await;
            }
        }
        self.tlbi(cpu, vm, GuestTlbi::All).await;
        for pa in pages.into_iter().filter(|pa| *pa != 0) {
            cpu.free(pa).await;
        }
        self.host.forget(cpu, vm);
        let old = self.pgd[vm.0 as usize].read(cpu).await;
        let new = cpu.new_root(vm).await;
        self.pgd[vm.0 as usize].write(cpu, new).await;
        cpu.free(old).await;
        if new != 0 { Done::Yes } else { Done::Exhausted }
    }
}

/// Whether pages are all there, with one permission.
fn alike(ptes: &[Desc; SLOTS]) -> bool {
    let writable = ptes[0].writable(Stage::Two);
    let alike = |pte: &Desc| pte.valid() && pte.writable(Stage::Two) == writable;
    ptes.iter().all(alike)
}

/// Whether they are a block in memory.
fn adjacent(ptes: &[Desc; SLOTS]) -> bool {
    let base = ptes[0].addr();
    let mut ptes = (0..).zip(ptes);
    Ram::is_block(base) && ptes.all(|(i, pte)| pte.addr() == base + i * PAGE)
}
