//! A gateway, hub and edge alike: what `turnpike gateway run` is.
//!
//! ```text
//!  settings ─▶ state locked ─▶ keys, trust ─▶ bundle (source) ─▶ preflight      a refusal here leaves no trace
//!                                                                    │
//!              ┌─────────────────────── Target ◀─────────────────────┘
//!              │  bundle · policy · Ruleset · desired routing · Plan
//!              ▼
//!  raise:  ruleset loaded ─▶ TUN made ─▶ data plane ─▶ addresses, routes, rules ─▶ READY=1
//!              │
//!  serve:      ├─ every 10 s   alive renewed, counters read         ├─ SIGHUP    reload: Target → put
//!              ├─ boundary     agreements begin, rest and end       │
//!              ├─ kernel event drift looked for, repaired in place  ├─ socket    status, pause and resume of repair
//!              │                                                    └─ SIGTERM   stop
//!              ▼
//!  stop:   data plane ends, the TUN goes with it; the ruleset stays and closes by itself
//! ```
//!
//! One task owns everything and takes one event after the other; what blocks (nft) runs on threads of its own. Flows are
//! told as events beside it (`events`). The
//! gateway never writes sysctls and never touches others' tables, addresses, routes or rules.

mod activity;
mod change;
pub mod control;
mod drift;
mod enforcer;
mod error;
mod events;
pub mod explain;
mod honour;
mod keys;
mod metrics;
mod notices;
mod planner;
mod preflight;
mod raise;
mod report;
pub mod routing;
mod serve;
mod settings;
mod source;
pub mod stage;
mod timekeeper;
mod trial;

pub use error::{Fault, GatewayError};
pub use events::Events;
pub use settings::{METRICS_PORT, Metrics, Settings};
pub use source::trust;
pub use timekeeper::Authority;
pub use trial::{Apply, LONGEST_TRIAL};

/// Runs a gateway until SIGTERM or SIGINT.
///
/// # Errors
/// [`GatewayError`]: why it did not start, or could not go on.
pub fn run(settings: Settings) -> Result<(), GatewayError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| GatewayError::Runtime { what: "starting the runtime", cause: error.to_string() })?;
    runtime.block_on(serve::run(settings))
}
