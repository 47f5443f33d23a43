//! `turnpike agreement keygen`: a key for a person who signs.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use clap::Args;

use crate::cli::{Exit, Failure, definition, output};
use crate::identity::{KeyError, Signer};

#[derive(Debug, Args)]
#[command(after_help = "The key is PKCS#8 PEM, mode 0600; an existing file is never overwritten.\n\n\
    Example:\n  turnpike agreement keygen --out siro.pem")]
pub(super) struct Arguments {
    /// Where to write the private key.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Runs `turnpike agreement keygen`.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let signer = Signer::generate().map_err(|error| internal(&error))?;
    let pem = signer.to_pem().map_err(|error| internal(&error))?;
    let path = &arguments.out;
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            let cause = format!("{} exists already", path.display());
            Failure::new(Exit::Invalid, cause, "a key is never overwritten: choose another name")
        }
        _ => definition::unwritable(path, &error),
    })?;
    let written = file.write_all(pem.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|error| definition::unwritable(path, &error))?;
    output::print(&format!("{}\n", signer.verifier()))?;
    Ok(Exit::Fine)
}

fn internal(error: &KeyError) -> Failure {
    Failure::new(Exit::Internal, format!("cannot make a key: {error}"), "")
}
