// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shootdown list`.

use super::Failure;
use shootdown_machine::{Memory, Switch};
use std::process::ExitCode;

/// Arguments of `list`.
#[derive(clap::Args)]
pub struct Args {
    /// Names only, one a line: variants, then each defect as VARIANT/DEFECT.
    #[arg(long)]
    names: bool,
}

/// Lists variants, defects, rules, memory models and switches.
pub fn list(args: &Args) -> Result<ExitCode, Failure> {
    for info in shootdown_variants::all() {
        if args.names {
            println!("{}", info.name);
            for defect in info.defects {
                println!("{}/{}", info.name, defect.name);
            }
            continue;
        }
        let canary = if info.canary { " (must fail)" } else { "" };
        println!(
            "{}{canary}\n    {}\n    after {}",
            info.name, info.about, info.source.tree
        );
        for defect in info.defects {
            println!(
                "    /{}\n        {}\n        {}",
                defect.name, defect.about, defect.source
            );
            if !defect.needs.is_empty() {
                let words: Vec<_> = defect.needs.iter().map(|s| s.word()).collect();
                println!("        needs --switch {}", words.join(" --switch "));
            }
        }
    }
    if !args.names {
        println!("\nrules");
        for rule in shootdown_oracle::RULES {
            println!(
                "    {} ({})\n        {}",
                rule.name,
                rule.class.name(),
                rule.why
            );
        }
        println!("\nmemory models (--memory)");
        for memory in Memory::ALL {
            println!("    {}\n        {}", memory.word(), memory.about());
        }
        println!("\nswitches (--switch)");
        for switch in Switch::ALL {
            println!("    {}\n        {}", switch.word(), switch.about());
        }
    }
    Ok(ExitCode::SUCCESS)
}
