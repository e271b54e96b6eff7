// SPDX-License-Identifier: GPL-2.0-only
//! What kernels do: ports of TLB maintenance algorithms, to run on the simulated machine.
//!
//! A port reads like the C it follows: the same names in the same order, with one `.await`
//! for each access to shared state. A new variant is one file in `src/ports/`.

/// Defects, each a constant and a flag of one struct that says which are built in:
/// `flag CONSTANT "name" "about" "source" breaks;`.
macro_rules! defects {
    ($built:ident: $($(#[$doc:meta])* $flag:ident $constant:ident $name:literal $about:literal $source:literal $breaks:expr;)*) => {
        $($(#[$doc])* pub const $constant: $crate::Defect = $crate::Defect {
            name: $name,
            about: $about,
            source: $source,
            breaks: $breaks,
            needs: &[],
        };)*

        /// Which of them the kernel is built with.
        #[derive(Clone, Copy, Debug)]
        pub(super) struct $built {
            $($(#[$doc])* pub $flag: bool,)*
        }

        impl $built {
            pub fn boot(boot: &shootdown_machine::Boot<'_>) -> $built {
                $built { $($flag: boot.has($name),)* }
            }
        }
    };
}

pub mod arm64;
pub mod bbml3;
pub mod kvm;
pub mod mm;
pub mod pgtable;
pub mod riscv;
pub mod x86;

use shootdown_machine::{
    Access, Boot, Config, Cpu, Done, Op, OpKind, Outcome, Page, Prot, Space, Switch, Va,
};

/// The variants, and how to get at one by name. Made by the build from the files of
/// `src/ports/`.
pub mod ports {
    include!(concat!(env!("OUT_DIR"), "/ports.rs"));
}

/// Where the functions of each source file begin, by the build.
const FUNCTIONS: &[(&str, &[(u32, &str)])] = include!(concat!(env!("OUT_DIR"), "/functions.rs"));

/// The function of a port that a line of its source is in; `None`: it is no source of this crate.
pub fn function(file: &str, line: u32) -> Option<&'static str> {
    let file = file.replace('\\', "/");
    let of = |(name, _): &&(&str, _)| {
        let place = file.strip_suffix(name);
        place.is_some_and(|before| before.is_empty() || before.ends_with("variants/"))
    };
    let (_, begun) = FUNCTIONS.iter().find(of)?;
    let after = begun.partition_point(|(first, _)| *first <= line);
    Some(begun.get(after.checked_sub(1)?)?.1)
}

/// Where the sources of this crate are while it is built.
const FOLDER: &str = env!("CARGO_MANIFEST_DIR");

/// The name of a source file, the same for whoever builds it wherever: files of `src/ports` are
/// compiled under their whole path, which is left out here up to this crate's folder.
pub fn source(file: &str) -> &str {
    // Asked for at every step of a search: nearly all are relative, and told at once.
    match file.as_bytes().first() {
        Some(b'a'..=b'z') => file,
        _ => from_folder(file, FOLDER),
    }
}

/// What is left of a path from the last part of a folder's on, if it is within that.
fn from_folder<'a>(file: &'a str, folder: &str) -> &'a str {
    let above = folder.rfind(['/', '\\']).map_or(0, |at| at + 1);
    match file.strip_prefix(folder) {
        Some(_) => &file[above..],
        None => file,
    }
}

/// What a port follows.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Tree and version, as "Linux 7.3".
    pub tree: &'static str,
    /// Files and functions.
    pub files: &'static str,
}

/// A named deviation that a variant can be built with: a historical bug, or a plausible one.
#[derive(Clone, Copy, Debug)]
pub struct Defect {
    /// Its name, after the variant's: `arm64-asid/B-1`.
    pub name: &'static str,
    /// What is done wrong.
    pub about: &'static str,
    /// Commit, CVE or list thread.
    pub source: &'static str,
    /// The rules of which it must break one first; a list for each way it can go wrong.
    pub breaks: &'static [&'static [&'static str]],
    /// The switches of the machine without which it breaks nothing.
    pub needs: &'static [Switch],
}

/// What may be noticed first when tags go wrong. Which it is depends on who looks at the
/// entries first: the switch, the walker, the operation that returns, or the user.
pub mod consequences {
    /// Two spaces have come to use one tag.
    pub const ALIASED: &[&str] = &[
        "flush-before-reuse",
        "UniqueASIDPerCPU",
        "UniqueASIDAllCPUs",
        "UniqueASIDActiveTask",
        "UniqueVMIDPerCPU",
        "UniqueVMIDAllCPUs",
        "own-translations-only",
        "no-walk-of-freed-table",
    ];

    /// One space runs under two tags, so that invalidation by tag misses one of them.
    pub const DIVERGED: &[&str] = &[
        "SameASIDActiveTask",
        "TLBEmptyInvalPTE",
        "no-use-after-unmap",
        "no-use-of-freed-frame",
        "no-write-after-protect",
        "no-lost-write",
        "no-conflicting-entries",
        "break-before-make",
        "no-walk-of-freed-table",
    ];
}

impl Defect {
    /// Whether breaking this rule first is what the defect must do.
    pub fn explains(&self, rule: &str) -> bool {
        self.breaks.iter().any(|list| list.contains(&rule))
    }
}

/// What a variant promises about its tags (ASIDs or VMIDs), beyond what hardware demands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tagging {
    /// One space has one tag on all CPUs at a time; invalidation by tag relies on it.
    Global,
    /// The same, but user code runs under the odd tag of a pair, whose even one is the kernel's.
    Pairs,
    /// Every CPU has tags of its own, or there are none.
    PerCpu,
}

impl Tagging {
    /// The bits of a tag that are the same on all CPUs.
    pub fn mask(self) -> u16 {
        match self {
            Tagging::Global => !0,
            Tagging::Pairs => !1,
            Tagging::PerCpu => 0,
        }
    }
}

/// A kernel's way to keep TLBs right.
///
/// Operations run with the space's life-time guarded by the harness: no `exit` runs while
/// the space is loaded or worked on. Everything else is the port's to synchronize.
pub trait Variant: Sized + 'static {
    /// Its name in scenarios.
    const NAME: &'static str;
    /// One line for `shootdown list`.
    const ABOUT: &'static str;
    /// What it follows.
    const SOURCE: Source;
    /// The operations it implements. Others do nothing.
    const OPS: &'static [OpKind] = OpKind::BASIC;
    /// The defects it can be built with.
    const DEFECTS: &'static [Defect] = &[];
    /// Places that the committed corpus must reach (`Cpu::goal`).
    const GOALS: &'static [&'static str] = &[];
    /// What its tags mean.
    const TAGGING: Tagging = Tagging::Global;
    /// Its fault handler may change what an address maps to, as copy-on-write does. While it is
    /// at work, nothing is known of that page.
    const FAULTS_MAP: bool = false;
    /// A space has several threads on a CPU: to switch to the loaded space is to switch to
    /// another of them, and is done too.
    const THREADS: bool = false;
    /// Planted to be found: not part of the sound set.
    const CANARY: bool = false;

    /// Whether it has an operation, at the address that it is about. What it has not does
    /// nothing, and is not compared with what others make of it.
    fn has(op: Op) -> bool {
        Self::OPS.contains(&op.kind())
    }

    /// The machine it needs, from the one the scenario has.
    fn machine(config: Config) -> Config {
        config
    }

    /// Sets up variables and the initial spaces.
    fn boot(boot: &Boot<'_>) -> Self;

    /// Loads a space; another may be loaded.
    async fn switch_to(&self, cpu: Cpu<'_>, prev: Option<Space>, next: Space);
    /// Leaves the loaded space.
    async fn sched_out(&self, cpu: Cpu<'_>, prev: Space);
    /// Maps `page`, writable, where nothing is.
    async fn map(&self, cpu: Cpu<'_>, space: Space, va: Va, page: Page) -> Done;
    /// Unmaps a page and frees it.
    async fn unmap(&self, cpu: Cpu<'_>, space: Space, va: Va) -> Done;
    /// Changes the permission of a page or block.
    async fn protect(&self, cpu: Cpu<'_>, space: Space, va: Va, prot: Prot) -> Done;
    /// Moves a page to a new frame, as `page`.
    async fn remap(&self, cpu: Cpu<'_>, space: Space, va: Va, page: Page) -> Done;
    /// Splits a block into pages.
    async fn split(&self, cpu: Cpu<'_>, space: Space, va: Va) -> Done;
    /// Collapses pages into a block; as `page` and its successors if they must be copied.
    async fn collapse(&self, cpu: Cpu<'_>, space: Space, va: Va, page: Page) -> Done;
    /// Tears the space down and gives its letter a new one.
    async fn exit(&self, cpu: Cpu<'_>, space: Space) -> Done;

    /// Unmaps a page with its flush put off to the end of the batch, then frees it.
    async fn reclaim(&self, _cpu: Cpu<'_>, _space: Space, _va: Va) -> Done {
        Done::No
    }
    /// Throws a page away, with others at work on the same tables.
    async fn zap(&self, _cpu: Cpu<'_>, _space: Space, _va: Va) -> Done {
        Done::No
    }
    /// Makes a page clean and write-protects it, to be written back.
    async fn clean(&self, _cpu: Cpu<'_>, _space: Space, _va: Va) -> Done {
        Done::No
    }
    /// Takes all access to a page away until the next access faults.
    async fn hint(&self, _cpu: Cpu<'_>, _space: Space, _va: Va) -> Done {
        Done::No
    }
    /// Clears a page's access flag.
    async fn age(&self, _cpu: Cpu<'_>, _space: Space, _va: Va) -> Done {
        Done::No
    }
    /// Takes a reference to a page by a lockless walk in software, and gives the last one back.
    async fn gup(&self, _cpu: Cpu<'_>, _space: Space, _va: Va) -> Done {
        Done::No
    }
    /// Moves a page, or a table of them, to another address.
    async fn mremap(&self, _cpu: Cpu<'_>, _space: Space, _va: Va, _to: Va) -> Done {
        Done::No
    }
    /// Copies a space to an empty one.
    async fn fork(&self, _cpu: Cpu<'_>, _space: Space, _child: Space) -> Done {
        Done::No
    }
    /// Keeps the space's tag over rollovers.
    async fn pin(&self, _cpu: Cpu<'_>, _space: Space) -> Done {
        Done::No
    }
    /// Gives the tag back.
    async fn unpin(&self, _cpu: Cpu<'_>, _space: Space) -> Done {
        Done::No
    }
    /// Leaves the loaded space, if there is one, and takes this CPU offline.
    async fn offline(&self, _cpu: Cpu<'_>, _prev: Option<Space>) {}
    /// Comes back from that.
    async fn online(&self, _cpu: Cpu<'_>) {}

    /// Goes to the user or the guest.
    async fn enter(&self, _cpu: Cpu<'_>, _space: Space) {}
    /// Comes back.
    async fn leave(&self, _cpu: Cpu<'_>, _space: Space) {}
    /// Handles an access that did not succeed; whether to try it again.
    async fn fault(&self, cpu: Cpu<'_>, space: Space, va: Va, access: Access, why: Outcome)
    -> bool;
    /// Handles such an access where [`FAULTS_MAP`](Self::FAULTS_MAP); `page` names a copy.
    async fn fault_in(
        &self,
        cpu: Cpu<'_>,
        space: Space,
        va: Va,
        access: Access,
        why: Outcome,
        _page: Page,
    ) -> bool {
        self.fault(cpu, space, va, access, why).await
    }
    /// Handles an IPI.
    async fn ipi(&self, _cpu: Cpu<'_>, _message: u64) {}
}

/// Something to do with a variant whose type is known only by name.
pub trait Visitor {
    /// What it gives.
    type Output;
    /// Called with the type.
    fn visit<V: Variant>(self) -> Self::Output;
}

/// The constants of a variant.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // as in `Variant`
pub struct Info {
    pub name: &'static str,
    pub about: &'static str,
    pub source: Source,
    pub ops: &'static [OpKind],
    pub defects: &'static [Defect],
    pub goals: &'static [&'static str],
    pub tagging: Tagging,
    pub canary: bool,
    pub machine: fn(Config) -> Config,
}

impl Info {
    /// Those of `V`.
    pub const fn of<V: Variant>() -> Info {
        Info {
            name: V::NAME,
            about: V::ABOUT,
            source: V::SOURCE,
            ops: V::OPS,
            defects: V::DEFECTS,
            goals: V::GOALS,
            tagging: V::TAGGING,
            canary: V::CANARY,
            machine: V::machine,
        }
    }
}

/// Every variant.
pub fn all() -> &'static [Info] {
    ports::ALL
}

/// The variant of that name.
pub fn find(name: &str) -> Option<&'static Info> {
    all().iter().find(|v| v.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_named_from_its_crate_on() {
        let from = |file| from_folder(file, "/home/one/tree/variants");
        let port = "/home/one/tree/variants/src/ports/naive.rs";
        assert_eq!(from(port), "variants/src/ports/naive.rs");
        for other in ["variants/src/lib.rs", "/home/one/tree/machine/src/lib.rs"] {
            assert_eq!(from(other), other);
        }
        let absolute = format!("{FOLDER}/src/ports/naive.rs");
        assert_eq!(source(&absolute), "variants/src/ports/naive.rs");
        assert_eq!(source("variants/src/lib.rs"), "variants/src/lib.rs");
    }
}
