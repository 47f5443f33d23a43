//! What a gateway says about itself: its status, its health conditions, its metrics and its log.
//!
//! ```text
//!  gateway ──▶ Status ─┬▶ control socket ─▶ turnpike status, the lab
//!                      └▶ INSTRUMENTS ────▶ /metrics
//! ```
//!
//! One document, [`status::Status`], feeds both, so that they cannot disagree.

pub mod conditions;
pub mod exposition;
pub mod instruments;
pub mod logging;
pub mod status;
