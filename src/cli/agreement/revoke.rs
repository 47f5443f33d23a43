//! `turnpike agreement revoke`: a council ends an agreement on these terms, alone and for good.

use std::path::PathBuf;

use clap::Args;

use super::desk::{Desk, Party};
use crate::bundle::{Effect, Notice};
use crate::cli::{Exit, Failure, output};

#[derive(Debug, Args)]
#[command(after_help = "Revoked terms stay revoked: other terms, and new consents, renew the agreement.\n\
    With --out, a gateway that is running is told at once: turnpike gateway narrow FILE\n\
    Exit codes: 0 fine, 1 invalid, 69 cannot write, 77 no permission.\n\n\
    Example:\n  turnpike agreement revoke . A-142 --council leeds --by siro@leeds.example --key siro.pem --out revoked.json")]
pub(super) struct Arguments {
    #[command(flatten)]
    party: Party,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    /// Where to write the signed notice for gateways.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Runs `turnpike agreement revoke`.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let Arguments { party, why, out } = arguments;
    let (desk, council, signer) = Desk::of(party)?;
    let draft = desk.draft(Some(&council), &party.by)?;
    let notice = Notice { effect: Effect::Revoke, why: why.clone(), ..draft };
    output::print(&desk.notice(notice, Some(&signer), out.as_deref())?)?;
    Ok(Exit::Fine)
}
