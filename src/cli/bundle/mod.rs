//! `turnpike bundle`: what each gateway is told.

mod build;
mod heartbeat;
mod show;

use clap::{Args, Subcommand};

use super::{Exit, Failure};
use crate::bundle::Role;
pub(super) use show::{octets, opened};

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
    /// Sign a heartbeat: that the controller lives, and what time it is.
    Heartbeat(heartbeat::Arguments),
    /// Print what is inside a bundle, and whether it is genuine.
    Show(show::Show),
}

/// Runs what the arguments ask.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    match &arguments.command {
        Command::Build(arguments) => build::run(arguments),
        Command::Heartbeat(arguments) => heartbeat::run(arguments),
        Command::Show(arguments) => show::run(arguments),
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Edge => "edge",
        Role::Relay => "relay",
    }
}
