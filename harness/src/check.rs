// SPDX-License-Identifier: MIT OR Apache-2.0
//! One scenario through every variant it names, and the comparison of what came out.

pub mod unmet;

use crate::exec::{Bench, Exec, Input, execute_under};
use crate::scenario::{Choice, Expect, Scenario};
use shootdown_machine::{Cost, OpSet, Sabotage, Switch, Switches};
use shootdown_oracle::{Breach, Finding, Summary};
use shootdown_variants::{Defect, Info, Variant, Visitor};

/// A variant, perhaps with one of its defects.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// The variant.
    pub info: &'static Info,
    /// The defect it is built with.
    pub defect: Option<&'static Defect>,
}

impl Subject {
    /// By the names a scenario gives.
    ///
    /// # Errors
    /// A sentence, if there is no such variant or it has no such defect.
    pub fn find(choice: &Choice) -> Result<Subject, String> {
        let name = &choice.variant;
        let info = shootdown_variants::find(name)
            .ok_or_else(|| format!("there is no variant \"{name}\"; see `shootdown list`"))?;
        let defect = match &choice.defect {
            None => None,
            Some(defect) => {
                let found = info.defects.iter().find(|d| d.name == defect);
                Some(found.ok_or_else(|| {
                    format!("{name} has no defect \"{defect}\"; see `shootdown list`")
                })?)
            }
        };
        Ok(Subject { info, defect })
    }

    /// By a name like `arm64-asid` or `arm64-asid/B-1`.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn parse(text: &str) -> Result<Subject, String> {
        let (variant, defect) = match text.split_once('/') {
            Some((variant, defect)) => (variant, Some(defect.to_owned())),
            None => (text, None),
        };
        Subject::find(&Choice {
            variant: variant.to_owned(),
            defect,
        })
    }

    /// Every variant that must never break a rule.
    pub fn sound() -> Vec<Subject> {
        let all = shootdown_variants::all().iter();
        all.filter(|info| !info.canary)
            .map(|info| Subject { info, defect: None })
            .collect()
    }

    /// Those that a scenario names, or the sound ones if it names none.
    ///
    /// # Errors
    /// As [`find`](Self::find), for the first that is not known.
    pub fn of(scenario: &Scenario) -> Result<Vec<Subject>, String> {
        if scenario.variants.is_empty() {
            return Ok(Subject::sound());
        }
        scenario.variants.iter().map(Subject::find).collect()
    }

    /// The kinds of operation that at least one of `subjects` implements.
    pub fn ops(subjects: &[Subject]) -> OpSet {
        let sets = subjects.iter().map(|s| OpSet::of(s.info.ops));
        sets.fold(OpSet::of(&[]), OpSet::or)
    }

    /// What the machine must have for the defect to show.
    pub fn needs(&self) -> Switches {
        let needs = self.defect.map_or(&[][..], |defect| defect.needs);
        let on = |switches: Switches, switch: &Switch| switches.with(*switch, true);
        needs.iter().fold(Switches::default(), on)
    }

    /// As a scenario names it.
    pub fn choice(&self) -> Choice {
        let defect = self.defect.map(|d| d.name.to_owned());
        Choice {
            variant: self.info.name.to_owned(),
            defect,
        }
    }

    /// A scenario for this variant alone, and what it is kept for.
    pub fn alone(&self, scenario: &Scenario, expect: Option<Expect>) -> Scenario {
        Scenario {
            variants: vec![self.choice()],
            expect,
            ..scenario.clone()
        }
    }

    /// As text.
    pub fn name(&self) -> String {
        self.choice().name()
    }
}

/// A broken rule, and who broke it.
#[derive(Clone, Debug)]
pub struct Found {
    /// The variant.
    pub by: Subject,
    /// The rule.
    pub finding: Finding,
}

impl Found {
    /// The expectation that a scenario has of it.
    pub fn expect(&self) -> Expect {
        let rule = self.finding.rule.name.to_owned();
        Expect::Breach {
            rule,
            by: self.by.choice(),
        }
    }
}

/// Whose run is of interest: the one that breaks a rule, or the only one there is.
///
/// # Errors
/// A sentence, if no rule is broken and there are several.
pub fn whose(found: Option<&Found>, subjects: &[Subject]) -> Result<Subject, String> {
    match (found, subjects) {
        (Some(found), _) => Ok(found.by),
        (None, [one]) => Ok(*one),
        (None, all) => Err(format!(
            "none of {} variants breaks a rule; --variant NAME says whose run is meant",
            all.len()
        )),
    }
}

/// What one variant's run came to.
#[derive(Clone, Debug)]
pub struct RunResult {
    /// The variant.
    pub by: Subject,
    /// What it broke.
    pub finding: Option<Finding>,
    /// What it cost.
    pub cost: Cost,
}

/// What a scenario came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The first variant that broke a rule.
    pub found: Option<Found>,
    /// Each variant's run.
    pub results: Vec<RunResult>,
    /// Slots of tables that could be compared between variants.
    pub comparable: u32,
}

struct Run<'a> {
    bench: &'a mut Bench,
    input: Input<'a>,
    schedule: &'a mut dyn FnMut(&mut dyn Exec),
}

impl Visitor for Run<'_> {
    type Output = ();
    fn visit<V: Variant>(self) {
        execute_under::<V>(self.bench, &self.input, self.schedule);
    }
}

/// Runs a variant under a schedule. The verdict is the bench's oracle's.
pub fn run(
    bench: &mut Bench,
    by: Subject,
    mut input: Input<'_>,
    schedule: impl FnOnce(&mut dyn Exec),
) {
    input.defect = by.defect.map(|d| d.name);
    let mut schedule = Some(schedule);
    let schedule = &mut |exec: &mut dyn Exec| {
        if let Some(schedule) = schedule.take() {
            schedule(exec);
        }
    };
    let run = Run {
        bench,
        input,
        schedule,
    };
    shootdown_variants::ports::visit(by.info.name, run);
}

/// The input that a scenario is.
pub fn input(scenario: &Scenario) -> Input<'_> {
    Input {
        config: scenario.machine,
        defect: None,
        programs: &scenario.programs,
        sabotage: None,
        trace: false,
    }
}

/// Runs one variant on a scenario.
pub fn run_one(bench: &mut Bench, by: Subject, scenario: &Scenario, input: Input<'_>) -> RunResult {
    run(bench, by, input, |exec| {
        for slot in &scenario.schedule {
            if !exec.apply(slot) {
                break;
            }
        }
    });
    let finding = bench.oracle.finding.clone();
    RunResult {
        by,
        finding,
        cost: bench.machine.state().cost,
    }
}

/// Runs a scenario on each of `subjects`, and compares their results. Stops at the first
/// that breaks a rule.
pub fn check(bench: &mut Bench, scenario: &Scenario, subjects: &[Subject]) -> Outcome {
    check_ignoring(bench, scenario, subjects, None)
}

/// The same, on machines that ignore some maintenance.
pub(crate) fn check_ignoring(
    bench: &mut Bench,
    scenario: &Scenario,
    subjects: &[Subject],
    sabotage: Option<Sabotage>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut first: Option<(Subject, Summary)> = None;
    for &by in subjects {
        let input = Input {
            sabotage,
            ..input(scenario)
        };
        let result = run_one(bench, by, scenario, input);
        let finding = result.finding.clone();
        outcome.results.push(result);
        if let Some(finding) = finding {
            outcome.found = Some(Found { by, finding });
            return outcome;
        }
        let summary = &bench.oracle.facts.summary;
        let Some((other, theirs)) = &first else {
            first = (subjects.len() > 1).then(|| (by, summary.clone()));
            continue;
        };
        let (comparable, differs) = summary.compare(theirs);
        outcome.comparable += comparable;
        if let Some(at) = differs {
            let va = at.page as u64 * shootdown_machine::PAGE;
            let what = format!(
                "{} and {} did the same on {} {va:#x}, in the same order, with different results",
                other.name(),
                by.name(),
                at.space
            );
            let breach = Breach {
                va: Some(va),
                ..Breach::new(what)
            };
            let rule = &shootdown_oracle::rules::one_result::RULE;
            let step = bench.machine.state().step;
            outcome.found = Some(Found {
                by,
                finding: Finding { rule, step, breach },
            });
            return outcome;
        }
    }
    outcome
}
