//! `turnpike agreement accept`: a further council's consent to what another one has proposed.

use clap::Args;

use super::desk::{Desk, Party};
use crate::cli::{Exit, Failure, output};
use crate::identity::{Name, Signer};
use crate::policy::printable;

#[derive(Debug, Args)]
#[command(
    after_help = "With --terms, what is signed is what was read: `turnpike agreement terms DIR ID` prints terms and hash.\n\
    Exit codes: 0 fine, 1 invalid, 4 nobody has proposed these terms, 77 no permission.\n\n\
    Example:\n  turnpike agreement accept . A-142 --council leeds --by siro@leeds.example --key siro.pem --terms sha256:…"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    party: Party,
    /// The hash of the terms that were read.
    #[arg(long, value_name = "HASH")]
    terms: Option<String>,
}

/// Runs `turnpike agreement accept`.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let Arguments { party, terms } = arguments;
    let (desk, council, signer) = Desk::of(party)?;
    proposed(&desk, party, &council)?;
    another_person(&desk, party, &council, &signer)?;
    let hash = desk.paper.terms.hash();
    if let Some(read) = terms.as_ref().filter(|read| **read != hash) {
        let cause = format!("the terms of {} are {hash}, not {}", party.id, printable(read));
        let remedy = format!("read them as they are: turnpike agreement terms DIR {}", party.id);
        return Err(Failure::new(Exit::Invalid, cause, remedy));
    }
    let told = desk.consent(&council, &party.by, &signer)?;
    let json = desk.paper.terms.json();
    output::print(&format!("{json}\ncouncil '{council}' has accepted: {hash}\n{told}"))?;
    Ok(Exit::Fine)
}

/// That another council has consented to these terms, and this one has not.
fn proposed(desk: &Desk, party: &Party, council: &Name) -> Result<(), Failure> {
    let agreement = desk.agreement();
    if let Some(own) = agreement.consents.iter().find(|consent| consent.council == *council) {
        let cause = format!("council '{council}' has consented to {} already, by '{}'", party.id, printable(&own.by));
        return Err(Failure::new(Exit::Invalid, cause, "nothing is left to do for it"));
    }
    if !agreement.consents.is_empty() {
        return Ok(());
    }
    let others = agreement.lacking.iter().filter(|lacking| lacking.council != *council && lacking.by.is_some());
    let faults: Vec<String> =
        others.map(|lacking| format!("{}: {}", lacking.council, printable(&lacking.fault))).collect();
    let faults = if faults.is_empty() { String::new() } else { format!(" ({})", faults.join("; ")) };
    let cause = format!("no other council has proposed these terms of {}{faults}", party.id);
    let remedy = format!("turnpike agreement propose DIR {} --council COUNCIL --by WHO --key FILE", party.id);
    Err(Failure::new(Exit::ConsentMissing, cause, remedy))
}

/// That whoever accepts has not consented for another council.
fn another_person(desk: &Desk, party: &Party, council: &Name, signer: &Signer) -> Result<(), Failure> {
    let is_same = |given: &&crate::policy::model::Consent| {
        let signers = desk.paper.signers.get(&given.council).map(Vec::as_slice).unwrap_or_default();
        let keys = signers.iter().filter(|known| known.by == given.by).map(|known| known.key);
        given.by == party.by || keys.into_iter().any(|key| key == signer.verifier())
    };
    match desk.agreement().consents.iter().find(is_same) {
        Some(given) => {
            let by = printable(&given.by);
            let cause =
                format!("'{by}' has consented for council '{}', and counts for one council alone", given.council);
            Err(Failure::new(Exit::Invalid, cause, format!("another signer of council '{council}' accepts")))
        }
        None => Ok(()),
    }
}
