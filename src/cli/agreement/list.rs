//! `turnpike agreement list`: all agreements and their standing.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use super::standing::Standing;
use super::{exit_of, model_of};
use crate::cli::{Exit, Failure, output};

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 fine, 1 invalid, 4 a consent is missing.\n\n\
    Example:\n  turnpike agreement list . --json")]
pub(super) struct Arguments {
    /// The definition's folder.
    dir: PathBuf,
    /// Judge agreements as of this time (RFC 3339, with offset) instead of now.
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `turnpike agreement list`.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let model = model_of(&arguments.dir, arguments.at)?;
    let standings: Vec<_> = model.agreements.iter().map(|agreement| Standing::of(&model, agreement)).collect();
    if arguments.json {
        output::print_json(&standings)?;
    } else {
        let rows = standings.iter().map(Standing::row);
        let table = output::table(["agreement", "standing", "service", "from", "because"], rows);
        output::print(&format!("{table}{} agreements as of {}\n", standings.len(), model.at))?;
    }
    Ok(exit_of(&model.agreements))
}
