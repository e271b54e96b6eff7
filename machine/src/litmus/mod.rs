// SPDX-License-Identifier: MIT OR Apache-2.0
//! Litmus tests: what the machine may show, against published verdicts.

mod access;
mod code;
mod data;
mod exceptions;
mod explore;
mod instr;
mod layout;
mod lex;
mod outcome;
mod parse;
mod print;
mod test;
mod thread;
mod threads;
mod words;

pub use code::*;
pub use exceptions::{EXCEPTIONS, Exception};
pub use explore::{Explored, Options, explore};
pub use lex::{ParseError, Place as TextPlace};
pub use parse::parse;
pub use print::print;
pub use test::*;

/// Every test that comes with the machine: name and text, sorted by name.
pub const ALL: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/litmus.rs"));
