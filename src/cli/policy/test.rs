//! `turnpike policy test`: the facts that the definition itself asks to be kept.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use crate::cli::definition::{self, Folder};
use crate::cli::{Exit, Failure, output};
use crate::net::{Aim, Flow};
use crate::policy::cases::{self, Case, Outcome};
use crate::policy::model::{Agreement, Model, Origin};
use crate::policy::{self, Question, Verdict};

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 all hold, 1 invalid, 2 a test failed.\n\
    Agreements in force of which no test sees a flow pass are named with --coverage.\n\n\
    Examples:\n  turnpike policy test examples/three-councils\n  \
    turnpike policy test . --coverage --at 2026-06-01T10:00:00Z")]
pub(super) struct Arguments {
    /// The definition's folder.
    dir: PathBuf,
    /// Judge tests that name no time of their own as of this time (RFC 3339, with offset) instead of their
    /// file's `as_of`.
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// Print the outcomes as a JSON array; with --coverage as an object of `tests` and `untouched`.
    #[arg(long)]
    json: bool,
    /// Name the agreements in force, as of --at or now, that no test touches.
    #[arg(long)]
    coverage: bool,
}

/// Runs `turnpike policy test`.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let folder = definition::read(&arguments.dir)?;
    // What is in force is judged test by test; this instant serves to resolve, and for coverage.
    let at = definition::instant(arguments.at);
    let resolved = folder.resolve(at).map_err(|found| folder.failure(&found))?;
    let outcomes = cases::run(&resolved.model, &resolved.cases, arguments.at);
    let told: Vec<_> = resolved.cases.iter().zip(&outcomes).collect();
    let untouched = arguments.coverage.then(|| cases::untouched(&resolved.model, &outcomes));
    match (arguments.json, &untouched) {
        (true, None) => output::print_json(&json(&resolved.model, &told))?,
        (true, Some(untouched)) => output::print_json(&Covered {
            tests: json(&resolved.model, &told),
            untouched: untouched.iter().map(|agreement| agreement.id.to_string()).collect(),
        })?,
        (false, _) => {
            output::print(&coverage(&resolved.model, untouched.as_deref()))?;
            print(&resolved.model, &told, &folder)?;
        }
    }
    Ok(if outcomes.iter().all(|outcome| outcome.passed) { Exit::Fine } else { Exit::TestFailed })
}

fn print(model: &Model, told: &[(&Case, &Outcome)], folder: &Folder) -> Result<(), Failure> {
    let mut text = String::new();
    for (case, outcome) in told {
        let mark = if outcome.passed { "ok    " } else { "FAILED" };
        let what = &case.question;
        text.push_str(&format!("{mark} {:<5} {what}: {}\n", expected(case.allow), seen(model, outcome)));
        if !outcome.passed {
            let origin = &case.origin;
            let place = folder.path.join(&origin.file);
            eprintln!("error: the test {what} failed as of {}: expected {}", outcome.at, expected(case.allow));
            eprintln!("  --> {}:{}:{}", place.display(), origin.line, origin.column);
            if let Some(why) = &case.why {
                eprintln!("  = why: {}", policy::printable(why));
            }
        }
    }
    let failed = told.iter().filter(|(_, outcome)| !outcome.passed).count();
    output::print(&format!("{text}{} tests, {failed} failed\n", told.len()))
}

fn port(question: &Question) -> String {
    match (question.protocol, question.port) {
        (Some(protocol), Some(port)) => format!(" {protocol}/{port}"),
        (Some(protocol), None) => format!(" {protocol}"),
        (None, _) => String::new(),
    }
}

fn expected(allow: bool) -> &'static str {
    if allow { "allow" } else { "deny" }
}

fn seen(model: &Model, outcome: &Outcome) -> String {
    let Some((flow, verdict)) = &outcome.witness else {
        return "nothing can pass: no address family, protocol or port in common".to_owned();
    };
    let what = flow_text(flow);
    match verdict {
        Verdict::Allow { agreement, .. } => format!("{what} allowed by {}", id_of(model, *agreement)),
        Verdict::Deny(reason) => format!("{what} denied: {reason}"),
    }
}

fn flow_text(flow: &Flow) -> String {
    let aim = match flow.aim {
        Aim::Port(port) => format!("{}/{port}", flow.protocol),
        Aim::Icmp(kind) => format!("{} type {kind}", flow.protocol),
        Aim::Nothing => flow.protocol.to_string(),
    };
    format!("{} → {} {aim}", flow.source, flow.destination)
}

fn id_of(model: &Model, number: u32) -> String {
    let found = model.agreements.iter().find(|agreement| agreement.number == number);
    found.map_or_else(|| format!("agreement number {number}"), |agreement| agreement.id.to_string())
}

fn coverage(model: &Model, untouched: Option<&[&Agreement]>) -> String {
    let Some(untouched) = untouched else { return String::new() };
    let in_force = model.agreements.iter().filter(|agreement| agreement.in_force()).count();
    let mut text = format!("{} of {in_force} agreements in force are touched\n", in_force - untouched.len());
    for agreement in untouched {
        let Origin { file, line, .. } = &agreement.origin;
        text += &format!("untouched: {} ({}:{line}), {}\n", agreement.id, policy::printable(file), agreement.service);
    }
    text
}

#[derive(Serialize)]
struct Covered<'a> {
    tests: Vec<Json<'a>>,
    untouched: Vec<String>,
}

/// A test's outcome in JSON.
#[derive(Serialize)]
struct Json<'a> {
    file: &'a str,
    line: u32,
    from: String,
    to: String,
    expect: &'a str,
    passed: bool,
    at: String,
    flows: usize,
    flow: Option<String>,
    agreement: Option<String>,
    reason: Option<String>,
    why: Option<&'a str>,
}

fn json<'a>(model: &Model, told: &[(&'a Case, &Outcome)]) -> Vec<Json<'a>> {
    told.iter()
        .map(|(case, outcome)| {
            let (agreement, reason) = match &outcome.witness {
                Some((_, Verdict::Allow { agreement, .. })) => (Some(id_of(model, *agreement)), None),
                Some((_, Verdict::Deny(reason))) => (None, Some(reason.to_string())),
                None => (None, None),
            };
            Json {
                file: &case.origin.file,
                line: case.origin.line,
                from: case.question.from.to_string(),
                to: format!("{}{}", case.question.to, port(&case.question)),
                expect: expected(case.allow),
                passed: outcome.passed,
                at: outcome.at.to_string(),
                flows: outcome.flows,
                flow: outcome.witness.as_ref().map(|(flow, _)| flow_text(flow)),
                agreement,
                reason,
                why: case.why.as_deref(),
            }
        })
        .collect()
}
