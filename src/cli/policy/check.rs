//! `turnpike policy check`: every error and warning with its place.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use crate::cli::{Exit, Failure, definition, findings, output};
use crate::policy::model::{Model, Void};
use crate::policy::{Code, Finding};

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 fine, 1 invalid, 4 a consent is missing (--strict).\n\n\
    Examples:\n  turnpike policy check examples/three-councils\n  \
    turnpike policy check . --strict --at 2026-04-01T00:00:00Z --json")]
pub(super) struct Arguments {
    /// The definition's folder.
    dir: PathBuf,
    /// Exit 4 if an agreement lacks a council's consent.
    #[arg(long)]
    strict: bool,
    /// Judge agreements as of this time (RFC 3339, with offset) instead of now.
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// Print the findings as a JSON array.
    #[arg(long)]
    json: bool,
}

/// Runs `turnpike policy check`.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let folder = definition::read(&arguments.dir)?;
    let resolved = match folder.resolve(definition::instant(arguments.at)) {
        Ok(resolved) => resolved,
        Err(found) if arguments.json => {
            findings::print_json(&found)?;
            return Ok(Exit::Invalid);
        }
        Err(found) => return Err(folder.failure(&found)),
    };
    if arguments.json {
        findings::print_json(&resolved.warnings)?;
    } else {
        eprint!("{}", findings::render(&resolved.warnings, &folder.files, &folder.path));
        output::print(&summary(&resolved.model, &resolved.warnings))?;
    }
    let missing = resolved.warnings.iter().any(|warning| warning.code == Code::ConsentMissing);
    Ok(if arguments.strict && missing { Exit::ConsentMissing } else { Exit::Fine })
}

fn summary(model: &Model, warnings: &[Finding]) -> String {
    let in_force = model.agreements.iter().filter(|agreement| agreement.in_force()).count();
    let ended = |void: &Void| matches!(void, Void::Ended(_));
    let ended = model.agreements.iter().filter(|agreement| agreement.void.iter().any(ended)).count();
    format!(
        "network '{}' holds as of {}: {} councils, {} departments, {} services, {} of {} agreements in force \
         ({ended} ended), {} warnings\n",
        model.network,
        model.at,
        model.councils.len(),
        model.departments.len(),
        model.services.len(),
        in_force,
        model.agreements.len(),
        warnings.len(),
    )
}
