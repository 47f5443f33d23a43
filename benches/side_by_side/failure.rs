//! Why something could not be measured.

use std::io;

use turnpike::identity::KeyError;
use turnpike::lab::guard::GuardError;
use turnpike::lab::raise::LabError;

/// Why something could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A namespace or a process.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// A lab of gateways.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// A key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The operating system refused something.
    #[error("{what}: {cause}")]
    System {
        /// What was being done.
        what: String,
        /// Its answer.
        cause: io::Error,
    },
    /// A program did not do what it should.
    #[error("{what}: {said}")]
    Program {
        /// What it should have done.
        what: String,
        /// The end of what it printed.
        said: String,
    },
    /// Somebody pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

/// For `map_err`: names what was being done.
pub fn system<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Failure {
    let what = what.into();
    move |cause| Failure::System { what, cause: cause.into() }
}

/// What a program did not do, with the end of what it printed.
pub fn program(what: impl Into<String>, said: &str) -> Failure {
    let lines: Vec<&str> = said.trim().lines().collect();
    Failure::Program { what: what.into(), said: lines[lines.len().saturating_sub(6)..].join("\n") }
}
