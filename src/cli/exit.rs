//! Exit codes, and how a failure is told.

use std::process::{ExitCode, Termination};

/// The documented exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All is well.
    Fine = 0,
    /// Invalid input.
    Invalid = 1,
    /// A test of the definition failed, or the lab saw another verdict than expected.
    TestFailed = 2,
    /// Differences were found.
    Differences = 3,
    /// A consent is missing.
    ConsentMissing = 4,
    /// The change was rolled back.
    RolledBack = 5,
    /// The command line is wrong.
    Usage = 64,
    /// Something needed is missing or unavailable.
    Unavailable = 69,
    /// A fault of turnpike's own.
    Internal = 70,
    /// A permission is missing.
    NoPermission = 77,
}

impl Exit {
    /// The exit with this code, such as another process of ours gave it.
    pub(super) fn of(code: u8) -> Option<Self> {
        let all = [
            Self::Fine,
            Self::Invalid,
            Self::TestFailed,
            Self::Differences,
            Self::ConsentMissing,
            Self::RolledBack,
            Self::Usage,
            Self::Unavailable,
            Self::Internal,
            Self::NoPermission,
        ];
        all.into_iter().find(|exit| *exit as u8 == code)
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self as u8)
    }
}

/// Why a command failed: what happened, and what to do about it.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What happened, naming the place.
    pub cause: String,
    /// What to do; empty where nothing can be advised.
    pub remedy: String,
    /// What is printed before, as it is: the findings of a definition, for instance.
    pub detail: String,
}

impl Failure {
    /// A failure with a remedy.
    pub fn new(exit: Exit, cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { exit, cause: cause.into(), remedy: remedy.into(), detail: String::new() }
    }

    /// Prints cause and remedy to stderr.
    pub(super) fn report(self) -> Exit {
        eprint!("{}", self.detail);
        eprintln!("error: {}", self.cause);
        if !self.remedy.is_empty() {
            eprintln!("  help: {}", self.remedy);
        }
        self.exit
    }
}

/// Prints clap's answer: help and version exit 0, errors 64.
pub(super) fn usage(error: &clap::Error) -> Exit {
    if error.print().is_err() {
        return Exit::Unavailable;
    }
    if error.use_stderr() { Exit::Usage } else { Exit::Fine }
}
