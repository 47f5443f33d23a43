//! `turnpike agreement sign`: a council's consent, into the agreement's file, whoever has consented before.

use clap::Args;

use super::desk::{Desk, Party};
use crate::cli::{Exit, Failure, output};

#[derive(Debug, Args)]
#[command(after_help = "Read the terms first: `turnpike agreement terms DIR ID`.\n\n\
    Example:\n  turnpike agreement sign . A-142 --council leeds --by siro@leeds.example --key siro.pem")]
pub(super) struct Arguments {
    #[command(flatten)]
    party: Party,
}

/// Runs `turnpike agreement sign`.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let Arguments { party } = arguments;
    let (desk, council, signer) = Desk::of(party)?;
    let told = desk.consent(&council, &party.by, &signer)?;
    output::print(&format!("council '{council}' has consented: {}\n{told}", desk.paper.terms.hash()))?;
    Ok(Exit::Fine)
}
