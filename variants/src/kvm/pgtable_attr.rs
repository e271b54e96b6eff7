// SPDX-License-Identifier: GPL-2.0-only
//! KVM's stage-2 tables: permissions and the access flag.

use super::pgtable::{Ctx, Mode, Pgtable, Stop, Walker};
use shootdown_machine::arm64::{Desc, Stage, Ttl};
use shootdown_machine::{Cpu, Dsb, PAGE, Space, Va};

/// Places worth reaching.
pub const GOAL_STALE: &str = "a permission fault that only a stale entry explains";

/// `stage2_attr_data`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attrs {
    writable: Option<bool>,
    accessed: Option<bool>,
    /// The level of the last leaf, and whether it has changed.
    level: Option<u8>,
    changed: bool,
}

impl Attrs {
    fn new(writable: Option<bool>, accessed: Option<bool>) -> Attrs {
        Attrs {
            writable,
            accessed,
            level: None,
            changed: false,
        }
    }
}

impl Pgtable {
    /// `stage2_attr_walker`.
    pub(super) async fn stage2_attr_walker(
        &self,
        cpu: Cpu<'_>,
        ctx: &Ctx,
        attrs: &mut Attrs,
    ) -> Result<(), Stop> {
        if !ctx.old.valid() {
            let locked = ctx.old == Desc::BUSY;
            return Err(if locked { Stop::Locked } else { Stop::Again });
        }
        attrs.level = Some(ctx.level);
        let mut new = ctx.old;
        if let Some(writable) = attrs.writable {
            new = new.with_writable(Stage::Two, writable);
        }
        if let Some(accessed) = attrs.accessed {
            new = new.with_accessed(accessed);
        }
        if new == ctx.old {
            return Ok(());
        }
        attrs.changed = true;
        if self.bbm2 {
            return self.try_make(cpu, ctx, new).await;
        }
        let set = self.try_set(cpu, ctx, new).await;
        set.then_some(()).ok_or(Stop::Again)
    }

    async fn update_leaf_attrs(
        &self,
        cpu: Cpu<'_>,
        vm: Space,
        range: (Va, u64),
        mode: Mode,
        attrs: &mut Attrs,
    ) -> Result<(), Stop> {
        let ignore_eagain = mode == Mode::Exclusive;
        let mut walker = Walker::Attr(attrs);
        self.walk(cpu, vm, range, mode, ignore_eagain, &mut walker)
            .await
    }

    /// `kvm_pgtable_stage2_wrprotect`. Its caller flushes; where entries are invalidated as they
    /// change, nobody has to.
    pub async fn wrprotect(&self, cpu: Cpu<'_>, vm: Space, addr: Va, size: u64) {
        let mut attrs = Attrs::new(Some(false), None);
        let range = (addr, size);
        let walk = self.update_leaf_attrs(cpu, vm, range, Mode::Exclusive, &mut attrs);
        let done = walk.await;
        debug_assert!(done.is_ok(), "what is not mapped is passed over");
    }

    /// `kvm_pgtable_stage2_relax_perms`. Only this CPU forgets the old permission: others take
    /// a fault of their own, and come here.
    pub async fn relax_perms(
        &self,
        cpu: Cpu<'_>,
        vm: Space,
        addr: Va,
        writable: bool,
    ) -> Result<(), Stop> {
        let mut attrs = Attrs::new(writable.then_some(true), None);
        let range = (addr, PAGE);
        let walk = self.update_leaf_attrs(cpu, vm, range, Mode::Shared, &mut attrs);
        let done = walk.await;
        if done.is_ok() && !attrs.changed {
            cpu.goal(GOAL_STALE);
        }
        let ttl = match (done, attrs.level) {
            // Our own: of a block that became a table in place, the entry may be there still.
            _ if self.bbm2 => Ttl::Unknown,
            (Ok(()), Some(level)) => Ttl::Level(level),
            _ => Ttl::Unknown,
        };
        if !self.dev.relax_no_flush {
            self.flush.flush_vmid_ipa_nsh(cpu, vm, addr, ttl).await;
        }
        done
    }

    /// `kvm_pgtable_stage2_mkyoung`. Without the flag nothing was cached.
    pub async fn mkyoung(&self, cpu: Cpu<'_>, vm: Space, addr: Va) -> Result<(), Stop> {
        let mut attrs = Attrs::new(None, Some(true));
        let range = (addr, PAGE);
        let walk = self.update_leaf_attrs(cpu, vm, range, Mode::Shared, &mut attrs);
        let done = walk.await;
        // Unnoticed: a walker that the store is late for makes one more fault, whose handler
        // waits for the lock, and with it for the store.
        cpu.dsb(Dsb::Ishst).await;
        done
    }

    /// `kvm_pgtable_stage2_test_clear_young`; whether the page was young.
    pub async fn test_clear_young(&self, cpu: Cpu<'_>, vm: Space, addr: Va) -> bool {
        let mut attrs = Attrs::new(None, Some(false));
        let range = (addr, PAGE);
        let walk = self.update_leaf_attrs(cpu, vm, range, Mode::Exclusive, &mut attrs);
        let done = walk.await;
        debug_assert!(done.is_ok(), "what is not mapped is passed over");
        attrs.changed
    }
}
