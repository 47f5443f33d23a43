//! Who may reach what: from the operator's folder of TOML to rules that a kernel can hold.
//!
//! ```text
//!  folder ─ document ─▶ resolve ─▶ Model ─┬▶ evaluate   the decision, as a pure function in overlay terms
//!          (serde,      (names,           ├▶ compile    one bundle::Policy per gateway
//!           spans)       numbers)         └▶ cases      the definition's own tests
//! ```
//!
//! Reading files is `cli`'s; everything here works on bytes and takes the time as an argument.

mod compile;
#[cfg(test)]
mod compiled;
mod guardrails;
mod membership;
pub mod model;
#[cfg(test)]
mod sample;

pub use compile::{LISTED_PORTS, compile, matches};
pub use membership::{Keys, MissingKey, keys_needed, membership};
