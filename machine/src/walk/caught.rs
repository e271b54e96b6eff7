// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which TLBIs catch a walk in flight.

use super::{Next, Walk};
use crate::arm64::{Scope, Stage, Tlbi, Ttl};
use crate::context::level_size;
use crate::mem::{GROUP, SLOTS};
use crate::op::PAGE;
use crate::tlbi::Tables;

impl Walk {
    /// Whether a TLBI catches it: it has read, or may have, something that is covered
    /// (machine rule 10).
    pub fn hit_by(&self, op: &Tlbi, vmid: u16) -> bool {
        let tags = &self.ctx.tags;
        let row = op.kind.row();
        let tagged = self.leaf1.is_none_or(|leaf| !leaf.is.global);
        let addr = match row.scope {
            Scope::All => return true,
            Scope::VmBoth | Scope::Vm => return tags.vmid == vmid,
            Scope::Asid => return tags.vmid == vmid && tags.asid == op.asid_field(),
            Scope::NonGlobal => return true,
            _ if row.tables == Tables::All && tags.asid == op.asid_field() => return true,
            Scope::VaOwn if tags.asid != op.asid_field() => return false,
            Scope::Va if self.ctx.stage1 != 0 && tagged && tags.asid != op.asid_field() => {
                return false;
            }
            Scope::Va | Scope::VaOwn | Scope::VaAllAsid => self.va,
            Scope::Ipa if self.ctx.stage2 == 0 => return false,
            Scope::Ipa => match (self.next, self.leaf2.or(self.table)) {
                (_, Some(leaf)) => leaf.input,
                (
                    Next::Read {
                        stage: Stage::Two,
                        input,
                        ..
                    },
                    _,
                ) => input,
                _ => return false,
            },
        };
        let leaf = match row.scope {
            Scope::Ipa => self.leaf2.or(self.table),
            _ => self.leaf1.or(self.leaf2),
        };
        let level = match (op.ttl(), leaf) {
            (Ttl::Level(hint), Some(leaf)) => leaf.level == hint,
            _ => true,
        };
        // What it has read translates more than the one page: a leaf all that the leaf maps,
        // a table pointer all that the table does.
        let size = match (leaf, self.next) {
            (Some(leaf), _) if leaf.desc.contiguous() => GROUP as u64 * level_size(leaf.level),
            (Some(leaf), _) => level_size(leaf.level),
            (
                None,
                Next::Read {
                    stage, level, at, ..
                }
                | Next::Mark {
                    stage, level, at, ..
                },
            ) if !self.in_root(stage, at) => level_size(level - 1),
            (None, _) => PAGE,
        };
        let covered = op.covers(addr / size * size, size);
        tags.vmid == vmid && covered && level && (leaf.is_some() || !row.last())
    }

    /// Whether a descriptor is one of the root table's, so that nothing led to it.
    fn in_root(&self, stage: Stage, at: u64) -> bool {
        let root = match stage {
            Stage::One => self.ctx.stage1,
            Stage::Two => self.ctx.stage2,
        };
        at.wrapping_sub(root) < SLOTS as u64 * 8
    }
}
