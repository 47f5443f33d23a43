//! `turnpike policy allot`: numbers, management addresses and overlay prefixes are given out.

use std::path::PathBuf;

use clap::Args;

use crate::cli::{Exit, Failure, definition, output};
use crate::policy;

#[derive(Debug, Args)]
#[command(after_help = "What is given out is never given again. Commit allotted.toml with the definition.\n\n\
    Example:\n  turnpike policy allot examples/three-councils")]
pub(super) struct Arguments {
    /// The definition's folder.
    dir: PathBuf,
}

/// Runs `turnpike policy allot`.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let folder = definition::read(&arguments.dir)?;
    let given = folder.whole().and_then(|()| policy::allot(&folder.files));
    let text = given.map_err(|found| folder.failure(&found))?;
    if folder.files.get("allotted.toml") == Some(text.as_bytes()) {
        output::print("allotted.toml is complete\n")?;
        return Ok(Exit::Fine);
    }
    let path = arguments.dir.join("allotted.toml");
    definition::replace(&path, &text)?;
    output::print(&format!("{} written: commit it with the definition\n", path.display()))?;
    Ok(Exit::Fine)
}
