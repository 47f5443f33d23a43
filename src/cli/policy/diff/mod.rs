//! `turnpike policy diff`: what changes in who reaches what, and when.

mod document;
mod replay;
mod sides;
mod text;

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use crate::cli::{Exit, Failure, definition, output};
use crate::identity::Name;
use crate::policy::diff::{Diff, Row, diff};

#[derive(Debug, Args)]
#[command(after_help = "\
OLD and NEW each are a definition's folder, a bundle's file, or a revision of git: `main` is the folder of the other
definition (or the current one) as it is in main, `v1:networks/connect` names the folder itself.

Nothing is sampled: a flow is treated differently at some instant from now on (or --at) if and only if a row covers
it. Each row has one such flow as its witness. Exits 0 if nothing differs, 3 if anything does. Of two definitions
agreements that have no part in a difference are not looked at: `turnpike policy check` checks all.

Examples:
  turnpike policy diff main .
  turnpike policy diff HEAD~1 HEAD --council leeds
  turnpike policy diff main . --markdown > comment.md
  turnpike policy diff /var/lib/turnpike/accepted.bundle leeds-1.bundle
  turnpike policy diff . ../proposed --replay flows.jsonl")]
pub(super) struct Arguments {
    /// What holds now: a folder, a bundle, or a revision of git.
    #[arg(value_name = "OLD")]
    old: String,
    /// What shall hold: the same.
    #[arg(value_name = "NEW")]
    new: String,
    /// Only what this council's departments reach, and who reaches its services.
    #[arg(long, value_name = "NAME")]
    council: Option<Name>,
    /// Only what this gateway is told, as of now or --at.
    #[arg(long, value_name = "NAME")]
    gateway: Option<Name>,
    /// From this time on (RFC 3339, with offset) instead of now.
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// Which recorded flows would be cut, and which refused ones would pass: events as JSON lines; `-` for stdin.
    #[arg(long, value_name = "FLOWS")]
    replay: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print Markdown, for a pull request.
    #[arg(long)]
    markdown: bool,
}

/// Runs it.
///
/// # Errors
/// 1: a definition or bundle does not hold. 64: no such council or gateway. 69: git or a file is missing.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let start = definition::instant(arguments.at);
    let [old, new] = sides::read(arguments, start)?;
    let mut diff = diff(&old, &new, start);
    if let Some(council) = &arguments.council {
        narrow(&mut diff, council);
    }
    let replayed = arguments.replay.as_deref().map(|path| replay::replay(path, &diff, start)).transpose()?;
    if arguments.json {
        output::print_json(&document::Json::of(&diff, start, replayed.as_ref()))?;
    } else if arguments.markdown {
        output::print(&text::markdown(&diff, start, replayed.as_ref()))?;
    } else {
        output::print(&text::plain(&diff, start, replayed.as_ref()))?;
    }
    Ok(if diff.is_empty() { Exit::Fine } else { Exit::Differences })
}

/// Leaves what concerns a council alone.
fn narrow(diff: &mut Diff, council: &Name) {
    let concerned = |row: &Row| {
        row.service.council == *council || row.from.iter().any(|consumer| consumer.department.council == *council)
    };
    diff.rows.retain(concerned);
    diff.remapped.retain(|remapped| remapped.department.council == *council);
}
