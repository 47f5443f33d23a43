//! `turnpike bundle heartbeat`: signs that the controller lives, and what time it is.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use super::build::unbuilt;
use crate::cli::output::print;
use crate::cli::{Exit, Failure, definition};
use crate::controller;

#[derive(Debug, Args)]
#[command(after_help = "\
Gateways count down the leases of agreements from the last heartbeat, and honour hours once one has \
confirmed their clock. One heartbeat is for all gateways; each has a number of its own. Sign at least \
every quarter of the shortest lease.

Examples:
  turnpike bundle heartbeat bundles --out heartbeat
  turnpike bundle heartbeat bundles | ssh leeds-1 'cat > /run/hb && turnpike gateway heartbeat /run/hb'")]
pub(super) struct Arguments {
    /// The folder of the bundles, as `bundle build --out` made it; its keys lie beside it.
    #[arg(value_name = "BUNDLES")]
    bundles: PathBuf,
    /// Where to write it [default: the standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Signs it.
///
/// # Errors
/// 1: the keys are damaged; 69: there are none; 77: they may not be read.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let signed = controller::heartbeat(&arguments.bundles, Timestamp::now()).map_err(unbuilt)?;
    let text = String::from_utf8_lossy(&signed.to_octets()).into_owned() + "\n";
    match &arguments.out {
        None => print(&text)?,
        Some(path) => {
            definition::replace(path, &text)?;
            print(&format!(
                "heartbeat {} of {} written to {}\n",
                signed.content.number,
                signed.content.at,
                path.display()
            ))?;
        }
    }
    Ok(Exit::Fine)
}
