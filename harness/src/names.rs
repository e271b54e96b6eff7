// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names for what steps touch, and for the values that they find there.

use shootdown_machine::{Act, Name, Rmw, Space, State, Word};

/// The kernel variable (or lock) that a step accesses; `None`: a descriptor, or nothing.
pub fn variable(state: &State, act: &Act) -> Option<Name> {
    let word = match act {
        Act::Load(w, _) | Act::Store(w, ..) | Act::Rmw(w, ..) | Act::Lock(w) | Act::Unlock(w) => *w,
        Act::ReadLock(w) | Act::ReadUnlock(w) => *w,
        _ => return None,
    };
    state.mem.name(word)
}

/// The names that `until` may give a step: the word for it, and the variable or the lock that it
/// accesses. What accesses a variable is no access to a `pte`, which is what has no name.
pub fn names(state: &State, act: &Act) -> (Option<&'static str>, Option<&'static str>) {
    let variable = variable(state, act).map(|name| name.name);
    let data = matches!(act, Act::Load(..) | Act::Store(..) | Act::Rmw(..));
    let word = (!data || variable.is_none()).then(|| act.word());
    (word, variable)
}

/// Whether a step bears a name that `until` may give.
pub fn is_named(state: &State, act: &Act, name: &str) -> bool {
    let (word, variable) = names(state, act);
    word == Some(name) || variable == Some(name)
}

/// What a variable is to an allocator of tags, by the kernel's habits of naming.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The id of a space: `context_id`, `vmid.id`.
    Id,
    /// The id that a CPU uses: `active_asids`, `active_vmids`.
    Active,
    /// The id that a CPU keeps over a rollover: `reserved_asids`, `reserved_vmids`.
    Reserved,
    /// The generation.
    Generation,
    /// A set of numbers: bits of tags, or of CPUs.
    Set,
    /// Nothing.
    Other,
}

/// The role of a variable.
pub fn role(name: &str) -> Role {
    if name.ends_with("generation") {
        Role::Generation
    } else if name.ends_with("asids") || name.ends_with("vmids") {
        if name.starts_with("reserved") {
            Role::Reserved
        } else {
            Role::Active
        }
    } else if name.ends_with("context_id") || name.ends_with("vmid.id") {
        Role::Id
    } else if name.ends_with("_map") || name.ends_with("pending") {
        Role::Set
    } else {
        Role::Other
    }
}

/// Whether ids in a variable of this name are VMIDs.
fn is_vmid(name: &str) -> bool {
    name.contains("vmid")
}

/// Generation and number of an id in a variable of this name: 16 bits for an ASID, 8 for a
/// VMID, generations above.
pub fn id(name: &str, value: u64) -> (u64, u16) {
    let bits = if is_vmid(name) { 8 } else { 16 };
    (value >> bits, (value & ((1 << bits) - 1)) as u16)
}

/// A value as a report says it.
pub fn value(name: &str, value: u64) -> String {
    let tag = if is_vmid(name) { "vmid" } else { "asid" };
    let (generation, number) = id(name, value);
    match role(name) {
        // VMID_ACTIVE_INVALID: a generation, and no number.
        Role::Active | Role::Reserved if value != 0 && number == 0 => "INVALID".into(),
        Role::Active | Role::Reserved | Role::Id if value != 0 => {
            format!("gen {generation} {tag} {number}")
        }
        Role::Generation => format!("gen {generation}"),
        Role::Set => set(value),
        Role::Other if value > 9 => format!("{value:#x}"),
        _ => value.to_string(),
    }
}

/// The numbers of the bits that are set.
pub fn set(bits: u64) -> String {
    let numbers = (0..64)
        .filter(|i| bits >> i & 1 == 1)
        .map(|i: u32| i.to_string());
    format!("{{{}}}", numbers.collect::<Vec<_>>().join(","))
}

/// A change of a variable; what both values have in common is said once.
pub fn change(name: &str, old: u64, new: u64) -> String {
    let ids = matches!(role(name), Role::Active | Role::Reserved | Role::Id);
    if role(name) == Role::Generation {
        format!("{} -> {}", value(name, old), id(name, new).0)
    } else if ids
        && id(name, old).1 != 0
        && id(name, new).1 != 0
        && id(name, old).0 == id(name, new).0
    {
        format!("{} -> {}", value(name, old), id(name, new).1)
    } else {
        format!("{} -> {}", value(name, old), value(name, new))
    }
}

/// A variable's name with its index, a letter where there is one for each space.
pub fn full(state: &State, word: Word) -> String {
    let names = &state.mem.names;
    let Some(Name { name, index }) = state.mem.name(word) else {
        return format!("word {word}");
    };
    let of_name = names.iter().filter(|n| n.name == name).count();
    match index {
        None => name.to_owned(),
        // There are eight spaces and four CPUs. Shadow stage 2s have numbers.
        Some(i) if of_name > 4 && !name.starts_with("nested_mmus") => {
            format!("{name}[{}]", Space(i))
        }
        Some(i) => format!("{name}[{i}]"),
    }
}

/// What a read-modify-write leaves behind, from what it returned.
pub fn after(rmw: Rmw, value: u64) -> u64 {
    match rmw {
        Rmw::Xchg(new) => new,
        Rmw::CmpXchg(old, new) => {
            if value == old {
                new
            } else {
                value
            }
        }
        Rmw::Add(_) => value,
        Rmw::Or(bits) => value | bits,
        Rmw::AndNot(bits) => value & !bits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_by_generation_and_number() {
        assert_eq!(value("active_asids", 2 << 16 | 3), "gen 2 asid 3");
        assert_eq!(value("vmid.id", 1 << 8 | 3), "gen 1 vmid 3");
        assert_eq!(value("asid_generation", 5 << 16), "gen 5");
        assert_eq!(value("active_asids", 0), "0");
        assert_eq!(value("asid_map", 0b1011), "{0,1,3}");
        assert_eq!(
            change("context_id", 1 << 16 | 1, 1 << 16 | 2),
            "gen 1 asid 1 -> 2"
        );
    }
}
