//! A datagram's way: how it came, and how it goes.

use std::net::{IpAddr, SocketAddr};

use crate::tunnel::{LinkSlot, SocketSlot};

/// How a datagram reached us, and so how to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The peer's address and port.
    pub to: SocketAddr,
    /// Our own address that it used; `None` leaves the choice to the routing table.
    pub source: Option<IpAddr>,
}

/// How urgent a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Users' packets.
    Data,
    /// Handshakes, keepalives, probes: they wait in front, and are dropped last.
    Control,
}

/// A datagram's way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The link that counts the datagram when it went, and forgets its source address when it failed; `None` for cookies.
    pub link: Option<LinkSlot>,
    /// The socket.
    pub socket: SocketSlot,
    /// Where to, and from which of our addresses.
    pub path: Path,
    /// The outer header's type of service or traffic class: DSCP and ECN.
    pub tos: u8,
    /// How urgent.
    pub priority: Priority,
    /// Whether it may leave in one piece with its neighbours of equal hop and length (`UDP_SEGMENT`).
    pub train: bool,
}
