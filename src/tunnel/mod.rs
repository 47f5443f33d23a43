//! The tunnel's core: WireGuard peers, routes and limits, without descriptors. Time is passed in.
//!
//! ```text
//!             ┌──────────────────────────── Shard: what one worker owns ───────────────────────────┐
//!  TUN ─────▶ egress: destination → site → first live link ─▶ Link ─▶ Engine (seals)  ─▶ Batch<Hop> ─▶ network
//!  TUN ◀───── Batch<Outcome> ◀─ source's owner = this link's site? ◀─ Engine (opens) ◀─ ingress ◀───── network
//!             └────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Packets are slices in batches that the worker owns and uses again. Whatever goes no further has a [`Reason`],
//! which is counted. Only [`peer`] names boringtun.

mod backlog;
pub mod batch;
mod clock;
mod codel;
mod egress;
mod engines;
mod handshakes;
mod homes;
mod hop;
pub mod icmp;
mod ingress;
pub mod inner;
mod limits;
mod link;
mod mtu;
pub mod peer;
mod queue;
mod reason;
mod routes;
pub mod segment;
mod sessions;
mod shard;
#[cfg(test)]
mod tests;
pub mod tos;
mod wheel;
pub mod wire;

pub use backlog::{Backlog, Buffer, Next};
pub use batch::Batch;
pub use codel::Codel;
pub use egress::{Departure, Refused};
pub use handshakes::{Handled, Handshake};
pub use homes::{Foreign, Homes};
pub use hop::{Hop, Path, Priority};
pub use ingress::{Arrival, Outcome};
pub use link::{Link, LinkConfig, LinkStats, Manner, Turn};
pub use mtu::Mtus;
pub use peer::Identity;
pub use reason::{Drops, Reason};
pub use routes::{Owners, Routes, SiteSlot};
pub use shard::{Full, LinkSlot, Moment, Shard, Site, SocketSlot};
pub use tos::{Dscp, Marking, NoMarking};
