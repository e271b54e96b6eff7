// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a campaign decides about every machine, whatever its scenarios would choose.

use crate::check::Subject;
use crate::scenario::Scenario;
use shootdown_machine::{Memory, Switch, Switches};

/// The environment variable that fixes the memory model of a fuzz target: `sc`, `tso` or `arm`.
pub const MEMORY: &str = "SHOOTDOWN_MEMORY";

/// The environment variable that turns switches on in a fuzz target: their names, separated by
/// blanks or commas.
pub const SWITCHES: &str = "SHOOTDOWN_SWITCHES";

/// What is fixed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fixed {
    /// The memory model; `None`: each scenario's own.
    pub memory: Option<Memory>,
    /// The switches that are on. All others are off: a finding must be one that the
    /// architecture allows, unless somebody asked for more.
    pub switches: Switches,
}

impl Fixed {
    /// What a search for this defect needs.
    pub fn needed(by: Subject) -> Fixed {
        Fixed {
            memory: None,
            switches: by.needs(),
        }
    }

    /// What the environment fixes.
    ///
    /// # Errors
    /// A sentence, if it names a model or a switch that there is not.
    pub fn of_environment() -> Result<Fixed, String> {
        let value = |name| std::env::var(name).unwrap_or_default();
        Fixed::parse(&value(MEMORY), &value(SWITCHES))
    }

    /// From the values of the two variables; empty ones fix nothing.
    fn parse(model: &str, switches: &str) -> Result<Fixed, String> {
        let named = |message| move |e| format!("{message}: {e}");
        let memory = match model.trim() {
            "" => None,
            name => Some(memory(name).map_err(named(MEMORY))?),
        };
        let mut on = Switches::default();
        for name in switches.split([' ', ',']).filter(|name| !name.is_empty()) {
            on = on.with(switch(name).map_err(named(SWITCHES))?, true);
        }
        Ok(Fixed {
            memory,
            switches: on,
        })
    }

    /// The variables by which a process is told the same.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        let memory = self.memory.map_or("", Memory::word).to_owned();
        let switches: Vec<_> = self.switches.iter().map(Switch::word).collect();
        [(MEMORY, memory), (SWITCHES, switches.join(" "))]
    }

    /// Makes it so in a scenario.
    pub fn apply(&self, scenario: &mut Scenario) {
        let machine = &mut scenario.machine;
        machine.memory = self.memory.unwrap_or(machine.memory);
        machine.switches = self.switches;
    }

    /// What is fixed, as words.
    pub fn words(&self) -> Vec<&'static str> {
        let switches = self.switches.iter().map(Switch::word);
        self.memory
            .map(Memory::word)
            .into_iter()
            .chain(switches)
            .collect()
    }
}

/// The memory model of this name.
///
/// # Errors
/// A sentence with every name there is.
pub fn memory(name: &str) -> Result<Memory, String> {
    find("memory model", name, Memory::ALL, Memory::word)
}

/// The switch of this name.
///
/// # Errors
/// A sentence with every name there is.
pub fn switch(name: &str) -> Result<Switch, String> {
    find("switch", name, Switch::ALL, Switch::word)
}

fn find<T: Copy>(
    noun: &str,
    name: &str,
    all: &[T],
    word: impl Fn(T) -> &'static str,
) -> Result<T, String> {
    let known = all.iter().copied().find(|t| word(*t) == name);
    known.ok_or_else(|| {
        let words: Vec<_> = all.iter().map(|t| word(*t)).collect();
        format!(
            "there is no {noun} \"{name}\"; expected one of {}",
            words.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{generate, print};

    fn fixed(memory: &str, switches: &str) -> Fixed {
        Fixed::parse(memory, switches).unwrap()
    }

    #[test]
    fn the_environment_says_the_same_to_another_process() {
        assert_eq!(fixed("", " "), Fixed::default());
        for f in [
            fixed("", ""),
            fixed("arm", "ooc, inflight"),
            fixed("sc", ""),
        ] {
            let [(_, memory), (_, switches)] = f.environment();
            assert_eq!(fixed(&memory, &switches), f);
        }
        assert_eq!(fixed("tso", "inflight").words(), ["tso", "inflight"]);
        let refused = |memory, switches| Fixed::parse(memory, switches).unwrap_err();
        assert_eq!(
            refused("weak", ""),
            "SHOOTDOWN_MEMORY: there is no memory model \"weak\"; expected one of sc, tso, arm"
        );
        assert!(refused("", "ooc on").starts_with("SHOOTDOWN_SWITCHES: there is no switch \"on\""));
    }

    #[test]
    fn every_machine_is_what_is_fixed_and_else_what_it_was() {
        let mut models = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let scenario = generate(
                &mut fastrand::Rng::with_seed(seed),
                shootdown_machine::OpSet::ALL,
            );
            let with = |f: Fixed| {
                let mut s = scenario.clone();
                f.apply(&mut s);
                s
            };
            assert_eq!(with(Fixed::default()), scenario);
            let text = print(&with(fixed("tso", "ooc")));
            assert!(
                text.contains("memory=tso") && text.contains("ooc=on"),
                "{text}"
            );
            models.insert(with(fixed("", "ooc")).machine.memory.word());
        }
        assert_eq!(models.len(), Memory::ALL.len());
    }
}
