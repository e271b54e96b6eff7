// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine that a scenario asks for.

use crate::arm64::Granule;

/// Limits of [`Config`], both ends included.
pub mod limits {
    use core::ops::RangeInclusive;
    /// CPUs.
    pub const CPUS: RangeInclusive<u8> = 1..=4;
    /// Spaces, `A` to `H`.
    pub const SPACES: RangeInclusive<u8> = 1..=8;
    /// Tags (ASIDs or VMIDs), number 0 included, which no allocator hands out.
    pub const TAGS: RangeInclusive<u8> = 4..=16;
    /// Levels of a page table; the last is always level 3.
    pub const LEVELS: RangeInclusive<u8> = 2..=3;
}

/// The architecture. Not a key of scenarios: a variant's kernel runs on the one that it is
/// written for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Arch {
    /// Armv8-A.
    #[default]
    Arm64,
    /// x86-64.
    X86,
    /// RISC-V.
    Riscv,
}

/// The memory model.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Memory {
    /// Sequential consistency: every access takes effect at its step.
    #[default]
    Sc,
    /// Total store order (x86): stores wait in a FIFO buffer per CPU, loads are in order.
    Tso,
    /// Armv8-A: stores drain out of order, loads may be stale (machine rules 1 and 2).
    Arm,
}

impl Memory {
    /// Every model. Each allows all that the one before it does.
    pub const ALL: &'static [Memory] = &[Memory::Sc, Memory::Tso, Memory::Arm];

    /// Its word on the machine line.
    pub fn word(self) -> &'static str {
        match self {
            Memory::Sc => "sc",
            Memory::Tso => "tso",
            Memory::Arm => "arm",
        }
    }

    /// Whether stores wait in a buffer of their CPU.
    pub fn buffers(self) -> bool {
        self != Memory::Sc
    }

    /// Whether reads may give values that are not the newest.
    pub fn stale_reads(self) -> bool {
        self == Memory::Arm
    }

    /// What it is, in one line.
    pub fn about(self) -> &'static str {
        match self {
            Memory::Sc => "sequential consistency: every access takes effect at its step",
            Memory::Tso => "total store order (x86): stores wait in a FIFO buffer of their CPU",
            Memory::Arm => "Armv8-A: stores reach memory out of order, loads may give old values",
        }
    }
}

/// Which CPUs share a TLB.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Domain {
    /// A TLB for each CPU.
    Private,
    /// CPUs 0 and 1 are siblings on one TLB, and so are 2 and 3. An entry made with
    /// CnP=0 serves only the CPU that made it.
    #[default]
    Smt,
}

/// FEAT_BBM: what the hardware does while a live entry changes its size.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
pub enum Bbm {
    /// Level 0: break-before-make for every change.
    #[default]
    Level0,
    /// Level 1: a block may change its size with the nT bit set.
    Level1,
    /// Level 2: the size may change freely, at the risk of a TLB conflict abort.
    Level2,
    /// Level 2 and no conflict aborts: exactly one of the entries answers.
    NoAbort,
}

macro_rules! switches {
    ($($name:ident $word:literal $about:literal;)*) => {
        /// Points where the architecture is unclear or cores differ. Off is what the
        /// architecture allows and the ported kernels take for granted; docs/machine.md
        /// discusses each.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[allow(missing_docs)] // the rows of the table say it
        pub enum Switch { $($name),* }

        impl Switch {
            /// Every switch, in the order of printing.
            pub const ALL: &'static [Switch] = &[$(Switch::$name),*];

            /// Its key on the machine line.
            pub fn word(self) -> &'static str {
                match self { $(Switch::$name => $word),* }
            }

            /// What it is, in one line.
            pub fn about(self) -> &'static str {
                match self { $(Switch::$name => $about),* }
            }
        }
    };
}

switches! {
    OutOfContext "ooc" "a PE at EL2 may begin walks for the EL1&0 context in its registers (Arm errata 1165522, 1319367, 1530923)";
    Ets "ets" "FEAT_ETS2: a translation fault is ordered behind what its access is ordered behind";
    Lpa2 "lpa2" "FEAT_LPA2: a level hint may say 0, or 1 with 16 KB; without it, that is no hint";
    Inflight "inflight" "a walk outlives the context synchronization that replaced its context, until a DSB of its CPU (Arm ARM R_LFHQG); on RISC-V, a write of satp, until a fence";
    KeepGlobal "keepglobal" "INVLPG leaves global entries while CR4.PCIDE is set (Intel erratum; Linux ce0b15d11ad8)";
    Svvptc "svvptc" "RISC-V: invalid descriptors are not cached (Svvptc)";
    LateTag "latetag" "what a walk inserts is tagged with the context that is loaded then, not the one it began under; with inflight (Arm ARM R_LFHQG; commits 55b5bac15939, 7e1b2329c205)";
    HwAfDbm "hafdbs" "hardware sets the access flag, and makes a page with DBM writable at a store (FEAT_HAFDBS with TCR_ELx.HA and HD)";
    Sibling "sibling" "a local TLBI reaches everything in the shared TLB, and the walks of every CPU that uses it";
    ExS "exs" "exception entry and return do not synchronize the context (FEAT_ExS with SCTLR_ELx.EIS and EOS 0)";
}

/// The switches that are on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Switches(u32);

impl Switches {
    /// Whether one is on.
    pub fn on(self, switch: Switch) -> bool {
        self.0 & 1 << switch as u32 != 0
    }

    /// The same with one on or off.
    pub fn with(self, switch: Switch, on: bool) -> Switches {
        let bit = 1 << switch as u32;
        Switches(if on { self.0 | bit } else { self.0 & !bit })
    }

    /// Those that are on.
    pub fn iter(self) -> impl Iterator<Item = Switch> {
        let all = Switch::ALL.iter().copied();
        all.filter(move |switch| self.on(*switch))
    }
}

/// The machine line of a scenario.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Config {
    /// Number of CPUs.
    pub cpus: u8,
    /// Number of spaces.
    pub spaces: u8,
    /// Number of tags, including the unused number 0. At least `cpus + 2`, or an
    /// allocator can run dry at a rollover.
    pub tags: u8,
    /// Architecture; a variant's choice.
    pub arch: Arch,
    /// Memory model.
    pub memory: Memory,
    /// Which CPUs share a TLB.
    pub domain: Domain,
    /// FEAT_BBM level.
    pub bbm: Bbm,
    /// Levels of a page table.
    pub levels: u8,
    /// Translation granule. Addresses count pages of [`PAGE`](crate::PAGE) bytes all the same.
    pub granule: Granule,
    /// Architectural choices.
    pub switches: Switches,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            cpus: 2,
            spaces: 4,
            tags: 4,
            arch: Arch::Arm64,
            memory: Memory::Sc,
            domain: Domain::Smt,
            bbm: Bbm::Level2,
            levels: 2,
            granule: Granule::K4,
            switches: Switches::default(),
        }
    }
}

impl Config {
    /// The nearest configuration within the [`limits`].
    pub fn clamp(mut self) -> Self {
        let fit = |v: u8, r: core::ops::RangeInclusive<u8>| v.clamp(*r.start(), *r.end());
        self.cpus = fit(self.cpus, limits::CPUS);
        self.spaces = fit(self.spaces, limits::SPACES);
        self.tags = fit(self.tags, limits::TAGS).max(self.cpus + 2);
        self.levels = fit(self.levels, limits::LEVELS);
        if self.arch == Arch::X86 && self.memory == Memory::Arm {
            self.memory = Memory::Tso;
        }
        self
    }

    /// What hardware makes of several entries for one address. Elsewhere than on Armv8-A, one of
    /// them answers (Intel SDM vol. 3, 4.10.2.2; RISC-V privileged
    /// specification, SFENCE.VMA).
    pub fn answers(&self) -> Bbm {
        match self.arch {
            Arch::Arm64 => self.bbm,
            _ => Bbm::NoAbort,
        }
    }

    /// The level of the root table.
    pub fn first_level(&self) -> u8 {
        4 - self.levels
    }

    /// The TLB that a CPU uses.
    pub fn tlb_of(&self, cpu: u8) -> usize {
        match self.domain {
            Domain::Private => cpu as usize,
            Domain::Smt => cpu as usize / 2,
        }
    }
}

/// Which of several TLB entries for one address answers an access.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Pick {
    /// The one that was filled first.
    #[default]
    Oldest,
    /// The one that was filled last.
    Newest,
    /// None: a TLB conflict abort, where FEAT_BBM allows one.
    Abort,
    /// A mix of them, where FEAT_BBM allows amalgamation; else the oldest.
    Mix,
}
