//! `turnpike gateway history`: what became of bundles at a gateway.

use clap::Args;

use super::State;
use crate::cli::output::{print, print_json, table};
use crate::cli::{Exit, Failure};
use crate::gateway::GatewayError;
use crate::store::gateway::{Step, history};

#[derive(Debug, Args)]
#[command(after_help = "The last 256 steps are kept. It works whether or not the gateway runs.\n\n\
    Example:\n  turnpike gateway history --json | jq '.[] | select(.what == \"rolled-back\")'")]
pub(super) struct Arguments {
    #[command(flatten)]
    state: State,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Prints it.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let folder = &arguments.state.folder;
    if !folder.is_dir() {
        return Err(super::failure(&GatewayError::NeverAccepted { state: folder.clone() }));
    }
    let steps = history(folder).map_err(|error| super::failure(&error.into()))?;
    if arguments.json {
        print_json(&steps)?;
    } else {
        let row = |step: &Step| {
            let by = step.by.map_or_else(|| "-".to_owned(), user);
            let note = step.note.as_deref().map(crate::policy::printable).unwrap_or_default();
            [format!("{:.0}", step.at), step.generation.to_string(), step.what.label().to_owned(), by, note]
        };
        print(&table(["at", "generation", "what", "by", "note"], steps.iter().map(row)))?;
    }
    Ok(Exit::Fine)
}

/// A user's name, or number where they have none.
fn user(number: u32) -> String {
    let known = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(number)).ok().flatten();
    known.map_or_else(|| number.to_string(), |user| user.name)
}
