//! `turnpike completions` and `turnpike man`: what packages ship beside the binary.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};

use super::{Cli, Exit, Failure};

/// Arguments of `turnpike completions`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  turnpike completions bash > /etc/bash_completion.d/turnpike")]
pub struct Completions {
    /// The shell.
    shell: clap_complete::Shell,
}

/// Arguments of `turnpike man`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  turnpike man --out /usr/local/share/man/man1")]
pub struct Man {
    /// The folder for the pages; made if it is not there.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Prints the completions.
pub fn completions(arguments: &Completions) -> Exit {
    clap_complete::generate(arguments.shell, &mut Cli::command(), "turnpike", &mut std::io::stdout());
    Exit::Fine
}

/// Writes one page per subcommand, `turnpike-policy-check.1` and so on.
pub fn man(arguments: &Man) -> Result<Exit, Failure> {
    let unwritable = |error: std::io::Error| {
        let cause = format!("cannot write man pages to {}: {error}", arguments.out.display());
        Failure::new(Exit::Unavailable, cause, "name a folder that you may write to")
    };
    std::fs::create_dir_all(&arguments.out).map_err(unwritable)?;
    clap_mangen::generate_to(Cli::command(), &arguments.out).map_err(unwritable)?;
    println!("man pages written to {}", arguments.out.display());
    Ok(Exit::Fine)
}
