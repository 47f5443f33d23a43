//! `turnpike policy test`: the facts that the definition itself asks to be kept.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use crate::cli::definition::{self, Folder};
use crate::cli::{Exit, Failure, output};
use crate::policy::cases::{self, Case, Outcome};
use crate::policy::model::Model;
use crate::policy::{self, Aim, Flow, Verdict};

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 all hold, 1 invalid, 2 a test failed.\n\n\
    Example:\n  turnpike policy test examples/three-councils")]
pub(super) struct Arguments {
    /// The definition's folder.
    dir: PathBuf,
    /// Judge tests that name no time of their own as of this time (RFC 3339, with offset) instead of their
    /// file's `as_of`.
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// Print the outcomes as a JSON array.
    #[arg(long)]
    json: bool,
}

/// Runs `turnpike policy test`.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let folder = definition::read(&arguments.dir)?;
    // What is in force is judged test by test; this instant only serves to resolve.
    let at = arguments.at.unwrap_or(Timestamp::UNIX_EPOCH);
    let resolved = folder.resolve(at).map_err(|found| folder.failure(&found))?;
    let outcomes = cases::run(&resolved.model, &resolved.cases, arguments.at);
    let told: Vec<_> = resolved.cases.iter().zip(&outcomes).collect();
    if arguments.json {
        output::print_json(&json(&resolved.model, &told))?;
    } else {
        print(&resolved.model, &told, &folder)?;
    }
    Ok(if outcomes.iter().all(|outcome| outcome.passed) { Exit::Fine } else { Exit::TestFailed })
}

fn print(model: &Model, told: &[(&Case, &Outcome)], folder: &Folder) -> Result<(), Failure> {
    let mut text = String::new();
    for (case, outcome) in told {
        let mark = if outcome.passed { "ok    " } else { "FAILED" };
        let what = format!("{} → {}{}", case.from, case.to, port(case));
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

fn port(case: &Case) -> String {
    match (case.protocol, case.port) {
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
        Verdict::Allow { agreement } => format!("{what} allowed by {}", id_of(model, *agreement)),
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
                Some((_, Verdict::Allow { agreement })) => (Some(id_of(model, *agreement)), None),
                Some((_, Verdict::Deny(reason))) => (None, Some(reason.to_string())),
                None => (None, None),
            };
            Json {
                file: &case.origin.file,
                line: case.origin.line,
                from: case.from.to_string(),
                to: format!("{}{}", case.to, port(case)),
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
