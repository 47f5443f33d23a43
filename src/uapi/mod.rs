//! The WireGuard cross-platform configuration protocol, by which `wg(8)` and `wg-quick(8)` drive an interface.
//!
//! ```text
//!  octets ──► Reader ──► Request::Set(Change) ──► Config::applied ──► Config::plan ──► Dataplane::apply
//!                   └──► Request::Get ───────────► text::state ◄── Config, Dataplane::observe
//! ```
//!
//! A `set=1` is a transaction: a line that is refused, a connection that ends early or a data plane that refuses
//! leaves everything as it was. Reference: <https://www.wireguard.com/xplatform/>; where it is silent this does as
//! the kernel does, or else `wireguard-go`. Departures, all of them stricter: a request must end with its empty
//! line, lines and requests are bounded, an endpoint has a port.

mod change;
mod config;
mod interface;
mod reader;
mod refusal;
mod server;
mod socket;
pub mod text;

#[cfg(test)]
mod tests;

pub use change::{AllowedChange, Change, PeerChange, ZoneLookup};
pub use config::{Config, Peer, SOCKET};
pub use interface::Interface;
pub use reader::{LINE_LIMIT, REQUEST_LIMIT, Reader, Request};
pub use refusal::{Refusal, Section};
pub use server::{Answer, CLIENTS, Server};
pub use socket::{DIRECTORY, Socket, SocketError};
