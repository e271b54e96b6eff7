// SPDX-License-Identifier: MIT OR Apache-2.0
//! A finding as a mail to a list: plain text that is ready to be sent.

use super::{Report, text};
use crate::check::Found;
use crate::exec::Bench;
use crate::scenario::{COLUMNS, Scenario};

/// The mail: a subject, what this is, and the report.
pub fn mail(bench: &mut Bench, scenario: &Scenario, found: &Found) -> String {
    let report = Report::new(bench, scenario, found);
    let by = found.by;
    let rule = found.finding.rule;
    let mut subject = format!("Subject: [BUG] {}: {}", by.name(), rule.name);
    subject.truncate(COLUMNS);
    let mut out = text::ascii(&subject) + "\n\n";
    let source = by.info.source;
    let of = if source.tree.starts_with("our own") {
        by.info.name.to_owned()
    } else {
        format!("{} ({})", by.info.name, source.tree)
    };
    let with = match by.defect {
        Some(defect) => format!(", with the change \"{}\"", defect.about),
        None => String::new(),
    };
    let operations = scenario.programs.iter().flatten().count();
    let what = text::sites(&found.finding.breach.what);
    let intro = format!(
        "Shootdown, a differential fuzzer for TLB maintenance, runs a model of {of}{with}. After \
         an interleaving of {operations} operations on {} CPUs, which the architecture allows: \
         {what}.",
        scenario.machine.cpus
    );
    text::paragraph(&mut out, 0, &text::ascii(&intro));
    out.push('\n');
    let how = "The report says which rule that breaks and why it must hold, how it came about, \
               who did what in which order, and how to run it again. Each step bears the place \
               in the model's source; its functions have the kernel's names.";
    text::paragraph(&mut out, 0, how);
    out.push('\n');
    out + &report.to_string()
}
