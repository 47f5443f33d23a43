//! `turnpike agreement show`: one agreement, what it allows, whose consent it has and lacks.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use super::standing::Standing;
use super::{exit_of, model_of, no_agreement};
use crate::cli::{Exit, Failure, output};

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 fine, 1 invalid, 4 a consent is missing.\n\n\
    Example:\n  turnpike agreement show . A-142")]
pub(super) struct Arguments {
    /// The definition's folder.
    dir: PathBuf,
    /// The agreement's id.
    id: String,
    /// Judge the agreement as of this time (RFC 3339, with offset) instead of now.
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `turnpike agreement show`.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let model = model_of(&arguments.dir, arguments.at)?;
    let found = model.agreements.iter().find(|agreement| agreement.id.as_str() == arguments.id);
    let agreement = found.ok_or_else(|| no_agreement(&arguments.id))?;
    let standing = Standing::of(&model, agreement);
    if arguments.json {
        output::print_json(&standing)?;
    } else {
        output::print(&standing.text(model.at))?;
    }
    Ok(exit_of([agreement]))
}
