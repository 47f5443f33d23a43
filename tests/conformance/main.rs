//! Conformance of `turnpike tunnel` and of any other userspace WireGuard: what the kernel's and wireguard-go's own
//! namespace tests check, and hostile input. Needs root.
//!
//! ```text
//!  scenario ─ what must hold, tried with Rig: interfaces of a subject in namespaces, and Client, a peer that lies
//!  subject  ─ the command that makes an interface: turnpike's, wireguard-go's, boringtun-cli's, or any other
//!  runner   ─ each pair in a process of its own ─▶ report: lines as of a test program, or a table side by side
//! ```
//!
//! `cargo test` runs it for turnpike alone, without the slow scenarios; `make conformance` for all, side by side.

mod arguments;
#[path = "../bench/mod.rs"]
mod bench;
mod carry;
mod client;
mod data;
mod device;
mod endpoints;
mod flood;
mod handshake;
mod keys;
mod noise;
mod prefixes;
mod relay;
mod report;
mod rig;
mod routing;
mod runner;
mod scenario;
mod streams;
mod subject;
mod times;
mod tos;
mod uapi;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser as _;

use arguments::Arguments;
use runner::Job;
use scenario::{Cost, Scenario};
use subject::Subject;

/// What Rust's own test runner ends with when a test failed.
const FAILED: u8 = 101;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let subjects = match subjects(&arguments.subjects) {
        Ok(subjects) => subjects,
        Err(unknown) => {
            eprintln!("error: there is no subject '{unknown}': see --help");
            return ExitCode::from(64);
        }
    };
    let selected = |scenario: &&Scenario| arguments.select(&scenario.full_name(), scenario.cost == Cost::Slow);
    let (chosen, filtered): (Vec<_>, Vec<_>) = scenario::all().partition(selected);
    if arguments.list {
        chosen.iter().for_each(|scenario| println!("{}: test", scenario.full_name()));
        return ExitCode::SUCCESS;
    }
    if let (true, [scenario], [subject]) = (arguments.one, chosen.as_slice(), subjects.as_slice()) {
        return runner::run_here(scenario, subject.clone());
    }
    let (run, ignored): (Vec<_>, Vec<_>) =
        chosen.into_iter().partition(|scenario| scenario.cost != Cost::Slow || arguments.slow());
    try_all(&run, &subjects, [ignored.len(), filtered.len()], arguments.test_threads)
}

/// The subjects of the command line, and the one of the environment.
fn subjects(names: &[String]) -> Result<Vec<Subject>, String> {
    let mut subjects =
        names.iter().map(|name| Subject::named(name).ok_or_else(|| name.clone())).collect::<Result<Vec<_>, _>>()?;
    if let Some(given) = Subject::given().filter(|given| subjects.iter().all(|known| known.name != given.name)) {
        subjects.push(given);
    }
    if names.is_empty() && subjects.is_empty() {
        subjects.push(Subject::turnpike());
    }
    Ok(subjects)
}

fn try_all(
    scenarios: &[&'static Scenario],
    subjects: &[Subject],
    [ignored, filtered]: [usize; 2],
    threads: Option<usize>,
) -> ExitCode {
    let began = Instant::now();
    println!("\nrunning {} tests", scenarios.len());
    if turnpike::lab::guard::skip("conformance") {
        println!("{}", report::closing_line(0, 0, scenarios.len() + ignored, filtered, began.elapsed()));
        return ExitCode::SUCCESS;
    }
    if let Err(remedy) = &subjects[0].command {
        eprintln!("error: {} is not installed: {remedy}", subjects[0].name);
        return ExitCode::from(69);
    }
    let several = subjects.len() > 1;
    let installed = subjects.iter().filter(|subject| subject.command.is_ok());
    let jobs: Vec<Job<'_>> =
        installed.flat_map(|subject| scenarios.iter().map(move |scenario| Job { scenario, subject })).collect();
    let outcomes = runner::run(&jobs, threads.unwrap_or(4), &|job, outcome| report::line(job, outcome, several));
    let failed = |subject: &Subject| {
        let of = jobs.iter().zip(&outcomes).filter(|(job, _)| job.subject.name == subject.name);
        of.filter(|(_, outcome)| outcome.failure.is_some()).count()
    };
    let decisive = failed(&subjects[0]);
    if several {
        report::table(scenarios, subjects, &jobs, &outcomes);
        println!();
    } else {
        report::failures(&jobs, &outcomes);
    }
    println!("\n{}\n", report::closing_line(scenarios.len() - decisive, decisive, ignored, filtered, began.elapsed()));
    if decisive == 0 { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}
