// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two models of kernel-tla: what each calls the variables of the allocator that it is of.

use crate::export::Refusal;
use crate::export::before::Before;
use shootdown_machine::arm64::{HCR_VM, Reg};
use shootdown_machine::{Arch, State, Word};

/// A model, and where this run has what it is about.
pub struct Model {
    pub module: &'static str,
    /// The field with a number, and the constant with how many there are.
    pub tag: &'static str,
    pub tags: &'static str,
    /// Bits of a number, below its generation.
    pub bits: u32,
    /// It has a page, and CPUs that flush for themselves.
    pub has_pte: bool,
    pub names: Names,
    pub words: Words,
    /// The register with the tables, and the one with the tag.
    pub regs: (Reg, Reg),
    /// Where a process is that has nothing to do with the allocator, and where one that has.
    pub settled: &'static str,
    pub switching: &'static str,
    pub invariants: &'static [&'static str],
    /// Constants, variables of procedures and of the translation, which invariants do not use.
    pub unused: &'static [&'static str],
}

/// What it calls its variables.
pub struct Names {
    pub loaded: &'static str,
    pub lock: &'static str,
    pub generation: &'static str,
    pub map: &'static str,
    pub active: &'static str,
    pub reserved: &'static str,
    pub id: &'static str,
}

/// The kernel's variables of those names.
pub struct Words {
    pub lock: Word,
    pub generation: Word,
    pub map: Word,
    pub cur_idx: Word,
    /// Only where CPUs flush for themselves.
    pub pending: Option<Word>,
    pub active: Vec<Word>,
    pub reserved: Vec<Word>,
    pub id: Vec<Word>,
}

impl Model {
    /// The model of the allocator that a kernel has.
    pub fn of(state: &State, before: &Before) -> Result<Model, Refusal> {
        if state.config.arch != Arch::Arm64 {
            return Err(Refusal::new(
                "kernel-tla's models are of arm64's allocators",
            ));
        }
        let (asids, vmids) = (has(state, "active_asids"), has(state, "active_vmids"));
        let stage_2 = before.regs.hcr & HCR_VM != 0;
        let model = match (asids, vmids, stage_2) {
            (true, false, false) => asids_of(state),
            (false, true, true) => vmids_of(state),
            _ => None,
        };
        model.ok_or_else(|| {
            let why = "the kernel has neither the ASID allocator of asidalloc.tla nor the VMID \
                       allocator of vmidalloc.tla";
            Refusal::new(why)
        })
    }
}

/// What an invariant says: what kernel-tla's does, or our own where that says nothing.
pub fn definition(name: &str) -> String {
    match name {
        "UniqueASIDActiveTask" => "\
\\* kernel-tla's (50c387fdce00) has lost its consequent: with CnP it is false in any state.
UniqueASIDActiveTask ==
  CnP => \\A c1, c2 \\in CPUS :
    LET one == Trace[at].active_mm[c1]
        two == Trace[at].active_mm[c2] IN
    one.task # 0 /\\ two.task # 0 /\\ one.task # two.task => one.asid # two.asid
"
        .into(),
        _ => format!("{name} == Model!{name}\n"),
    }
}

fn has(state: &State, name: &str) -> bool {
    state.mem.names.iter().any(|n| n.name == name)
}

/// The variables of a name, by their index.
fn all(state: &State, name: &str) -> Vec<Word> {
    let names = (0..).zip(&state.mem.names);
    names
        .filter(|(_, n)| n.name == name)
        .map(|(w, _)| w)
        .collect()
}

fn one(state: &State, name: &str) -> Option<Word> {
    all(state, name).first().copied()
}

/// The first of them, as many as there are CPUs or spaces.
fn some(state: &State, name: &str, many: u8) -> Option<Vec<Word>> {
    let words = all(state, name);
    words.get(..many as usize).map(<[Word]>::to_vec)
}

fn words(state: &State, names: &Names, id: &str) -> Option<Words> {
    let (cpus, spaces) = (state.config.cpus, state.config.spaces);
    Some(Words {
        lock: one(state, names.lock)?,
        generation: one(state, names.generation)?,
        map: one(state, names.map)?,
        cur_idx: one(state, "cur_idx")?,
        pending: None,
        active: some(state, names.active, cpus)?,
        reserved: some(state, names.reserved, cpus)?,
        id: some(state, id, spaces)?,
    })
}

fn asids_of(state: &State) -> Option<Model> {
    let names = Names {
        loaded: "active_mm",
        lock: "cpu_asid_lock",
        generation: "asid_generation",
        map: "asid_map",
        active: "active_asids",
        reserved: "reserved_asids",
        id: "mm_context_id",
    };
    let mut words = words(state, &names, "context_id")?;
    words.pending = Some(one(state, "tlb_flush_pending")?);
    Some(Model {
        module: "asidalloc",
        tag: "asid",
        tags: "ASIDS",
        bits: 16,
        has_pte: true,
        names,
        words,
        regs: (Reg::Ttbr0, Reg::Ttbr1),
        settled: "sched_loop",
        switching: "check_and_switch_context_",
        invariants: &[
            "TypeInv",
            "UniqueASIDAllCPUs",
            "UniqueASIDPerCPU",
            "SameASIDActiveTask",
            "UniqueASIDActiveTask",
            "TLBEmptyInvalPTE",
        ],
        unused: &[
            "TTU",
            "defaultInitValue",
            "ret_check_update_reserved_asid",
            "ret_new_context",
            "stack",
            "asid_",
            "cpu_",
            "cpus_",
            "asid",
            "newasid",
            "cpu",
            "cpus",
            "task_",
            "asid_n",
            "newasid_",
            "generation",
            "old",
            "task_c",
            "asid_c",
            "old_active_asid",
            "task",
            "asid_t",
        ],
    })
}

fn vmids_of(state: &State) -> Option<Model> {
    let names = Names {
        loaded: "active_kvm",
        lock: "cpu_vmid_lock",
        generation: "vmid_generation",
        map: "vmid_map",
        active: "active_vmids",
        reserved: "reserved_vmids",
        id: "kvm_context_id",
    };
    let words = words(state, &names, "vmid.id")?;
    Some(Model {
        module: "vmidalloc",
        tag: "vmid",
        tags: "VMIDS",
        bits: 8,
        has_pte: false,
        names,
        words,
        regs: (Reg::Vttbr, Reg::Vttbr),
        settled: "sched_loop",
        switching: "kvm_arm_vmid_update_",
        invariants: &["TypeInv", "SameVMIDActiveTask"],
        unused: &[
            "defaultInitValue",
            "ret_check_update_reserved_vmid",
            "ret_new_vmid",
            "stack",
            "vmid_",
            "cpu_",
            "cpus_",
            "vmid",
            "newvmid",
            "cpu",
            "cpus",
            "task_",
            "vmid_n",
            "newvmid_",
            "generation",
            "old",
            "task",
            "vmid_k",
            "old_active_vmid",
        ],
    })
}
