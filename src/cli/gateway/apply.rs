//! `turnpike gateway apply|confirm|rollback`: a new bundle, for good or on trial.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::{State, duration, tell};
use crate::cli::{Exit, Failure};
use crate::gateway::Apply;
use crate::gateway::control::Request;

#[derive(Debug, Args)]
#[command(after_help = "\
With --confirm-within the bundle is on trial: unless 'turnpike gateway confirm' is given in time, \
from a session that was opened after the apply, the former bundle comes back by itself, also if the \
machine lost power in between. So a change that locks you out undoes itself.

A bundle that would deny every flow that passed in the last 90 seconds is refused without --deny-all-intended.

Exit codes: 0 in force, 1 refused, 69 no gateway runs, 70 the kernel refused it; with all but 0 the former one stays.

Examples:
  turnpike gateway apply --confirm-within 5m
  turnpike gateway apply /root/leeds-1.bundle --confirm-within 90s --state /var/lib/turnpike/gateway")]
pub(super) struct Arguments {
    /// The bundle [default: the one that the gateway was started with, read again]
    #[arg(value_name = "BUNDLE")]
    bundle: Option<PathBuf>,
    /// For how long it is on trial, such as 90s, 5m or 1h; 24h at most [default: it is in force for good]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    confirm_within: Option<Duration>,
    /// Apply it even if nothing that passes now would.
    #[arg(long)]
    deny_all_intended: bool,
    #[command(flatten)]
    state: State,
}

/// Has it applied.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let bundle = arguments.bundle.as_deref().map(absolute).transpose()?;
    let confirm_within = arguments.confirm_within.map(|time| time.as_secs());
    let deny_all_intended = arguments.deny_all_intended;
    tell(&arguments.state, &Request::Apply(Apply { bundle, confirm_within, deny_all_intended }))
}

/// A bundle's path for the gateway, which has another working folder.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::new(Exit::Invalid, error.to_string(), "name the bundle's file"))
}

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 confirmed, 1 refused: nothing is on trial, or this session was open before the apply; 5 it was rolled back already.

Example:
  ssh leeds-1 turnpike gateway confirm")]
pub(super) struct Confirm {
    #[command(flatten)]
    state: State,
}

/// Confirms what is on trial.
pub(super) fn confirm(arguments: &Confirm) -> Result<Exit, Failure> {
    tell(&arguments.state, &Request::Confirm)
}

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 rolled back, 1 nothing is on trial, 5 it was rolled back already.\n\n\
    Example:\n  turnpike gateway rollback")]
pub(super) struct Rollback {
    #[command(flatten)]
    state: State,
}

/// Brings the former bundle back.
pub(super) fn roll_back(arguments: &Rollback) -> Result<Exit, Failure> {
    tell(&arguments.state, &Request::Rollback)
}
