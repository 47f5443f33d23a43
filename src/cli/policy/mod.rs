//! `turnpike policy …`: the definition as a whole.

mod allot;
mod check;
mod diff;
mod explain;
mod fmt;
mod render;
mod schema;
mod show;
mod test;

use clap::{Args, Subcommand};

use super::{Exit, Failure};

/// Arguments of `turnpike policy`.
#[derive(Debug, Args)]
pub struct Policy {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a definition: every error and warning with its place. Writes nothing.
    Check(check::Arguments),
    /// Give numbers, management addresses and overlay prefixes to what has none, in allotted.toml.
    Allot(allot::Arguments),
    /// Judge the definition's own tests.
    Test(test::Arguments),
    /// Why somebody may reach something, or not, and what would change it.
    Explain(explain::Arguments),
    /// Who reaches what, as a table or as a matrix.
    Show(show::Arguments),
    /// What changes in who reaches what, and when, between two definitions. Exact; exits 3 if anything does.
    Diff(diff::Arguments),
    /// The nftables table that a gateway would hold, with remarks.
    Render(render::Arguments),
    /// Bring the files into one form: order of keys, blanks, line breaks. What they say and all comments stay.
    Fmt(fmt::Arguments),
    /// Print the JSON Schema of a kind of file, for editors.
    Schema(schema::Arguments),
}

/// Runs `turnpike policy`.
///
/// # Errors
/// See the exit codes of each subcommand.
pub fn run(arguments: &Policy) -> Result<Exit, Failure> {
    match &arguments.command {
        Command::Check(arguments) => check::run(arguments),
        Command::Allot(arguments) => allot::run(arguments),
        Command::Test(arguments) => test::run(arguments),
        Command::Explain(arguments) => explain::run(arguments),
        Command::Show(arguments) => show::run(arguments),
        Command::Diff(arguments) => diff::run(arguments),
        Command::Render(arguments) => render::run(arguments),
        Command::Fmt(arguments) => fmt::run(arguments),
        Command::Schema(arguments) => schema::run(arguments),
    }
}
