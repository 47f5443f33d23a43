//! Who may reach what: from the operator's folder of TOML to rules that a kernel can hold.
//!
//! ```text
//!  folder ─ document ─▶ resolve ─▶ Model ─┬▶ evaluate   the decision, as a pure function in overlay terms
//!          (serde,      (names,           ├▶ compile    one bundle::Policy per gateway
//!           spans)       numbers)         ├▶ cases      the definition's own tests
//!                                         └▶ explain    why, by whom, through what, and what would change it
//! ```
//!
//! Reading files is `cli`'s; everything here works on bytes and takes the time as an argument.

mod allot;
mod allotted;
pub mod cases;
mod compile;
#[cfg(test)]
mod compiled;
pub mod diff;
mod document;
mod effects;
mod evaluate;
pub mod explain;
mod finding;
mod format;
mod guardrails;
mod kind;
mod membership;
pub mod model;
mod parallel;
mod question;
mod reach;
mod resolve;
#[cfg(test)]
pub(crate) mod sample;
mod source;
mod state;
mod terms;

pub use allot::allot;
pub use compile::{LISTED_PORTS, compile, matches};
pub use evaluate::{Evaluator, Reason, Tier, Verdict, evaluate};
pub use finding::{Code, Finding, Severity, nearest, printable};
pub use format::{FormatError, format, guess};
pub use kind::{Kind, KindError};
pub use membership::{Keys, MissingKey, keys_needed, membership};
pub use model::Origin;
pub use question::{From, Question, To, flows, flows_at};
pub use reach::{Reach, reach};
pub use resolve::{Paper, Resolved, both as resolve_both, paper, resolve, terms};
pub use source::Files;
pub use terms::{Terms, Wording};

pub use crate::identity::steers;
