// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line. Exit status 0: as expected; 1: a finding; 2: bad input.

mod cost;
mod explain;
mod fuzz;
mod input;
mod list;
mod litmus;
mod parallel;
mod replay;
mod report;
mod run;
mod sabotage;
mod zoo;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Fuzz TLB maintenance: ASID and VMID allocators, TLB flushes, break-before-make.
#[derive(Parser)]
#[command(name = "shootdown", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List variants, their defects, rules, memory models and switches.
    List(list::Args),
    /// Search without an instrumented build: random, sticky and PCT schedules on all cores.
    Run(run::Args),
    /// Run one scenario and report.
    Replay(replay::Args),
    /// Say why a run ends as it does: windows, causes, what keeps a rule.
    Explain(explain::Args),
    /// Write a finding out: for a mail, for other tools.
    Report(report::Args),
    /// Make a scenario that breaks a rule as small as it gets.
    Minimize(replay::MinimizeArgs),
    /// Ignore one TLBI, barrier, lock or store at a time, and see whether anybody notices.
    Sabotage(sabotage::Args),
    /// Compare the machine with published verdicts on litmus tests of virtual memory.
    Litmus(litmus::Args),
    /// Fuzz with libFuzzer: builds the instrumented target and runs it.
    Fuzz(fuzz::Args),
    /// Compare what variants pay for the same operations.
    Cost(cost::Args),
    /// Measure how long it takes to find each defect.
    Zoo(zoo::Args),
}

/// What can end a command early: a message for a person, and exit status 2.
type Failure = miette::Report;

/// As of a process that the signal SIGPIPE ended.
const NO_READER: i32 = 128 + 13;

/// Where nobody reads on, as before `| head`, there is nothing to say any more: not that it
/// could not be said either.
fn end_without_reader() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let what = info.payload().downcast_ref::<String>();
        if what.is_some_and(|what| what.starts_with("failed printing to")) {
            std::process::exit(NO_READER);
        }
        hook(info);
    }));
}

/// Runs the command that the process was started as.
pub fn main() -> ExitCode {
    end_without_reader();
    let cli = Cli::parse(); // exits with 2 on bad usage
    let done = match cli.command {
        Command::List(args) => list::list(&args),
        Command::Run(args) => run::run(&args),
        Command::Replay(args) => replay::replay(&args),
        Command::Explain(args) => explain::explain(&args),
        Command::Report(args) => report::report(&args),
        Command::Minimize(args) => replay::minimize(&args),
        Command::Sabotage(args) => sabotage::sabotage(&args),
        Command::Litmus(args) => litmus::litmus(&args),
        Command::Fuzz(args) => fuzz::fuzz(&args),
        Command::Cost(args) => cost::cost(&args),
        Command::Zoo(args) => zoo::zoo(&args),
    };
    match done {
        Ok(code) => code,
        Err(report) => {
            eprintln!("{report:?}");
            ExitCode::from(2)
        }
    }
}
