//! Which worker serves whom: each owns some sites with all their links, and knows who owns the others.
//!
//! ```text
//!  packet from the TUN device ─ destination → site ─┬─ ours ──────▶ seal
//!                                                   └─ another's ─▶ handed over as it is, superpackets whole
//!  initiation ─ codes ─ queue ─ whose? ─────────────┬─ ours ──────▶ handshake
//!                                                   └─ another's ─▶ handed over, its sender found
//!  types 2, 3, 4 ─ octet of the receiver index ─────── the sockets see to it, see `sys/udp/steer.rs`
//! ```
//!
//! Who may speak for a site needs no such table: a packet is opened by the worker of the link by which it came, and that
//! worker knows which of its own links are among the site's senders.

use std::collections::HashMap;

use crate::identity::PublicKey;
use crate::tunnel::{Shard, SiteSlot, SocketSlot, inner};

/// A peer of another worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// That worker's number.
    pub worker: u8,
    /// By what name it knows the link, chosen by the caller.
    pub link: u32,
}

/// Which worker serves whom. Empty while there is only one.
#[derive(Debug, Default)]
pub struct Homes {
    sites: Vec<u8>,
    peers: HashMap<(SocketSlot, PublicKey), Foreign>,
}

impl Homes {
    /// The workers of sites, in the order of the routes' slots, and of peers.
    pub fn new(sites: Vec<u8>, peers: impl IntoIterator<Item = ((SocketSlot, PublicKey), Foreign)>) -> Self {
        Self { sites, peers: peers.into_iter().collect() }
    }

    fn site(&self, site: SiteSlot) -> Option<u8> {
        self.sites.get(site.0).copied()
    }

    fn peer(&self, socket: SocketSlot, key: PublicKey) -> Option<Foreign> {
        self.peers.get(&(socket, key)).copied()
    }
}

impl Shard {
    /// The other worker to whom a packet from the TUN device belongs; `None` if it is for this one, or for nobody.
    pub fn owner_elsewhere(&mut self, packet: &[u8]) -> Option<u8> {
        let site = self.owners.owner(inner::parse(packet)?.destination)?;
        self.homes.site(site).filter(|worker| *worker != self.worker)
    }

    /// The other worker's peer with this key.
    pub(super) fn peer_elsewhere(&self, socket: SocketSlot, key: PublicKey) -> Option<Foreign> {
        self.homes.peer(socket, key).filter(|peer| peer.worker != self.worker)
    }
}
