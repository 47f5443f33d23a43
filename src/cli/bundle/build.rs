//! `turnpike bundle build`: compiles the definition and signs one bundle per gateway.

use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;

use super::role;
use crate::cli::output::{print, print_json, table};
use crate::cli::{Exit, Failure, definition, findings};
use crate::controller::{self, BuildError, Built};
use crate::store::keys::KeyFileError;

#[derive(Debug, Args)]
#[command(after_help = "\
Keys that are missing are made beside OUT, in OUT.keys: one per uplink and hub, and the one that signs.
The generation rises by one with each build that changes what the gateways are told.

Examples:
  turnpike bundle build examples/three-councils --out /tmp/bundles
  turnpike bundle build connect --out bundles --at 2026-06-01T10:00:00+01:00")]
pub(super) struct Build {
    /// The folder of the definition.
    #[arg(value_name = "DIR")]
    definition: PathBuf,
    /// The folder for the bundles; made if it is not there.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The instant at which agreements are judged [default: now].
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Builds, and says what came of it.
pub(super) fn run(arguments: &Build) -> Result<Exit, Failure> {
    let at = definition::instant(arguments.at);
    let folder = definition::read(&arguments.definition)?;
    let resolved = folder.resolve(at).map_err(|found| folder.failure(&found))?;
    eprint!("{}", findings::render(&resolved.warnings, &folder.files, &folder.path));
    let built = controller::build(&resolved.model, &arguments.out).map_err(unbuilt)?;
    if arguments.json {
        print_json(&built)?
    } else {
        print(&summary(&built, &arguments.out))?
    }
    Ok(Exit::Fine)
}

pub(super) fn unbuilt(error: BuildError) -> Failure {
    let (exit, remedy) = match &error {
        BuildError::NoName(_) => (Exit::Usage, "give --out a folder by name, such as bundles".to_owned()),
        BuildError::InUse(_) => (Exit::Unavailable, "wait until it has finished".to_owned()),
        BuildError::Key(key) => (key_exit(key), key.remedy()),
        BuildError::Io { denied: true, .. } => (Exit::NoPermission, "run as the owner of the folder".to_owned()),
        BuildError::Io { .. } => (Exit::Unavailable, String::new()),
        BuildError::Record { path, .. } => {
            let path = path.display();
            (Exit::Invalid, format!("restore {path}, or remove it if the bundles of the last build are still there"))
        }
        BuildError::Seal(_) | BuildError::MissingKey(_) => (Exit::Internal, String::new()),
    };
    Failure::new(exit, error.to_string(), remedy)
}

fn key_exit(error: &KeyFileError) -> Exit {
    match error {
        KeyFileError::Io { denied: true, .. } => Exit::NoPermission,
        KeyFileError::Io { .. } | KeyFileError::NotMade(_) => Exit::Unavailable,
        KeyFileError::Readable { .. }
        | KeyFileError::Writable { .. }
        | KeyFileError::NotAFile(_)
        | KeyFileError::Malformed { .. }
        | KeyFileError::Misnamed(_) => Exit::Invalid,
    }
}

fn summary(built: &Built, out: &Path) -> String {
    let rows = built.gateways.iter().map(|gateway| {
        [
            gateway.name.to_string(),
            role(gateway.role).to_owned(),
            gateway.departments.to_string(),
            gateway.agreements.to_string(),
            gateway.rules.to_string(),
            gateway.links.to_string(),
            gateway.octets.to_string(),
        ]
    });
    let mut text = table(["gateway", "role", "departments", "agreements", "rules", "links", "octets"], rows);
    let Built { generation, keys_made, .. } = built;
    let written = built.gateways.iter().filter(|gateway| gateway.written).count();
    text += &match (built.changed, written) {
        (true, _) => format!("generation {generation}: {written} bundles written to {}\n", out.display()),
        (false, 0) => format!("unchanged, generation {generation}\n"),
        (false, _) => format!("unchanged, generation {generation}: {written} bundles restored in {}\n", out.display()),
    };
    for path in &built.removed {
        text += &format!("removed {}, whose gateway is no longer defined\n", path.display());
    }
    if *keys_made > 0 {
        text += &format!("{keys_made} keys made; gateways trust {}\n", built.trust.display());
    }
    text
}
