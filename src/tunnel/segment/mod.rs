//! Large packets across the TUN device: what the kernel gives in one read becomes packets that are sealed one by
//! one, and what was opened one by one becomes few large packets for one write each.
//!
//! ```text
//!  TUN ── VnetHeader + superpacket of up to 64 KiB ──▶ Split ──▶ packet 0, packet 1, …     ──▶ seal
//!  TUN ◀── VnetHeader + superheader + payloads ◀────── Coalescer ◀── packets in order of arrival ◀── open
//! ```
//!
//! Both ways are lossless: splitting what was joined gives the same packets. Nothing here allocates per packet.

pub mod checksum;
mod coalesce;
mod headers;
mod split;
#[cfg(test)]
mod tests;
mod vnet;

pub use coalesce::{Coalescer, Group, MOST_MEMBERS};
pub use split::{Malformed, SPARE, Split};
pub use vnet::{Gso, VnetHeader};
