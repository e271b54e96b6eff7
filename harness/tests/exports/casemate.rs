// SPDX-License-Identifier: MIT OR Apache-2.0
//! Logs of casemate: what they say is read again, record by record, and held against what
//! casemate asks of every log.

use super::{corpus, file, of, report, root, written};
use shootdown::export::Form;
use shootdown::scenario::{Choice, Scenario};
use std::collections::{BTreeMap, BTreeSet};

/// An s-expression.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Exp {
    Word(String),
    List(Vec<Exp>),
}

/// The first s-expression of a text, and what follows.
fn exp(text: &str) -> (Exp, &str) {
    let text = text.trim_start_matches(' ');
    if let Some(mut rest) = text.strip_prefix('(') {
        let mut list = Vec::new();
        loop {
            rest = rest.trim_start_matches(' ');
            if let Some(rest) = rest.strip_prefix(')') {
                return (Exp::List(list), rest);
            }
            let (item, after) = exp(rest);
            list.push(item);
            rest = after;
        }
    }
    let end = match text.strip_prefix('"') {
        Some(inner) => inner.find('"').expect("the end of a string") + 2,
        None => text.find([' ', '(', ')']).expect("the end of a word"),
    };
    assert!(end > 0, "a word in {text:?}");
    (Exp::Word(text[..end].to_owned()), &text[end..])
}

/// A record: its name, its thread, its fields.
struct Record {
    name: String,
    tid: u8,
    words: Vec<String>,
    fields: BTreeMap<String, String>,
}

impl Record {
    fn parse(line: &str, nth: usize) -> Record {
        let (Exp::List(items), "") = exp(line) else {
            panic!("not one s-expression: {line}");
        };
        let (mut words, mut fields, mut order) = (Vec::new(), BTreeMap::new(), Vec::new());
        for item in items {
            match item {
                Exp::Word(word) => words.push(word),
                Exp::List(pair) => {
                    let [Exp::Word(key), Exp::Word(value)] = pair.as_slice() else {
                        panic!("not a key and a value: {line}");
                    };
                    order.push(key.clone());
                    assert!(
                        fields.insert(key.clone(), value.clone()).is_none(),
                        "{line}"
                    );
                }
            }
        }
        let name = words.remove(0);
        let want = fields_of(&name, &words);
        assert_eq!(order, want, "{line}");
        assert_eq!(fields["id"], nth.to_string(), "{line}");
        let (source, number) = fields["src"]
            .trim_matches('"')
            .split_once(':')
            .expect("a place");
        assert!(source == "boot" || source.ends_with(".rs"), "{line}");
        assert!(number.bytes().all(|b| b.is_ascii_digit()), "{line}");
        let tid = fields["tid"].parse().expect("a number");
        Record {
            name,
            tid,
            words,
            fields,
        }
    }

    fn hex(&self, key: &str) -> u64 {
        let digits = self.fields[key].strip_prefix("0x").expect("hexadecimal");
        u64::from_str_radix(digits, 16).expect("hexadecimal")
    }
}

/// The fields that a record has, in their order.
fn fields_of(name: &str, words: &[String]) -> Vec<&'static str> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let own: &[&str] = match (name, words.as_slice()) {
        ("mem-init", []) => &["address", "size"],
        ("mem-set", []) => &["address", "size", "value"],
        ("mem-write", []) => &["mem-order", "address", "value"],
        ("mem-read", []) => &["address", "value"],
        ("barrier", ["isb"]) => &[],
        ("barrier", ["dsb"]) => &["kind"],
        ("tlbi", ["ipas2e1is"]) => &["value"],
        ("tlbi", ["vmalle1" | "vmalle1is" | "alle1" | "alle1is"]) => &[],
        ("tlbi", ["vmalls12e1" | "vmalls12e1is"]) => &[],
        ("sysreg-write", []) => &["sysreg", "value"],
        ("hint", []) => &["kind", "location", "value"],
        ("lock" | "unlock", []) => &["address"],
        _ => panic!("no such record: {name} {words:?}"),
    };
    [&["id", "tid"], own, &["src"]].concat()
}

/// What casemate knows by now, of what it asks of every log.
#[derive(Default)]
struct Reader {
    memory: BTreeMap<u64, u64>,
    owners: BTreeMap<u64, u64>,
    locks: BTreeMap<u64, u64>,
    held: BTreeMap<u64, u8>,
    vmids: BTreeMap<u64, u64>,
    started: BTreeSet<u8>,
    kinds: BTreeSet<String>,
}

impl Reader {
    /// The lock that owns the table with a descriptor.
    fn owner(&self, at: u64) -> u64 {
        let table = at & !0xfff;
        self.locks[self.owners.get(&table).unwrap_or(&table)]
    }

    fn read(&mut self, line: &str, nth: usize) {
        let r = Record::parse(line, nth);
        let boot = r.fields["src"] == "\"boot:0\"";
        self.kinds
            .insert(format!("{} {}", r.name, r.words.join(" ")));
        match r.name.as_str() {
            "mem-init" | "mem-set" => {
                let at = r.hex("address");
                assert_eq!((at % 0x1000, r.hex("size")), (0, 0x1000), "{line}");
                let known = self.memory.contains_key(&at);
                assert_eq!(known, r.name == "mem-set", "{line}");
                for i in 0..512 {
                    self.memory.insert(at + i * 8, 0);
                }
            }
            "mem-write" => {
                let at = r.hex("address");
                let value = r.hex("value");
                assert!(
                    boot || self.held.get(&self.owner(at)) == Some(&r.tid),
                    "{line}"
                );
                assert!(["plain", "release"].contains(&r.fields["mem-order"].as_str()));
                assert!(
                    self.memory.insert(at, value).is_some(),
                    "not initialised: {line}"
                );
                // A table that it points to is one that somebody owns.
                if value & 3 == 3 && value & 0x4c0 == 0 {
                    self.owner(value & 0xffff_ffff_f000);
                }
            }
            "mem-read" => {
                let at = r.hex("address");
                assert_eq!(self.memory.get(&at), Some(&r.hex("value")), "{line}");
                assert_eq!(self.held.get(&self.owner(at)), Some(&r.tid), "{line}");
            }
            "hint" if r.fields["kind"] == "set_root_lock" => {
                self.locks.insert(r.hex("location"), r.hex("value"));
            }
            "hint" => {
                assert_eq!(r.fields["kind"], "set_owner_root");
                self.owners.insert(r.hex("location"), r.hex("value"));
            }
            "lock" => assert_eq!(self.held.insert(r.hex("address"), r.tid), None, "{line}"),
            "unlock" => assert_eq!(self.held.remove(&r.hex("address")), Some(r.tid), "{line}"),
            "sysreg-write" => self.sysreg(&r, line),
            "tlbi" => assert!(self.started.contains(&r.tid) && !boot, "{line}"),
            _ => {}
        }
    }

    /// A root has one VMID, and no two have the same.
    fn sysreg(&mut self, r: &Record, line: &str) {
        let value = r.hex("value");
        match r.fields["sysreg"].as_str() {
            "vttbr_el2" => {
                let (root, vmid) = (value & 0xffff_ffff_fffe, value >> 48);
                assert!(self.locks.contains_key(&root), "{line}");
                assert_eq!(*self.vmids.entry(vmid).or_insert(root), root, "{line}");
            }
            "vtcr_el2" => {
                assert!([0x23, 0x59].contains(&value), "{line}");
                self.started.insert(r.tid);
            }
            "hcr_el2" => {}
            other => panic!("{other}: {line}"),
        }
    }
}

/// The kinds of records of a log that casemate would read.
fn kinds(log: &str) -> BTreeSet<String> {
    let mut reader = Reader::default();
    for (nth, line) in log.lines().enumerate() {
        reader.read(line, nth);
    }
    reader.kinds
}

fn on(scenario: &Scenario, variant: &str) -> Result<String, String> {
    let mut scenario = scenario.clone();
    let (variant, defect) = (variant.to_owned(), None);
    scenario.variants = vec![Choice { variant, defect }];
    of(&scenario, Form::Casemate)
}

#[test]
fn runs_inside_the_model_are_exported() {
    let mut seen = BTreeSet::new();
    for variant in ["kvm-vmid", "kvm-vmid-nvhe", "kvm-vmid-v3", "kvm-vmid-load"] {
        let mut logs = 0;
        for (_, scenario) in corpus() {
            if let Ok(log) = on(&scenario, variant) {
                seen.extend(kinds(&log));
                logs += 1;
            }
        }
        assert!(logs > 50, "{variant}: {logs}");
    }
    for kind in ["mem-init ", "mem-read ", "tlbi ipas2e1is", "tlbi vmalle1is"] {
        assert!(seen.contains(kind), "{kind} in none: {seen:?}");
    }
}

#[test]
fn findings_are_exported_up_to_where_they_are_found() {
    for name in ["kvm-vmid-from-zero", "two-vms-in-one-thread"] {
        kinds(&written(&file(name), Form::Casemate).expect(name));
    }
    // One root under two VMIDs, which casemate does not allow.
    let two = written(&file("kvm-vmid-B-14-always-new"), Form::Casemate).expect("a log");
    let last = |tid| {
        let mine = format!("(tid {tid}) (sysreg vttbr_el2)");
        two.lines().rfind(|l| l.contains(&mine)).expect("a write")
    };
    assert!(last(0).contains("(value 0x2000000001000)"), "{two}");
    assert!(last(1).contains("(value 0x1000000001000)"), "{two}");
}

/// A scenario of one space that maps, unmaps, splits and moves.
const CHANGES: &str = "scenario 1\nvariants kvm-vmid\nmachine cpus=2 spaces=2 domain=private\n\
    cpu0: switch A; touch 0x1000; unmap A 0x1000; map A 0x2000; split A 0x4000\n\
    cpu1: switch B; touch 0x0; remap A 0x0; touch 0x4000\n";

#[test]
fn a_log_reads_as_the_run_went() {
    let log = written(CHANGES, Form::Casemate).expect("a log");
    kinds(&log);
    let redacted: String = log.lines().map(|line| redact(line) + "\n").collect();
    insta::assert_snapshot!("casemate", redacted);
}

/// A line without the line numbers of ports, which are edited.
fn redact(line: &str) -> String {
    match line.split_once(".rs:") {
        Some((start, _)) => format!("{start}.rs:##\"))"),
        None => line.to_owned(),
    }
}

#[test]
fn a_table_and_a_block_are_where_real_ones_would_be() {
    let text = CHANGES.replace("domain=private", "domain=private levels=3");
    let log = written(&text, Form::Casemate).expect("a log");
    assert!(log.contains("(sysreg vtcr_el2) (value 0x59)"));
    // 0x4000 is the second block: 2 MB, with a level hint of 2.
    assert!(log.contains("ipas2e1is (value 0x600000000200)"), "{log}");
    assert!(log.contains("ipas2e1is (value 0x700000000001)"), "{log}");
}

fn refused(text: &str, why: &str) {
    let error = written(text, Form::Casemate).expect_err(why);
    assert!(error.contains(why), "{error}");
    // What depends on the step says which.
    let anywhere = ["casemate's ", "tables of another", "a table of"];
    let whole = anywhere.iter().any(|start| why.contains(start));
    assert!(whole || error.starts_with("step "), "{error}");
}

#[test]
fn each_run_outside_is_refused_for_its_reason() {
    let with = |from: &str, to: &str| CHANGES.replacen(from, to, 1);
    refused(
        &with("kvm-vmid", "x86-tlbgen"),
        "casemate's model is of arm64",
    );
    refused(
        &with("kvm-vmid", "riscv-asid"),
        "casemate's model is of arm64",
    );
    let stage_1 = "stage 1 of EL1&0: casemate's stage 1 is that of EL2";
    for variant in ["naive", "arm64-asid", "arm64-bbm2", "mm-arm64"] {
        refused(&with("kvm-vmid", variant), stage_1);
    }
    for variant in ["kvm-s2", "kvm-nested"] {
        refused(&with("kvm-vmid", variant), "tables of another stage");
    }
    refused(
        &with("private", "private granule=16k"),
        "casemate's granule is 4 KB",
    );
    refused(
        &with("private", "private memory=arm"),
        "casemate's log is one order",
    );
    refused(
        &with("private", "private memory=tso"),
        "casemate's log is one order",
    );
    refused(&with("private", "smt"), "CnP is set");
    refused(&with("split A 0x4000", "sched_out; exit A"), "a space ends");
    refused(
        &with("split A 0x4000", "protect A 0x2000 ro; protect A 0x2000 rw"),
        "one CPU only",
    );
    refused(
        &with("split A 0x4000", "split A 0x4000; collapse A 0x4000"),
        "tlbi ripas2e1is",
    );
    refused(
        &with("switch B; touch 0x0; remap A", "remap B"),
        "flushed under VMID 0",
    );
    let many = "scenario 1\nvariants kvm-vmid\nmachine cpus=2 spaces=4 tags=4 domain=private\n\
        cpu0: switch A; touch 0x0; switch B; touch 0x0; switch C; touch 0x0\n\
        cpu0: switch D; touch 0x0\n";
    refused(many, "a roll-over");
    refused(&many.replace("kvm-vmid", "kvm-vmid-gen"), "a roll-over");
}

#[test]
fn a_refusal_is_bad_input() {
    let path = "corpus/arm64-asid-B-1.scenario";
    let (code, out, err) = report(&["--format", "casemate", path]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.contains("stage 1 of EL1&0"), "{err}");
    let path = "corpus/kvm-vmid-from-zero.scenario";
    let (code, out, err) = report(&["--format", "casemate", path]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(root().join(path).is_file() && out.starts_with("(sysreg-write (id 0) "));
}
