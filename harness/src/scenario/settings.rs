// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine line.

use super::error::What;
use super::lex::Token;
use super::parse::Parser;
use super::words::{self, Word};
use shootdown_machine::{Config, Switch, limits};

impl<'a> Parser<'a> {
    pub(super) fn machine_line(&mut self, word: Token<'a>) -> Option<()> {
        if self.machine_used {
            self.lex.overlook(word, What::Late)?;
        }
        while !self.lex.at_line_end() {
            let key = self.lex.found();
            let done = self.setting(key);
            if done.is_none() && !self.lex.repairs() {
                return None;
            }
        }
        Some(())
    }

    fn setting(&mut self, key: Token<'a>) -> Option<()> {
        let Some(index) = words::keys().iter().position(|k| k.as_bytes() == key.text) else {
            return self.lex.fail(key, What::Unknown("key", words::keys));
        };
        if self.keys & (1 << index) != 0 {
            self.lex.overlook(key, What::Twice("the key"))?;
        }
        self.keys |= 1 << index;
        if !self.lex.take(b'=') {
            let found = self.lex.found();
            return self.lex.fail(found, What::Want("`=` and a value"));
        }
        let value = self.lex.word();
        let machine = self.out.machine;
        self.out.machine = match index {
            0 => Config {
                cpus: self.within(value, limits::CPUS)?,
                ..machine
            },
            1 => Config {
                spaces: self.within(value, limits::SPACES)?,
                ..machine
            },
            2 => {
                self.tags = Some(value);
                Config {
                    tags: self.within(value, limits::TAGS)?,
                    ..machine
                }
            }
            3 => Config {
                memory: self.one_of(value, "memory model")?,
                ..machine
            },
            4 => Config {
                domain: self.one_of(value, "TLB domain")?,
                ..machine
            },
            5 => Config {
                bbm: self.one_of(value, "FEAT_BBM level")?,
                ..machine
            },
            6 => Config {
                levels: self.within(value, limits::LEVELS)?,
                ..machine
            },
            7 => Config {
                granule: self.one_of(value, "granule")?,
                ..machine
            },
            _ => {
                let on = self.one_of(value, "state")?;
                let switch = Switch::ALL[index - words::KEYS.len()];
                Config {
                    switches: machine.switches.with(switch, on),
                    ..machine
                }
            }
        };
        Some(())
    }

    fn within(&mut self, value: Token<'a>, ends: core::ops::RangeInclusive<u8>) -> Option<u8> {
        let number = self
            .lex
            .number(value, (*ends.start()).into(), (*ends.end()).into())?;
        Some(number as u8)
    }

    /// The value that this word stands for.
    pub(super) fn one_of<T: Word>(&mut self, word: Token<'a>, noun: &'static str) -> Option<T> {
        match T::ALL.iter().find(|v| v.word().as_bytes() == word.text) {
            Some(value) => Some(*value),
            None => self.lex.fail(word, What::Unknown(noun, words::list::<T>)),
        }
    }

    /// Checks what only the whole machine shows.
    pub(super) fn machine_done(&mut self) -> Option<()> {
        if self.machine_used {
            return Some(());
        }
        self.machine_used = true;
        let asked = self.out.machine.tags;
        self.out.machine = self.out.machine.clamp();
        match self.tags {
            Some(tags) if asked < self.out.machine.tags => {
                self.lex.overlook(tags, What::Tags(self.out.machine.tags))
            }
            _ => Some(()),
        }
    }
}
