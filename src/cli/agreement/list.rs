//! `turnpike agreement list`: agreements, how each stands and why.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::Timestamp;

use super::standing::Standing;
use super::{exit_of, model_of};
use crate::cli::{Exit, Failure, output};
use crate::policy::model::{Agreement, State};

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 fine, 1 invalid, 4 a consent is missing.\n\n\
    Example:\n  turnpike agreement list . --state proposed")]
pub(super) struct Arguments {
    /// The definition's folder.
    dir: PathBuf,
    /// Judge agreements as of this time (RFC 3339, with offset) instead of now.
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// List those in this state alone.
    #[arg(long, value_name = "STATE", value_parser = states())]
    state: Option<State>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `turnpike agreement list`.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let model = model_of(&arguments.dir, arguments.at)?;
    let asked = |agreement: &&Agreement| arguments.state.is_none_or(|state| agreement.state() == state);
    let agreements: Vec<&Agreement> = model.agreements.iter().filter(asked).collect();
    let standings: Vec<_> = agreements.iter().map(|agreement| Standing::of(&model, agreement)).collect();
    if arguments.json {
        output::print_json(&standings)?;
    } else {
        let rows = standings.iter().map(Standing::row);
        let table = output::table(["agreement", "state", "service", "from", "because"], rows);
        output::print(&format!("{table}{} agreements as of {}\n", standings.len(), model.at))?;
    }
    Ok(exit_of(agreements))
}

fn states() -> impl TypedValueParser<Value = State> {
    PossibleValuesParser::new(State::ALL.map(State::label)).try_map(|label| label.parse::<State>())
}
