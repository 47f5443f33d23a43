//! What is printed: lines and the closing line of a test program, or a table with one column for each subject.

use std::time::Duration;

use comfy_table::{Cell, Table, presets};

use crate::runner::{Job, Outcome};
use crate::scenario::Scenario;
use crate::subject::Subject;

/// The line that Rust's own test runner ends with; `scripts/test` adds such lines up.
pub fn closing_line(passed: usize, failed: usize, ignored: usize, filtered: usize, took: Duration) -> String {
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    format!(
        "test result: {verdict}. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; {filtered} filtered \
         out; finished in {:.2}s",
        took.as_secs_f64()
    )
}

/// One line for each scenario as it ends.
pub fn line(job: &Job<'_>, outcome: &Outcome, several: bool) {
    let subject = if several { format!("{}: ", job.subject.name) } else { String::new() };
    let verdict = if outcome.failure.is_none() { "ok" } else { "FAILED" };
    println!("test {subject}{} ... {verdict} ({:.1} s)", job.scenario.full_name(), outcome.took.as_secs_f64());
}

/// Everything that failed, in full.
pub fn failures(jobs: &[Job<'_>], outcomes: &[Outcome]) {
    let mut heading = Some("\nfailures:\n");
    for (job, outcome) in jobs.iter().zip(outcomes) {
        if let Some(failure) = &outcome.failure {
            println!("{}---- {} ----\n{failure}\n", heading.take().unwrap_or_default(), job.scenario.full_name());
        }
    }
}

/// The table side by side, then the reason of each failure in a line.
pub fn table(scenarios: &[&'static Scenario], subjects: &[Subject], jobs: &[Job<'_>], outcomes: &[Outcome]) {
    let outcome = |scenario: &Scenario, subject: &Subject| {
        let same = |job: &Job<'_>| job.scenario.name == scenario.name && job.subject.name == subject.name;
        jobs.iter().position(same).map(|at| &outcomes[at])
    };
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(std::iter::once("scenario").chain(subjects.iter().map(|subject| subject.name.as_str())));
    for scenario in scenarios {
        let verdict = |subject| match outcome(scenario, subject) {
            None => "not installed",
            Some(Outcome { failure: None, .. }) => "ok",
            Some(Outcome { failure: Some(_), .. }) => "FAILED",
        };
        table.add_row(std::iter::once(scenario.full_name()).chain(subjects.iter().map(|s| verdict(s).to_owned())));
    }
    let passed = |subject: &Subject| {
        let good = scenarios.iter().filter(|scenario| outcome(scenario, subject).is_some_and(|o| o.failure.is_none()));
        format!("{} of {}", good.count(), scenarios.len())
    };
    table.add_row(std::iter::once(Cell::new("holds")).chain(subjects.iter().map(|subject| Cell::new(passed(subject)))));
    println!("\n{}", table.trim_fmt());
    reasons(subjects, jobs, outcomes);
}

fn reasons(subjects: &[Subject], jobs: &[Job<'_>], outcomes: &[Outcome]) {
    for subject in subjects {
        if let Err(remedy) = &subject.command {
            println!("\n{} is not installed: {remedy}", subject.name);
        }
        for (job, outcome) in jobs.iter().zip(outcomes).filter(|(job, _)| job.subject.name == subject.name) {
            if let Some(failure) = &outcome.failure {
                let first: String = failure.lines().next().unwrap_or_default().chars().take(200).collect();
                println!("\n{} {}\n  {first}", subject.name, job.scenario.full_name());
            }
        }
    }
}
