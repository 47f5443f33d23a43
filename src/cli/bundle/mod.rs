//! `turnpike bundle`: what each gateway is told.

mod show;

use clap::{Args, Subcommand};

use super::{Exit, Failure};
use crate::bundle::Role;

/// Arguments of `turnpike bundle`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print what is inside a bundle, and whether it is genuine.
    Show(show::Show),
}

/// Runs what the arguments ask.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    match &arguments.command {
        Command::Show(arguments) => show::run(arguments),
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Edge => "edge",
        Role::Relay => "relay",
    }
}
