// SPDX-License-Identifier: MIT OR Apache-2.0
//! The TLBIs that did not remove an entry, and why each did not.

use super::entry::Points;
use super::given::number;
use super::history::{History, by, loaded, out_of_sync, tag_of};
use super::run::{Flush, Run};
use super::words::{self, site};
use shootdown_machine::arm64::{Scope, Stage, Ttl};
use shootdown_machine::{Entry, Op};

/// TLBIs that remove such an entry, and arrived before it was made.
pub fn early(
    run: &Run<'_>,
    e: &Entry,
    since: usize,
    fill: (usize, u8),
    h: &mut History,
    points: &mut Points,
) {
    let (fill, walker) = fill;
    for flush in run.flushes.iter().filter(|f| e.hit_by(&f.op, f.vmid)) {
        for cpu in run.holders(e) {
            let Some((at, removed)) = flush.arrived[cpu as usize] else {
                continue;
            };
            if at < since || at > fill {
                continue;
            }
            let what = format!("{} from cpu{}", flush.op, flush.cpu);
            let gone = match removed {
                0 => String::new(),
                1 => ", which removes one entry,".into(),
                n => format!(", which removes {n} entries,"),
            };
            let mut text = format!(
                "{what} ({}){gone} arrives at cpu{cpu}: too early.",
                site(flush.site)
            );
            if tag_of(run, walker, at) == number(e) {
                let sync = out_of_sync(run, walker, at);
                text += &format!(" cpu{walker} still has {}", loaded(run, walker, at));
                text += &if sync.is_empty() {
                    ".".into()
                } else {
                    format!(", though {sync}.")
                };
                points.early = Some((at, what, cpu));
            }
            h.add(at, text);
        }
    }
}

/// Why a TLBI leaves an entry alone. The second: it is about this mapping.
fn why_not(e: &Entry, f: &Flush) -> (String, bool) {
    let row = f.op.kind.row();
    let (start, len) = f.op.span();
    let here = !f.op.by_addr() || (e.va < start + len && start < e.va + e.size);
    let by_asid = matches!(row.scope, Scope::Asid | Scope::Va | Scope::VaOwn);
    if row.scope != Scope::All && f.vmid != e.vmid {
        return (
            format!("it is for vmid {}, not {}", f.vmid, e.vmid),
            here && f.op.by_addr(),
        );
    }
    if e.global && matches!(row.scope, Scope::Asid | Scope::VaOwn | Scope::NonGlobal) {
        return ("it leaves global entries".into(), here && f.op.by_addr());
    }
    if by_asid && !(row.scope == Scope::Va && e.global) && f.op.asid_field() != e.asid {
        let text = format!(
            "it is for {} {}, not {}",
            row.arch.tag_word(),
            f.op.asid_field(),
            e.asid
        );
        return (text, here && f.op.by_addr());
    }
    if !here {
        return (format!("it does not cover {:#x}", e.va), false);
    }
    match (row.scope, e.stage) {
        (Scope::Ipa, Stage::One) => {
            return ("it removes stage-2 entries, not combined ones".into(), true);
        }
        (Scope::Va | Scope::VaAllAsid | Scope::Vm | Scope::Asid, Stage::Two) => {
            return ("it removes stage-1 and combined entries only".into(), true);
        }
        _ => {}
    }
    if row.last() && !e.leaf {
        return (
            "it removes leaves only, and this is a walk-cache entry".into(),
            true,
        );
    }
    if let Ttl::Level(hint) = f.op.ttl() {
        return (
            format!(
                "its hint says level {hint}, the entry is of level {}",
                e.level
            ),
            true,
        );
    }
    ("it does not apply".into(), false)
}

/// TLBIs after it was made, and why they did not remove it.
pub fn late(
    run: &Run<'_>,
    e: &Entry,
    fill: usize,
    aliased: bool,
    h: &mut History,
    points: &mut Points,
) {
    let holders = run.holders(e);
    let mut unrelated = 0;
    // Before the mapping changed, nothing had to remove the entry.
    let since = if aliased {
        fill
    } else {
        points.wrong.as_ref().map_or(fill, |w| w.0.max(fill))
    };
    for f in run
        .flushes
        .iter()
        .filter(|f| f.arrived.iter().flatten().any(|a| a.0 > since) || f.issued > since)
    {
        let arrived = holders
            .iter()
            .filter_map(|c| f.arrived[*c as usize])
            .map(|a| a.0)
            .max();
        let reaches = holders.iter().any(|c| f.reaches(*c));
        // Those before it was made are told elsewhere.
        if f.issued < fill && (!reaches || arrived.is_some_and(|at| at < fill)) {
            continue;
        }
        let whom = words::cpus(&holders);
        let (why, near) = if e.hit_by(&f.op, f.vmid) {
            let why = match (reaches, arrived) {
                (false, _) => format!("it is local to cpu{}, and the entry is on {whom}", f.cpu),
                (true, None) => format!("it is still on its way to {whom}"),
                (true, Some(_)) => continue,
            };
            (why, true)
        } else {
            why_not(e, f)
        };
        let for_owner = run.span(f.cpu, f.issued).is_some_and(|s| {
            s.op.space() == e.owner.map(|l| l.space) && !matches!(s.op, Op::Switch(_))
        });
        if !near && !for_owner {
            unrelated += 1;
            continue;
        }
        let text = format!(
            "{} ({}), {}, leaves it: {why}.",
            f.op,
            site(f.site),
            by(run, f.cpu, f.issued)
        );
        let at = arrived.unwrap_or(f.issued);
        h.add(at, text);
        points
            .missed
            .push(format!("{} (step {}) left it: {why}", f.op, run.step(at)));
    }
    if unrelated > 0 {
        let s = if unrelated == 1 { "" } else { "s" };
        let text = format!("({unrelated} TLBI{s} since it was made: for other addresses or tags.)");
        h.add(run.trace.len(), text);
    }
}
