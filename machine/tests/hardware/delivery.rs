// SPDX-License-Identifier: MIT OR Apache-2.0
//! When a TLBI takes effect, where, and under which VMID (machine rules 11, 12 and 15).

use crate::rig::{A, B, Rig, by_addr, flush, private};
use shootdown_machine::arm64::{HCR_TGE, HCR_VM, Kind, Reg, Stage, Tlbi, Ttl, ttbr};
use shootdown_machine::{Access, Dsb, Outcome};

/// Both CPUs have 0x1000 of A cached under ASID 1.
fn cached() -> Rig {
    let rig = Rig::new(private());
    for cpu in 0..2 {
        rig.run(rig.load(rig.cpu(cpu), A, 1));
        rig.walk(cpu, 0x1000, None);
    }
    rig
}

/// On which CPUs it still is.
fn left(rig: &Rig) -> [bool; 2] {
    [0, 1].map(|cpu| rig.leaves(cpu, Stage::One) == [0x1000])
}

#[test]
fn a_broadcast_arrives_at_each_cpu_in_its_own_time() {
    let rig = cached();
    rig.run(rig.cpu(0).tlbi(by_addr(Kind::Vae1is, 0x1000)));
    assert_eq!(left(&rig), [true, true], "not even on the issuing CPU");
    let outcome = rig.run(rig.cpu(1).access(0x1000, Access::Read));
    assert_eq!(outcome, Outcome::Done);
    assert!(rig.hardware(|state| state.deliver(1, false)));
    assert_eq!(left(&rig), [true, false]);
    assert!(rig.hardware(|state| state.deliver(0, false)));
    assert_eq!(left(&rig), [false, false]);
    assert!(
        !rig.hardware(|state| state.deliver(0, false)),
        "it is there once"
    );
}

#[test]
fn a_local_one_reaches_no_other_cpu() {
    let rig = cached();
    rig.run(rig.cpu(0).tlbi(by_addr(Kind::Vae1, 0x1000)));
    assert_eq!(left(&rig), [true, true], "it is on its way, like any other");
    assert!(!rig.hardware(|state| state.deliver(1, false)));
    assert!(rig.hardware(|state| state.deliver(0, false)));
    assert_eq!(left(&rig), [false, true]);
}

/// Nothing but a DSB between them orders two TLBIs.
#[test]
fn either_of_two_may_arrive_first() {
    for (last, want) in [(false, 0x1000), (true, 0x4000)] {
        let rig = cached();
        rig.walk(1, 0x4000, None);
        rig.run(rig.cpu(0).tlbi(by_addr(Kind::Vale1is, 0x4000)));
        rig.run(rig.cpu(0).tlbi(by_addr(Kind::Vale1is, 0x1000)));
        rig.hardware(|state| state.deliver(1, last));
        assert_eq!(rig.leaves(1, Stage::One), [want]);
        rig.hardware(|state| state.deliver(1, last));
        assert_eq!(rig.leaves(1, Stage::One), []);
    }
}

#[test]
fn which_dsb_completes_which_tlbi() {
    let broadcast = by_addr(Kind::Vae1is, 0x1000);
    let local = by_addr(Kind::Vae1, 0x1000);
    let rows = [
        (broadcast, Dsb::Ish, [false, false]),
        (broadcast, Dsb::Nsh, [true, true]),
        (broadcast, Dsb::Ishst, [true, true]),
        (broadcast, Dsb::Nshst, [true, true]),
        (local, Dsb::Ish, [false, true]),
        (local, Dsb::Nsh, [false, true]),
        (local, Dsb::Ishst, [true, true]),
        (local, Dsb::Nshst, [true, true]),
    ];
    for (op, dsb, want) in rows {
        let rig = cached();
        rig.run(rig.cpu(0).tlbi(op));
        rig.run(rig.cpu(0).dsb(dsb));
        assert_eq!(left(&rig), want, "{op}; dsb {}", dsb.name());
    }
}

#[test]
fn a_dsb_of_another_cpu_completes_nothing_of_it() {
    for kind in [Kind::Vae1is, Kind::Vae1] {
        let rig = cached();
        rig.run(rig.cpu(0).tlbi(by_addr(kind, 0x1000)));
        rig.run(rig.cpu(1).dsb(Dsb::Ish));
        assert_eq!(left(&rig), [true, true]);
        rig.run(rig.cpu(0).dsb(Dsb::Ish));
        assert_eq!(left(&rig), [false, kind == Kind::Vae1]);
    }
}

#[test]
fn an_isb_completes_nothing() {
    let rig = cached();
    rig.run(rig.cpu(0).tlbi(by_addr(Kind::Vae1, 0x1000)));
    rig.run(rig.cpu(0).isb());
    assert_eq!(left(&rig), [true, true]);
}

#[test]
fn a_dsb_completes_what_came_before_it() {
    let rig = cached();
    rig.run(rig.cpu(0).dsb(Dsb::Ish));
    rig.run(rig.cpu(0).tlbi(by_addr(Kind::Vae1is, 0x1000)));
    assert_eq!(left(&rig), [true, true]);
}

#[test]
fn an_asid_is_matched_exactly() {
    for (asid, want) in [(1, [false, false]), (2, [true, true])] {
        for op in [
            Tlbi::asid(Kind::Aside1is, asid),
            Tlbi::addr(Kind::Vae1is, 0x1000, asid, Ttl::Unknown),
        ] {
            let rig = cached();
            rig.run(flush(rig.cpu(0), op));
            assert_eq!(left(&rig), want, "{op}");
        }
    }
}

/// CPU 0 has a page of VM A cached under VMID 7, and one of VM B under VMID 8.
fn guests() -> Rig {
    let rig = Rig::guests(private());
    for (vm, vmid) in [(A, 7), (B, 8)] {
        rig.run(rig.load(rig.cpu(0), vm, vmid));
        rig.walk(0, 0x1000, None);
    }
    rig
}

/// The VMIDs that CPU 0 still has entries of.
fn vmids(rig: &Rig) -> Vec<u16> {
    let state = rig.machine.state();
    let leaves = state.tlb(0).entries.iter();
    let combined = leaves.filter(|e| e.leaf && e.stage == Stage::One);
    combined.map(|e| e.vmid).collect()
}

#[test]
fn a_vmid_is_matched_exactly() {
    for (vmid, want) in [(7, vec![8]), (8, vec![7]), (9, vec![7, 8])] {
        let rig = guests();
        rig.run(rig.aim(rig.cpu(1), A, vmid));
        rig.run(flush(rig.cpu(1), Tlbi::all(Kind::Vmalls12e1is)));
        assert_eq!(vmids(&rig), want);
    }
}

#[test]
fn before_the_isb_a_tlbi_means_the_old_vmid() {
    for (isb, want) in [(false, vec![8]), (true, vec![7])] {
        let rig = guests();
        let cpu = rig.cpu(1);
        rig.run(rig.aim(cpu, A, 7));
        rig.run(cpu.write_sysreg(Reg::Vttbr, ttbr::new(rig.root(B), 8, false)));
        if isb {
            rig.run(cpu.isb());
        }
        rig.run(flush(cpu, Tlbi::all(Kind::Vmalls12e1is)));
        assert_eq!(vmids(&rig), want);
    }
}

#[test]
fn a_tlbi_means_what_it_meant_when_it_was_issued() {
    let rig = guests();
    let cpu = rig.cpu(1);
    rig.run(rig.aim(cpu, A, 7));
    rig.run(cpu.tlbi(Tlbi::all(Kind::Vmalls12e1is)));
    rig.run(rig.aim(cpu, B, 8));
    rig.run(cpu.dsb(Dsb::Ish));
    assert_eq!(vmids(&rig), [8]);
}

/// Under VHE, a host that does not clear TGE invalidates its own regime.
#[test]
fn under_tge_a_tlbi_means_the_host() {
    let rig = guests();
    let cpu = rig.cpu(1);
    rig.run(rig.aim(cpu, A, 7));
    rig.run(cpu.write_sysreg(Reg::Hcr, HCR_VM | HCR_TGE));
    rig.run(cpu.isb());
    for kind in [Kind::Vmalls12e1is, Kind::Vmalle1is] {
        rig.run(flush(cpu, Tlbi::all(kind)));
        assert_eq!(vmids(&rig), [7, 8]);
    }
    rig.run(flush(cpu, Tlbi::all(Kind::Alle1is)));
    assert_eq!(vmids(&rig), [0; 0], "that one is for every guest");
}
