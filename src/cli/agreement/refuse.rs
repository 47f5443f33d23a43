//! `turnpike agreement refuse`: a council says no to what was proposed.

use clap::Args;

use super::desk::{Desk, Party};
use crate::bundle::{Effect, Notice};
use crate::cli::{Exit, Failure, output};

#[derive(Debug, Args)]
#[command(after_help = "Refused terms stay refused: other terms are proposed anew.\n\
    Exit codes: 0 fine, 1 invalid, 77 no permission.\n\n\
    Example:\n  turnpike agreement refuse . A-142 --council leeds --by siro@leeds.example --key siro.pem \\\n    \
    --why 'no basis in law'")]
pub(super) struct Arguments {
    #[command(flatten)]
    party: Party,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    why: String,
}

/// Runs `turnpike agreement refuse`.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let Arguments { party, why } = arguments;
    let (desk, council, signer) = Desk::of(party)?;
    if desk.agreement().consents.iter().any(|consent| consent.council == council) {
        let cause = format!("council '{council}' has consented to these terms of {}", party.id);
        let remedy = format!("turnpike agreement revoke DIR {} --council {council} … ends them", party.id);
        return Err(Failure::new(Exit::Invalid, cause, remedy));
    }
    let draft = desk.draft(Some(&council), &party.by)?;
    let told = desk.notice(Notice { effect: Effect::Refuse, why: Some(why.clone()), ..draft }, Some(&signer), None)?;
    output::print(&told)?;
    Ok(Exit::Fine)
}
