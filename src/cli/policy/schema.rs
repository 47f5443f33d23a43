//! `turnpike policy schema`: what an editor needs to know of a definition's files.

use std::collections::BTreeMap;

use clap::{Args, builder::PossibleValuesParser};
use serde_json::value::RawValue;

use crate::cli::{Exit, Failure, output};
use crate::policy::Kind;

#[derive(Debug, Args)]
#[command(after_help = "\
Editors with support of TOML by taplo (Even Better TOML, taplo lsp) complete and check the files
by it. They are told by a file .taplo.toml in the definition's folder, with a rule for each kind:

  [[rule]]
  include = [\"**/councils/*.toml\"]
  schema = { path = \".schema/council.json\" }

or by the first line of a file:

  #:schema ../.schema/council.json

A schema sees one file: what takes two to see, `turnpike policy check` tells.

Examples:
  turnpike policy schema council > .schema/council.json
  for kind in network council agreement tests allotted; do
    turnpike policy schema $kind > .schema/$kind.json
  done
  turnpike policy schema | jq .network.title")]
pub(super) struct Arguments {
    /// The kind of file; without it, all schemas are printed as one object, by kind.
    #[arg(value_parser = PossibleValuesParser::new(Kind::ALL.map(Kind::as_str)))]
    kind: Option<String>,
}

/// Runs `turnpike policy schema`.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    // clap lets nothing else through.
    match arguments.kind.as_deref().and_then(|kind| kind.parse::<Kind>().ok()) {
        Some(kind) => output::print(kind.schema())?,
        None => output::print_json(&all()?)?,
    }
    Ok(Exit::Fine)
}

fn all() -> Result<BTreeMap<&'static str, Box<RawValue>>, Failure> {
    let raw = |kind: Kind| Ok((kind.as_str(), RawValue::from_string(kind.schema().trim_end().to_owned())?));
    let all: Result<_, serde_json::Error> = Kind::ALL.into_iter().map(raw).collect();
    all.map_err(|error| Failure::new(Exit::Internal, format!("a schema is not JSON: {error}"), ""))
}
