// SPDX-License-Identifier: MIT OR Apache-2.0
//! The records of the log, one a line, and the addresses in them.

use crate::export::before::site as place;
use core::fmt::Write as _;
use shootdown_machine::{BITS, BLOCK_PAGES, Dsb, PAGE, Site, Word, level_size};

/// Bits of an address that a level of real tables resolves.
const REAL_BITS: u32 = 9;
/// What a block maps, and real ones.
const BLOCK: u64 = BLOCK_PAGES as u64 * PAGE;
const REAL_BLOCK: u64 = PAGE << REAL_BITS;
/// Where the frames begin that come as blocks.
const BLOCKS: u64 = 512 * PAGE;

/// VTCR_EL2 of tables that begin at level 1: 39 bits of input address.
pub const VTCR_LEVEL_1: u64 = 1 << 6 | (64 - 39);
/// The same for level 2. With 30 bits, casemate would take the root for several tables; no
/// address here has 29.
pub const VTCR_LEVEL_2: u64 = 64 - 29;

/// An empty stage 2 for a host that has none, where no frame is.
pub const HOST_ROOT: u64 = 0x4000_0000;
const LOCKS: u64 = 0x4001_0000;

/// Where a lock is said to be.
pub fn lock_address(word: Word) -> u64 {
    LOCKS + word as u64 * 8
}

/// An input address with each index where real tables have it.
pub fn spread_ia(va: u64) -> u64 {
    let mask = (1 << BITS) - 1;
    let index = |level: u8| (va / level_size(level)) & mask;
    (1..=3).fold(0, |ia, level| (ia << REAL_BITS) | index(level)) * PAGE
}

/// A frame's address; those of blocks are as far apart as real blocks.
pub fn spread_pa(pa: u64) -> u64 {
    match pa.checked_sub(BLOCKS) {
        None => pa,
        Some(rest) => (rest / BLOCK + 1) * REAL_BLOCK + rest % BLOCK,
    }
}

/// A descriptor that leads there.
fn spread_desc(desc: u64) -> u64 {
    let address = 0x0000_ffff_ffff_f000;
    if desc & 1 == 0 {
        return desc; // nothing but what software has noted
    }
    desc & !address | spread_pa(desc & address)
}

/// The log.
#[derive(Default)]
pub struct Log {
    pub text: String,
    records: u32,
}

impl Log {
    /// One record: `None` for a place that only the boot has.
    fn record(&mut self, name: &str, cpu: u8, fields: &str, site: Option<Site>) {
        let id = self.records;
        self.records += 1;
        let src = site.map_or("boot:0".into(), place);
        let _ = writeln!(
            self.text,
            "({name} (id {id}) (tid {cpu}) {fields} (src \"{src}\"))"
        );
    }

    /// `mem-init`, or `mem-set` with a value: a whole table.
    pub fn range(&mut self, cpu: u8, name: &str, pa: u64, value: Option<u8>, site: Option<Site>) {
        let mut fields = format!("(address {pa:#x}) (size {PAGE:#x})");
        if let Some(value) = value {
            let _ = write!(fields, " (value {value:#x})");
        }
        self.record(name, cpu, &fields, site);
    }

    pub fn hint(&mut self, cpu: u8, kind: &str, location: u64, value: u64, site: Option<Site>) {
        let fields = format!("(kind {kind}) (location {location:#x}) (value {value:#x})");
        self.record("hint", cpu, &fields, site);
    }

    pub fn write(&mut self, cpu: u8, pa: u64, desc: u64, release: bool, site: Option<Site>) {
        let order = if release { "release" } else { "plain" };
        let desc = spread_desc(desc);
        let fields = format!("(mem-order {order}) (address {pa:#x}) (value {desc:#x})");
        self.record("mem-write", cpu, &fields, site);
    }

    pub fn read(&mut self, cpu: u8, pa: u64, desc: u64, site: Site) {
        let desc = spread_desc(desc);
        let fields = format!("(address {pa:#x}) (value {desc:#x})");
        self.record("mem-read", cpu, &fields, Some(site));
    }

    pub fn lock(&mut self, cpu: u8, name: &str, word: Word, site: Site) {
        let fields = format!("(address {:#x})", lock_address(word));
        self.record(name, cpu, &fields, Some(site));
    }

    /// A DSB, or an ISB.
    pub fn barrier(&mut self, cpu: u8, dsb: Option<Dsb>, site: Option<Site>) {
        let fields = match dsb {
            Some(kind) => format!("dsb (kind {})", kind.name()),
            None => "isb".into(),
        };
        self.record("barrier", cpu, &fields, site);
    }

    pub fn tlbi(&mut self, cpu: u8, name: &str, value: Option<u64>, site: Site) {
        let operand = value.map_or(String::new(), |value| format!(" (value {value:#x})"));
        self.record("tlbi", cpu, &format!("{name}{operand}"), Some(site));
    }

    pub fn sysreg(&mut self, cpu: u8, name: &str, value: u64, site: Option<Site>) {
        let fields = format!("(sysreg {name}) (value {value:#x})");
        self.record("sysreg-write", cpu, &fields, site);
    }
}
