//! The membership section: this gateway's uplinks and the links to its peers.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::identity::{Name, PublicKey};

/// Who this gateway talks to. Lists are sorted by number or name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    /// The overlay network's name.
    pub network: Name,
    /// The gateway that this is for.
    pub gateway: Name,
    /// This gateway's own ways out; a hub has one, named after itself.
    pub uplinks: Vec<Uplink>,
    /// One per own uplink and peer.
    pub links: Vec<Link>,
}

/// A way out of this gateway, with a WireGuard key pair and a UDP port of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uplink {
    /// Its name.
    pub name: Name,
    /// The Linux device that its datagrams leave by; `None` leaves that to the host's routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The addresses on which peers find it; empty on an edge, whose port is the kernel's choice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<SocketAddr>,
    /// The public half of the key that this gateway must hold for it.
    pub key: PublicKey,
}

/// A tunnel between one of our uplinks and one of a peer's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Its number, from 1, the same at both ends.
    pub number: u32,
    /// Our uplink.
    pub uplink: Name,
    /// The peer's gateway.
    pub gateway: Name,
    /// The peer's site.
    pub site: Name,
    /// Whether the peer relays, and so may speak for sites that are not its own.
    pub relay: bool,
    /// The peer's public key.
    pub key: PublicKey,
    /// Where to find the peer; empty where it finds us.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<SocketAddr>,
}
