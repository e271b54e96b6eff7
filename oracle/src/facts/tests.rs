// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the judge knows, from the events of scripts.

use crate::script::*;

/// The debts of CPU 0: level, whether a leaf, and the TLBI that covers its own stage best.
fn debts(s: &Scene<'_>) -> Vec<(u8, bool, Option<Kind>)> {
    s.oracle(|o, _| {
        let debts = &o.facts.cpus[0].debts;
        let brief = debts
            .iter()
            .map(|d| (d.level, d.leaf, d.best[0].map(|b| b.op.kind)));
        brief.collect()
    })
}

fn best(s: &Scene<'_>) -> Option<Kind> {
    debts(s)[0].2
}

#[test]
fn what_takes_something_away_is_a_debt_until_the_operation_returns() {
    let broken = stage1(private(), async |s| {
        let op = Op::Unmap(A, 0x1000);
        s.begin(s.c0, op);
        s.c0.pte_xchg(s.pte(A, 0x1000), Desc::INVALID).await;
        assert_eq!(debts(s), [(3, true, None)]);
        flush(s.c0, by_addr(Kind::Vale1is, 0x1000)).await;
        assert_eq!(best(s), Some(Kind::Vale1is));
        s.end(s.c0, op, Done::Yes);
        assert_eq!(debts(s), []);
    });
    assert_eq!(broken, None);
}

#[test]
fn a_restriction_is_a_debt_and_a_relaxation_is_none() {
    let broken = stage1(private(), async |s| {
        let pte = s.pte(A, 0x1000);
        let rw = s.c0.pte_read(pte).await;
        let ro = rw.with_writable(Stage::One, false);
        s.c0.pte_write(pte, ro).await;
        assert_eq!(debts(s).len(), 1);
        s.c0.pte_write(pte, rw).await;
        assert_eq!(debts(s).len(), 1, "write permission came back");
    });
    assert_eq!(broken, None);
}

#[test]
fn what_was_not_valid_or_not_linked_is_no_debt() {
    let broken = stage1(private(), async |s| {
        let table = s.split_table(s.c0, A, 0x4000).await;
        s.c0.pte_write(table, Desc::INVALID).await;
        assert_eq!(debts(s), [], "no walker has ever seen that table");
        s.c0.pte_write(s.pmd(A, 0x8000), Desc::table(table)).await;
        assert_eq!(debts(s), [], "from invalid to valid");
        s.c0.pte_write(s.pmd(A, 0x8000), Desc::INVALID).await;
        assert_eq!(debts(s), [(2, false, None)]);
    });
    assert_eq!(broken, None);
}

#[test]
fn a_last_level_tlbi_does_not_cover_a_table() {
    let broken = stage1(private(), async |s| {
        s.c0.pte_xchg(s.pmd(A, 0x0), Desc::INVALID).await;
        s.c0.tlbi(by_addr(Kind::Vale1is, 0x0)).await;
        assert_eq!(best(s), None);
        s.c0.tlbi(by_addr(Kind::Vae1is, 0x1000)).await;
        assert_eq!(
            best(s),
            Some(Kind::Vae1is),
            "any address under the table does"
        );
    });
    assert_eq!(broken, None);
}

#[test]
fn an_address_elsewhere_covers_nothing() {
    let broken = stage1(private(), async |s| {
        s.c0.pte_xchg(s.pmd(A, 0x4000), Desc::INVALID).await;
        for va in [0x3000, 0x8000] {
            s.c0.tlbi(by_addr(Kind::Vale1is, va)).await;
        }
        assert_eq!(best(s), None);
        s.c0.tlbi(by_addr(Kind::Vale1is, 0x7000)).await;
        assert_eq!(best(s), Some(Kind::Vale1is), "the block reaches so far");
    });
    assert_eq!(broken, None);
}

#[test]
fn the_best_tlbi_counts_whichever_came_last() {
    let broken = stage1(private(), async |s| {
        s.c0.pte_xchg(s.pte(A, 0x1000), Desc::INVALID).await;
        s.c0.dsb(Dsb::Ishst).await;
        s.c0.tlbi(by_addr(Kind::Vale1, 0x1000)).await;
        assert_eq!(best(s), Some(Kind::Vale1));
        s.c0.tlbi(by_addr(Kind::Vale1is, 0x1000)).await;
        assert_eq!(best(s), Some(Kind::Vale1is), "it reaches more");
        s.c0.tlbi(by_addr(Kind::Vale1, 0x1000)).await;
        assert_eq!(best(s), Some(Kind::Vale1is));
    });
    assert_eq!(broken, None);
}

/// Of a stage-2 translation there are two kinds of entry, and each has to be covered.
#[test]
fn a_stage_2_debt_is_covered_twice() {
    let best = |s: &Scene<'_>| {
        s.oracle(|o, _| o.facts.cpus[0].debts[0].best.map(|b| b.map(|b| b.op.kind)))
    };
    let broken = stage2(private(), async |s| {
        s.c0.pte_xchg(s.pte(A, 0x1000), Desc::INVALID).await;
        flush(s.c0, by_addr(Kind::Ipas2e1is, 0x1000)).await;
        assert_eq!(best(s), [Some(Kind::Ipas2e1is), None]);
        flush(s.c0, Tlbi::all(Kind::Vmalle1is)).await;
        assert_eq!(best(s), [Some(Kind::Ipas2e1is), Some(Kind::Vmalle1is)]);
    });
    assert_eq!(broken, None);
    let broken = stage2(private(), async |s| {
        s.c0.pte_xchg(s.pte(A, 0x1000), Desc::INVALID).await;
        flush(s.c0, Tlbi::all(Kind::Vmalls12e1is)).await;
        assert_eq!(
            best(s),
            [Some(Kind::Vmalls12e1is); 2],
            "by one that means both"
        );
    });
    assert_eq!(broken, None);
}

/// A walker makes a combined entry out of the stage-2 entry as long as that is there.
#[test]
fn combined_entries_go_after_those_they_are_made_of() {
    for (dsb, want) in [(true, true), (false, false)] {
        let broken = stage2(private(), async |s| {
            s.c0.pte_xchg(s.pte(A, 0x1000), Desc::INVALID).await;
            s.c0.dsb(Dsb::Ishst).await;
            s.c0.tlbi(by_addr(Kind::Ipas2e1is, 0x1000)).await;
            if dsb {
                s.c0.dsb(Dsb::Ish).await;
            }
            s.c0.tlbi(Tlbi::all(Kind::Vmalle1is)).await;
            let before = s.oracle(|o, _| o.facts.cpus[0].debts[0].best[1].map(|b| b.dsb_before));
            assert_eq!(before, Some(want));
        });
        assert_eq!(broken, None);
    }
}

#[test]
fn a_touch_is_disturbed_by_operations_on_its_page() {
    let touch = Op::Touch(0x1000, Access::Read);
    let disturbed = |op: Op, before: bool| {
        let mut disturbed = false;
        let broken = stage1(private(), async |s| {
            s.switch(s.c1, A, 1).await;
            if before {
                s.begin(s.c0, op);
            }
            s.begin(s.c1, touch);
            if !before {
                s.begin(s.c0, op);
            }
            disturbed = s.oracle(|o, _| o.facts.cpus[1].disturbed);
        });
        assert_eq!(broken, None);
        disturbed
    };
    for before in [true, false] {
        assert!(disturbed(Op::Unmap(A, 0x1000), before));
        assert!(!disturbed(Op::Unmap(A, 0x0), before), "another page");
        assert!(!disturbed(Op::Unmap(B, 0x1000), before), "another space");
    }
}
