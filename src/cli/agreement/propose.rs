//! `turnpike agreement propose`: the first council's consent, and the text that it is for.

use clap::Args;

use super::desk::{Desk, Party};
use crate::cli::{Exit, Failure, output};
use crate::policy::printable;

#[derive(Debug, Args)]
#[command(
    after_help = "The agreement's file is written by hand; what it then says is proposed to the other councils.\n\
    Exit codes: 0 fine, 1 invalid, 77 no permission.\n\n\
    Example:\n  turnpike agreement propose . A-142 --council bradford --by siro@bradford.example --key siro.pem"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    party: Party,
}

/// Runs `turnpike agreement propose`.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let Arguments { party } = arguments;
    let (desk, council, signer) = Desk::of(party)?;
    if let Some(consent) = desk.agreement().consents.first() {
        let (by, other) = (printable(&consent.by), &consent.council);
        let cause = format!("these terms of {} are proposed already, by '{by}' for council '{other}'", party.id);
        let remedy = format!("`turnpike agreement accept DIR {} --council COUNCIL --by WHO --key FILE`", party.id);
        return Err(Failure::new(Exit::Invalid, cause, remedy));
    }
    let told = desk.consent(&council, &party.by, &signer)?;
    output::print(&format!("council '{council}' proposes: {}\n{told}", desk.paper.terms.hash()))?;
    Ok(Exit::Fine)
}
