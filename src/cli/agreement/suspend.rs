//! `turnpike agreement suspend`: a council, or the operator, has an agreement rest, and ends that.

use std::path::PathBuf;

use clap::Args;

use super::desk::{self, Desk};
use crate::bundle::{Effect, Notice};
use crate::cli::{Exit, Failure, output};
use crate::identity::{Name, Signer};
use crate::policy::model::Void;

#[derive(Debug, Args)]
#[command(
    after_help = "A council's suspension is of these terms; the operator's lasts until it is lifted, and needs a reason.\n\
    With --out, a gateway that is running is told at once: turnpike gateway narrow FILE\n\
    Exit codes: 0 fine, 1 invalid, 69 cannot write, 77 no permission.\n\n\
    Example:\n  turnpike agreement suspend . A-142 --council leeds --by siro@leeds.example --key siro.pem --out rest.json\n  \
    turnpike agreement suspend . A-142 --operator --by noc@operator.example --why 'a breach' --key signing.pem --out rest.json"
)]
pub(super) struct Arguments {
    /// The definition's folder.
    dir: PathBuf,
    /// The agreement's id.
    id: String,
    /// The council that is spoken for.
    #[arg(long, required_unless_present = "operator", conflicts_with = "operator", requires = "key")]
    council: Option<String>,
    /// The operator says so, not a council.
    #[arg(long, requires = "why")]
    operator: bool,
    /// Who: the signer, as the council's file names them, or somebody of the operator.
    #[arg(long, value_name = "WHO")]
    by: String,
    /// The signer's private key; the operator's is the key that signs bundles, and for --out alone.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    /// End the same party's suspension.
    #[arg(long)]
    lift: bool,
    /// Where to write the signed notice for gateways.
    #[arg(long, value_name = "FILE", requires = "key")]
    out: Option<PathBuf>,
}

/// Runs `turnpike agreement suspend`.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    if arguments.operator && arguments.key.is_some() && arguments.out.is_none() {
        let cause = "the operator's key signs what gateways are given, and no --out FILE says where that goes";
        return Err(Failure::new(Exit::Usage, cause, "add --out FILE, or leave --key out"));
    }
    let desk = Desk::open(&arguments.dir, &arguments.id)?;
    let (council, signer) = signer(&desk, arguments)?;
    desk.alive()?;
    turns(&desk, council.as_ref(), arguments)?;
    let effect = if arguments.lift { Effect::Lift } else { Effect::Suspend };
    let draft = desk.draft(council.as_ref(), &arguments.by)?;
    let notice = Notice { effect, why: arguments.why.clone(), ..draft };
    output::print(&desk.notice(notice, signer.as_ref(), arguments.out.as_deref())?)?;
    Ok(Exit::Fine)
}

fn signer(desk: &Desk, arguments: &Arguments) -> Result<(Option<Name>, Option<Signer>), Failure> {
    let signer = arguments.key.as_deref().map(desk::key).transpose()?;
    let council = arguments.council.as_deref().map(|council| desk.council(council)).transpose()?;
    if let (Some(council), Some(signer)) = (&council, &signer) {
        desk.known(council, &arguments.by, signer)?;
    }
    Ok((council, signer))
}

/// That the party has not said so already.
fn turns(desk: &Desk, council: Option<&Name>, arguments: &Arguments) -> Result<(), Failure> {
    let own = |void: &Void| matches!(void, Void::Suspended { by, .. } if by.as_ref() == council);
    let rests = desk.agreement().void.iter().any(own);
    let who = council.map_or_else(|| "the operator".to_owned(), |name| format!("council '{name}'"));
    let (cause, remedy) = match (rests, arguments.lift) {
        (true, false) => (format!("{who} has suspended {} already", arguments.id), "--lift ends that"),
        (false, true) => {
            (format!("{who} has not suspended {}", arguments.id), "whoever suspended it lifts that: `agreement show`")
        }
        (true, true) | (false, false) => return Ok(()),
    };
    Err(Failure::new(Exit::Invalid, cause, remedy))
}
