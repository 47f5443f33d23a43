//! The command line: one file per subcommand, its arguments and its function together.

mod agreement;
mod bundle;
pub mod definition;
mod exit;
mod explain;
mod explanation;
mod findings;
mod gateway;
mod lab;
mod marking;
mod offloads;
mod output;
mod pages;
mod policy;
mod revision;
mod scheduling;
mod status;
mod tunnel;
mod variable;
mod workers;

use clap::{Parser, Subcommand};

pub use exit::{Exit, Failure};

/// WireGuard edge appliance and hub: a managed overlay that enforces which department may reach which service.
#[derive(Debug, Parser)]
#[command(name = "turnpike", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What each gateway is told: build it, look into it.
    Bundle(bundle::Arguments),
    /// Check, number and test a network definition.
    Policy(policy::Policy),
    /// Terms, keys and consents of agreements.
    Agreement(agreement::Agreements),
    /// Serve a plain WireGuard interface for wg(8) and wg-quick(8), as wireguard-go does.
    Tunnel(tunnel::Tunnel),
    /// Run a hub or an edge, and speak to a running one.
    Gateway(gateway::Arguments),
    /// How a gateway is, now.
    Status(status::Arguments),
    /// Why somebody may reach something through this gateway, or not, and whether its kernel agrees.
    Explain(explain::Arguments),
    /// A definition at work in network namespaces of this machine.
    Lab(lab::Arguments),
    /// Print a shell's completions.
    Completions(pages::Completions),
    /// Write the man pages.
    Man(pages::Man),
}

/// Parses the arguments and runs what they ask; never panics on them.
pub fn main() -> Exit {
    let cli = match Cli::try_parse_from(tunnel::arguments(std::env::args_os())) {
        Ok(cli) => cli,
        Err(error) => return exit::usage(&error),
    };
    match run(cli.command) {
        Ok(exit) => exit,
        Err(failure) => failure.report(),
    }
}

fn run(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Bundle(arguments) => bundle::run(&arguments),
        Command::Policy(arguments) => policy::run(&arguments),
        Command::Agreement(arguments) => agreement::run(&arguments),
        Command::Gateway(arguments) => gateway::run(arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Lab(arguments) => lab::run(arguments),
        Command::Completions(arguments) => Ok(pages::completions(&arguments)),
        Command::Man(arguments) => pages::man(&arguments),
        Command::Tunnel(arguments) => tunnel::tunnel(&arguments),
    }
}
