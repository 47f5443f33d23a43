//! The log: one line per event on stderr, for people or as JSON.
//!
//! Text that came from elsewhere (a peer, a file, the kernel) is logged as a field; both formats escape control
//! characters in fields, so that one event stays one line (tracing-subscriber 0.3.20 and later).

use tracing_subscriber::EnvFilter;

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Human,
    /// One JSON object per line.
    Json,
}

/// Starts the log. `RUST_LOG` chooses what is logged; without it, everything from `info` up. A second call does
/// nothing, so that tests may call it.
pub fn start(format: Format) {
    start_from("info", format);
}

/// As [`start`], but without `RUST_LOG` the log has everything from `level` up: `debug`, `info`, `error`, `off`.
pub fn start_from(level: &str, format: Format) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let started = match format {
        Format::Human => builder.with_ansi(false).try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
    if started.is_err() {
        tracing::debug!("the log had been started already");
    }
}
