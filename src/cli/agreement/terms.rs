//! `turnpike agreement terms`: what a council consents to, to the byte.

use std::path::PathBuf;

use clap::Args;

use super::desk::Desk;
use crate::cli::{Exit, Failure, output};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  turnpike agreement terms . A-142")]
pub(super) struct Arguments {
    /// The definition's folder.
    dir: PathBuf,
    /// The agreement's id.
    id: String,
}

/// Runs `turnpike agreement terms`.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let terms = Desk::open(&arguments.dir, &arguments.id)?.paper.terms;
    output::print(&format!("{}\n{}\n", terms.json(), terms.hash()))?;
    Ok(Exit::Fine)
}
