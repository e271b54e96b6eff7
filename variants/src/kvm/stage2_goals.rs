// SPDX-License-Identifier: GPL-2.0-only
//! Places of the stage-2 code that are worth reaching.

use super::{mmu, pgtable, pgtable_attr, pgtable_map};

/// With break-before-make.
pub const BREAK: &[&str] = &[
    pgtable::GOAL_LOCKED,
    pgtable::GOAL_LOST,
    pgtable::GOAL_RELOAD,
    pgtable::GOAL_LAST,
    pgtable_map::GOAL_SAME,
    pgtable_map::GOAL_BLOCK_TO_TABLE,
    pgtable_map::GOAL_TABLE_TO_BLOCK,
    pgtable_attr::GOAL_STALE,
    mmu::GOAL_DURING,
    mmu::GOAL_OUTLIVED,
    mmu::GOAL_OLD,
];

/// Under FEAT_BBM level 2.
pub const IN_PLACE: &[&str] = &[
    pgtable::GOAL_LOST,
    pgtable_map::GOAL_SPLIT_IN_PLACE,
    pgtable_map::GOAL_MERGE_IN_PLACE,
    mmu::GOAL_CONFLICT,
];
