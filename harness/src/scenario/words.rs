// SPDX-License-Identifier: MIT OR Apache-2.0
//! The words of the text form, in one place for printing and parsing.

use super::MAX_NAME;
use shootdown_machine::arm64::Granule;
use shootdown_machine::{Bbm, Domain, Memory, OpKind, Pick, Prot, Switch};

/// An enumeration whose values have a word each.
pub(crate) trait Word: Copy + 'static {
    /// Every value.
    const ALL: &'static [Self];

    /// Its word.
    fn word(self) -> &'static str;
}

impl Word for Memory {
    const ALL: &'static [Self] = Memory::ALL;

    fn word(self) -> &'static str {
        self.word()
    }
}

impl Word for Domain {
    const ALL: &'static [Self] = &[Domain::Private, Domain::Smt];

    fn word(self) -> &'static str {
        match self {
            Domain::Private => "private",
            Domain::Smt => "smt",
        }
    }
}

impl Word for Bbm {
    const ALL: &'static [Self] = &[Bbm::Level0, Bbm::Level1, Bbm::Level2, Bbm::NoAbort];

    fn word(self) -> &'static str {
        match self {
            Bbm::Level0 => "0",
            Bbm::Level1 => "1",
            Bbm::Level2 => "2",
            Bbm::NoAbort => "noabort",
        }
    }
}

impl Word for Granule {
    const ALL: &'static [Self] = Granule::ALL;

    fn word(self) -> &'static str {
        match self {
            Granule::K4 => "4k",
            Granule::K16 => "16k",
            Granule::K64 => "64k",
        }
    }
}

impl Word for Pick {
    const ALL: &'static [Self] = &[Pick::Oldest, Pick::Newest, Pick::Abort, Pick::Mix];

    fn word(self) -> &'static str {
        match self {
            Pick::Oldest => "oldest",
            Pick::Newest => "newest",
            Pick::Abort => "abort",
            Pick::Mix => "mix",
        }
    }
}

impl Word for Prot {
    const ALL: &'static [Self] = &[Prot::Ro, Prot::Rw];

    fn word(self) -> &'static str {
        match self {
            Prot::Ro => "ro",
            Prot::Rw => "rw",
        }
    }
}

impl Word for OpKind {
    const ALL: &'static [Self] = OpKind::ALL;

    fn word(self) -> &'static str {
        self.name()
    }
}

/// A switch, on or off.
impl Word for bool {
    const ALL: &'static [Self] = &[true, false];

    fn word(self) -> &'static str {
        if self { "on" } else { "off" }
    }
}

/// The words of `T`, for a message.
pub(super) fn list<T: Word>() -> Vec<&'static str> {
    T::ALL.iter().map(|v| v.word()).collect()
}

/// The words that a slot may begin with.
pub(super) fn slots() -> Vec<&'static str> {
    vec![
        "cpu0", "walk", "evict", "deliver", "ipi", "resolve", "drain", "stale", "preempt", "resume",
    ]
}

/// The words that a line may begin with.
pub(super) fn lines() -> Vec<&'static str> {
    vec!["variants", "machine", "cpu0", "schedule", "expect"]
}

/// The keys of the machine line before those of the switches, in the order of printing.
pub(super) const KEYS: [&str; 8] = [
    "cpus", "spaces", "tags", "memory", "domain", "bbm", "levels", "granule",
];

/// The keys of the machine line, for a message.
pub(super) fn keys() -> Vec<&'static str> {
    let switches = Switch::ALL.iter().map(|s| s.word());
    KEYS.into_iter().chain(switches).collect()
}

/// The verdicts of the expect line, for a message.
pub(super) fn verdicts() -> Vec<&'static str> {
    vec!["pass", "breach"]
}

/// Whether this can follow `until`.
pub(super) fn is_until_name(name: &[u8]) -> bool {
    name.len() <= MAX_NAME
        && name
            .first()
            .is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_')
        && name
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(b))
}

/// Whether this can name a variant.
pub(super) fn is_variant(name: &[u8]) -> bool {
    is_name(name) && !name.iter().any(u8::is_ascii_uppercase)
}

/// Whether this can name a defect or a rule.
pub(super) fn is_name(name: &[u8]) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
}
