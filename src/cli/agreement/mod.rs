//! `turnpike agreement`: what councils consent to, and how they take that back.
//!
//! ```text
//!  keygen ─▶ propose ─▶ accept ─▶ (suspend ─▶ suspend --lift) ─▶ revoke        list, show: how it stands
//!               └─────▶ refuse                                                 terms: what is signed
//! ```

mod accept;
mod desk;
mod file;
mod keygen;
mod list;
mod propose;
mod refuse;
mod revoke;
mod show;
mod sign;
mod standing;
mod suspend;
mod terms;

use std::path::Path;

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::definition;
use super::{Exit, Failure};
use crate::policy;
use crate::policy::model::{Agreement, Model, Void};

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
    /// Propose an agreement to the other councils: the first one's consent.
    Propose(propose::Arguments),
    /// Accept what another council has proposed.
    Accept(accept::Arguments),
    /// Refuse what another council has proposed.
    Refuse(refuse::Arguments),
    /// Have an agreement rest, or end that, as a council or as the operator.
    Suspend(suspend::Arguments),
    /// End an agreement for good, as one of its councils.
    Revoke(revoke::Arguments),
    /// Add a council's consent to an agreement's file, whoever has consented before.
    Sign(sign::Arguments),
    /// List agreements, how each stands and why.
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
        Command::Propose(arguments) => propose::run(arguments),
        Command::Accept(arguments) => accept::run(arguments),
        Command::Refuse(arguments) => refuse::run(arguments),
        Command::Suspend(arguments) => suspend::run(arguments),
        Command::Revoke(arguments) => revoke::run(arguments),
        Command::Sign(arguments) => sign::run(arguments),
        Command::List(arguments) => list::run(arguments),
        Command::Show(arguments) => show::run(arguments),
    }
}

fn no_agreement(id: &str) -> Failure {
    let cause = format!("there is no agreement '{}'", policy::printable(id));
    Failure::new(Exit::Invalid, cause, "`turnpike agreement list DIR` names them")
}

fn model_of(dir: &Path, at: Option<Timestamp>) -> Result<Model, Failure> {
    Ok(definition::load(dir, definition::instant(at))?.model)
}

fn exit_of<'a>(agreements: impl IntoIterator<Item = &'a Agreement>) -> Exit {
    let missing = |void: &Void| matches!(void, Void::ConsentMissing(_));
    let any = agreements.into_iter().flat_map(|agreement| &agreement.void).any(missing);
    if any { Exit::ConsentMissing } else { Exit::Fine }
}
