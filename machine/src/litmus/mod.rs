// SPDX-License-Identifier: MIT OR Apache-2.0
//! Litmus tests: what the machine may show, against published verdicts.

mod code;
mod instr;
mod lex;
mod parse;
mod print;
mod test;
mod threads;
mod words;

pub use code::*;
pub use lex::{ParseError, Place as TextPlace};
pub use parse::parse;
pub use print::print;
pub use test::*;

/// Every test that comes with the machine: name and text, sorted by name.
pub const ALL: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/litmus.rs"));
