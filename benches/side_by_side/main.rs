//! `turnpike tunnel` beside other userspace implementations of WireGuard: `make bench`, `make bench-long`.
//!
//! ```text
//!  scripts/subjects ─▶ subjects ─▶ for each round, for each subject in turn: bed ─▶ sections ─▶ record
//!                                                                                      record ─▶ table, JSON
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`options`] | what is asked for |
//! | [`subject`] | the programs |
//! | [`bed`] | namespaces, wires, tunnels, ruleset |
//! | [`stream`], [`flood`], [`echo`] | traffic: TCP, small packets, round trips |
//! | [`hub`], [`crowd`], [`party`], [`exchange`], [`train`], [`storm`] | very many peers of one hub, and traffic among them |
//! | [`gateways`] | a lab of gateways |
//! | [`process`] | CPU time and memory of a process; bounds in time |
//! | [`sections`], [`long`] | which traffic on which bed gives which measure |
//! | [`measure`] | names, units and goals |
//! | [`statistics`], [`record`], [`table`] | medians, comparison, JSON, the table |
//! | [`machine`] | on what was measured |
//!
//! Subjects take turns within a round, and each round begins with another one: whatever else the machine does meets
//! all of them. What counts is the ratio within one run. Needs root; leaves nothing behind.

mod bed;
mod crowd;
mod echo;
mod exchange;
mod failure;
mod flood;
mod gateways;
mod hub;
mod long;
mod machine;
mod measure;
mod options;
mod party;
mod process;
mod record;
mod sections;
mod statistics;
mod storm;
mod stream;
mod subject;
mod table;
mod train;

use std::fmt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use failure::Failure;
use nix::unistd::geteuid;
use options::{Options, rotation};
use process::Interrupt;
use record::{Entry, Record, merge};
use subject::Subject;

/// Beyond this load average at the start, it is said that the machine is not quiet.
const QUIET: f64 = 0.5;
/// Beyond this share of the processors, in per cent, that a hypervisor keeps back, a pass is taken again if time is left.
const SPOILT: u64 = 3;

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1), |name| std::env::var(name).ok()) {
        Ok(options) => options,
        Err(cause) => return refuse(&cause, 64),
    };
    if !geteuid().is_root() {
        return refuse("the benchmark needs root: it makes network namespaces", 77);
    }
    let interrupt = match Interrupt::catch() {
        Ok(interrupt) => interrupt,
        Err(error) => return refuse(&format!("cannot catch signals: {error}"), 70),
    };
    let subjects = present(&options.subjects);
    let machine = machine::description();
    eprintln!("on {machine}; load average {}", load());
    if machine::load().is_some_and(|load| load > QUIET) {
        eprintln!("the machine is not quiet: only ratios mean something, and they less than usual");
    }
    let mut record = Record::default();
    let clock = machine::Clock::start();
    let failures = rounds(&options, &subjects, &interrupt, &mut record);
    finish(&record, &failures, &clock, &interrupt)
}

/// Those of the subjects whose programs are there; the others are named.
fn present(subjects: &[Subject]) -> Vec<Subject> {
    let is_there = |subject: &Subject| match subject.version() {
        Some(version) => {
            eprintln!("{} {version}", subject.name());
            true
        }
        None => {
            eprintln!("{} is left out: there is no {}", subject.name(), subject.program().display());
            false
        }
    };
    subjects.iter().copied().filter(is_there).collect()
}

/// Measures, and names what could not be measured.
fn rounds(options: &Options, subjects: &[Subject], interrupt: &Interrupt, record: &mut Record) -> Vec<String> {
    let began = Instant::now();
    let mut failures = Vec::new();
    for round in 0..options.rounds {
        let expected = began.elapsed() + began.elapsed() / u32::try_from(round.max(1)).unwrap_or(1);
        if expected > options.limit {
            failures.push(format!("rounds {} to {}: no time is left", round + 1, options.rounds));
            break;
        }
        for (taken, subject) in (1..).zip(rotation(subjects, round)) {
            let to_come = (options.rounds - round) * subjects.len() - taken;
            let at = format!("round {} of {}: {}", round + 1, options.rounds, subject.name());
            let mut pass = Pass::take(subject, options, interrupt);
            eprintln!("{:6.1} s  {at}: {pass}", began.elapsed().as_secs_f64());
            while pass.is_spoilt() && pass.fits(began.elapsed(), to_come, options.limit) {
                pass = Pass::take(subject, options, interrupt);
                eprintln!("{:6.1} s  {at}, instead: {pass}", began.elapsed().as_secs_f64());
            }
            for (measure, value) in &pass.values {
                record.add(*measure, subject, *value);
            }
            match pass.ended {
                Ok(()) => {}
                Err(Failure::Interrupted) => return failures,
                Err(error) => {
                    eprintln!("          {at}: {error}");
                    failures.push(format!("{at}: {error}"));
                }
            }
        }
    }
    failures
}

/// What one pass of a subject yielded.
struct Pass {
    values: sections::Values,
    ended: Result<(), Failure>,
    clock: machine::Clock,
    took: Duration,
}

impl Pass {
    fn take(subject: Subject, options: &Options, interrupt: &Interrupt) -> Self {
        let (clock, began) = (machine::Clock::start(), Instant::now());
        let mut values = Vec::new();
        let ended = sections::pass(subject, options, interrupt, &mut values);
        Self { values, ended, clock: clock.stop(), took: began.elapsed() }
    }

    /// Whether it says more about others on the same hardware than about the subject. What it yielded does not matter
    /// here: else it would be a choice among results.
    fn is_spoilt(&self) -> bool {
        self.ended.is_ok() && self.clock.stolen().is_some_and(|share| share > SPOILT)
    }

    /// Whether there is time to take it again, with others `to_come`.
    fn fits(&self, elapsed: Duration, to_come: usize, limit: Duration) -> bool {
        let to_come = u32::try_from(to_come).unwrap_or(u32::MAX).saturating_add(1);
        elapsed.saturating_add(self.took.saturating_mul(to_come)) <= limit
    }
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = self.values.iter().map(|(measure, value)| format!("{} {}", measure.name(), table::short(*value)));
        write!(f, "{}{}", said.collect::<Vec<_>>().join(", "), stolen(&self.clock))
    }
}

/// Prints and keeps what was measured.
fn finish(record: &Record, failures: &[String], clock: &machine::Clock, interrupt: &Interrupt) -> ExitCode {
    println!("\n{}", table::render(record));
    println!("on {}; load average at the end {}{}", machine::description(), load(), stolen(clock));
    for failure in failures {
        println!("NOT MEASURED: {failure}");
    }
    if interrupt.is_set() {
        eprintln!("interrupted: everything is removed, and no file was written");
        return ExitCode::from(130);
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    if let Err(error) = keep(&folder, record) {
        return refuse(&format!("cannot write to {}: {error}", folder.display()), 69);
    }
    println!("written to side-by-side.json and side-by-side.md in {}", folder.display());
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Writes the files; entries of measures that were not taken this time stay.
fn keep(folder: &Path, record: &Record) -> std::io::Result<()> {
    let path = folder.join("side-by-side.json");
    let old: Vec<Entry> = match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    std::fs::create_dir_all(folder)?;
    let all = merge(old, record.entries());
    replace(&path, &(serde_json::to_string_pretty(&all)? + "\n"))?;
    let today = jiff::Zoned::now().date();
    let text = format!("Measured on {today}: {}.\n\n{}", machine::description(), table::markdown(&all));
    replace(&folder.join("side-by-side.md"), &text)
}

/// Whoever reads the file meanwhile reads a whole one.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, text)?;
    std::fs::rename(&new, path)
}

/// What to say of time that a hypervisor kept back.
fn stolen(clock: &machine::Clock) -> String {
    match clock.stolen() {
        None | Some(0) => String::new(),
        Some(share) => format!("; the hypervisor kept back {share} % of the processors"),
    }
}

fn load() -> String {
    machine::load().map_or_else(|| "unknown".to_owned(), |load| load.to_string())
}

fn refuse(cause: &str, code: u8) -> ExitCode {
    eprintln!("side_by_side: {cause}");
    ExitCode::from(code)
}
