//! `turnpike gateway stage|staged`: what a bundle would do, while another one is in force.

use std::path::PathBuf;

use clap::Args;

use super::{State, tell, unanswered};
use crate::cli::output::{print, print_json};
use crate::cli::{Exit, Failure};
use crate::gateway::control::{self, Request, Response};
use crate::gateway::stage::{Line, Report};
use crate::policy::printable;

#[derive(Debug, Args)]
#[command(after_help = "\
The bundle is verified and compared, and nothing of it reaches the kernel: the one in force stays. \
From then on the gateway counts the flows that it would deny of those that are opened, and that it \
would allow of those that are refused. Another bundle in force, or a restart, ends it.

Exit codes: 0 staged, 1 refused, 69 no gateway runs.

Example:
  turnpike gateway stage leeds-1.bundle && sleep 1h && turnpike gateway staged")]
pub(super) struct Stage {
    /// The bundle.
    bundle: PathBuf,
    #[command(flatten)]
    state: State,
}

/// Has it staged.
pub(super) fn stage(arguments: &Stage) -> Result<Exit, Failure> {
    let bundle = super::apply::absolute(&arguments.bundle)?;
    tell(&arguments.state, &Request::Stage { bundle })
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 it would change nothing, 3 it would, 1 nothing is staged, 69 no gateway runs.\n\n\
    Example:\n  turnpike gateway staged --json | jq '.rows[] | select(.packets > 0)'"
)]
pub(super) struct Staged {
    #[command(flatten)]
    state: State,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Prints what is staged would do.
pub(super) fn staged(arguments: &Staged) -> Result<Exit, Failure> {
    let report = match control::ask(&arguments.state.folder, &Request::Staged).map_err(|error| unanswered(&error))? {
        Response::Staged(report) => report,
        other => return super::answered(other),
    };
    if arguments.json {
        print_json(&report)?;
    } else {
        print(&text(&report))?;
    }
    Ok(if report.rows.is_empty() { Exit::Fine } else { Exit::Differences })
}

fn text(report: &Report) -> String {
    let mut text = format!(
        "generation {} beside generation {}, counted since {:.0}\n",
        report.generation, report.beside, report.since
    );
    for line in &report.rows {
        text += &row(line);
    }
    let (lost, gained): (Vec<&Line>, Vec<&Line>) = report.rows.iter().partition(|line| line.would == "deny");
    let used = |lines: &[&Line]| lines.iter().filter(|line| line.packets > 0 || line.in_use).count();
    text += &format!(
        "would deny {} kinds of flows, {} of them in use; would allow {}, {} of them asked for\n",
        lost.len(),
        used(&lost),
        gained.len(),
        used(&gained)
    );
    if report.suppressed > 0 {
        text += &format!("{} packets were too many to be told one by one\n", report.suppressed);
    }
    if let Some(cause) = &report.deaf {
        text += &format!("flows are not heard of, so that only what is in use is known: {}\n", printable(cause));
    }
    text
}

fn row(line: &Line) -> String {
    let hours = line.hours.iter().map(|hours| format!(", {hours}")).collect::<String>();
    let by = if line.agreements.is_empty() { String::new() } else { format!(" by {}", line.agreements.join(", ")) };
    let mut text =
        format!("would {} {} → {}  {}{hours}{by}\n", line.would, line.from.join(", "), line.service, line.flows);
    for cause in &line.causes {
        text += &format!("    {}\n", printable(cause));
    }
    let last = line.last.map(|last| format!(", the last at {last:.0}")).unwrap_or_default();
    let seen = if line.packets == 0 { "nobody seen".to_owned() } else { format!("{} packets{last}", line.packets) };
    let carried = if line.in_use { "; its agreement carries packets now" } else { "" };
    text += &format!("      {seen}{carried}\n");
    for sample in &line.samples {
        text += &format!("      for instance {} → {} {}\n", sample.source, sample.destination, sample.flow);
    }
    text
}
