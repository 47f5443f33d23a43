//! `turnpike bundle`: what each gateway is told.

mod build;
mod show;

use clap::{Args, Subcommand};

use super::{Exit, Failure};
use crate::bundle::Role;
pub(super) use show::opened;

/// Arguments of `turnpike bundle`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compile the definition and sign one bundle per gateway.
    Build(build::Build),
    /// Print what is inside a bundle, and whether it is genuine.
    Show(show::Show),
}

/// Runs what the arguments ask.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    match &arguments.command {
        Command::Build(arguments) => build::run(arguments),
        Command::Show(arguments) => show::run(arguments),
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Edge => "edge",
        Role::Relay => "relay",
    }
}
