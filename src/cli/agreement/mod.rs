//! `turnpike agreement terms|keygen|sign|list|show`: what councils consent to, and how.

mod keygen;
mod list;
mod show;
mod sign;
mod standing;
mod terms;

use std::path::Path;

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::definition::{self, Folder};
use super::{Exit, Failure};
use crate::identity::Id;
use crate::policy::model::{Agreement, Model, Void};
use crate::policy::{self, Terms};

/// Arguments of `turnpike agreement`.
#[derive(Debug, Args)]
pub struct Agreements {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the terms that a council consents to: canonical JSON, and its hash.
    Terms(terms::Arguments),
    /// Make a signer's key; print its public half for the council's file.
    Keygen(keygen::Arguments),
    /// Add a council's consent to an agreement's file.
    Sign(sign::Arguments),
    /// List all agreements and their standing.
    List(list::Arguments),
    /// Show one agreement: what it allows, whose consent it has and lacks.
    Show(show::Arguments),
}

/// Runs `turnpike agreement`.
///
/// # Errors
/// See the exit codes of each subcommand.
pub fn run(arguments: &Agreements) -> Result<Exit, Failure> {
    match &arguments.command {
        Command::Terms(arguments) => terms::run(arguments),
        Command::Keygen(arguments) => keygen::run(arguments),
        Command::Sign(arguments) => sign::run(arguments),
        Command::List(arguments) => list::run(arguments),
        Command::Show(arguments) => show::run(arguments),
    }
}

fn terms_of(dir: &Path, id: &str) -> Result<(Folder, Id, Terms), Failure> {
    let folder = definition::read(dir)?;
    let all = folder.whole().and_then(|()| policy::terms(&folder.files));
    let mut all = all.map_err(|found| folder.failure(&found))?;
    let found = id.parse::<Id>().ok().and_then(|id| all.remove(&id).map(|terms| (id, terms)));
    let (id, terms) = found.ok_or_else(|| no_agreement(id))?;
    Ok((folder, id, terms))
}

fn no_agreement(id: &str) -> Failure {
    let cause = format!("there is no agreement '{}'", policy::printable(id));
    Failure::new(Exit::Invalid, cause, "`turnpike agreement list DIR` names them")
}

fn model_of(dir: &Path, at: Option<Timestamp>) -> Result<Model, Failure> {
    Ok(definition::load(dir, definition::instant(at))?.model)
}

fn exit_of(agreements: &[Agreement]) -> Exit {
    let missing = |void: &Void| matches!(void, Void::ConsentMissing(_));
    let any = agreements.iter().flat_map(|agreement| &agreement.void).any(missing);
    if any { Exit::ConsentMissing } else { Exit::Fine }
}
