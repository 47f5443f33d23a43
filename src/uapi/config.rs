//! An interface's configuration as a value: `applied` makes the next one, `plan` says it to the data plane.
//!
//! Each WireGuard peer is a site with one link of the same number; all links share one socket. A number is never
//! used twice, so a peer that was removed and added again is another peer, without session and with new counters.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::change::{AllowedChange, Change, PeerChange};
use crate::dataplane::{Endpoint, LinkId, LinkPlan, Plan, SiteId, SitePlan, SocketId, SocketPlan};
use crate::identity::{PresharedKey, PrivateKey, PublicKey};
use crate::net::Prefix;
use crate::tunnel::Marking;

/// The one socket that all links of an interface share.
pub const SOCKET: SocketId = SocketId(0);

/// What an interface is configured to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    key: Option<PrivateKey>,
    /// The public half of `key`.
    public: Option<PublicKey>,
    port: u16,
    mark: u32,
    /// How datagrams are marked for routers; the configuration protocol does not know it.
    marking: Marking,
    /// By number, thus in the order of their coming.
    peers: BTreeMap<u32, Peer>,
    numbers: BTreeMap<PublicKey, u32>,
    /// Which peer owns a prefix: one at most.
    allowed: BTreeMap<Prefix, u32>,
    /// The same by peer: with many of both, asking all prefixes about each peer would take minutes.
    prefixes: BTreeMap<u32, BTreeSet<Prefix>>,
    /// The next peer's number.
    next: u32,
    /// Counts endpoints as they are configured.
    revision: u64,
}

/// A peer as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its public key.
    pub key: PublicKey,
    /// The preshared key.
    pub preshared: Option<PresharedKey>,
    /// Where it was configured to be found.
    pub endpoint: Option<Endpoint>,
    /// Persistent keepalive in seconds; 0 for none.
    pub keepalive: u16,
}

impl Config {
    /// Configured as nothing yet, with this marking for good.
    pub fn marked(marking: Marking) -> Self {
        Self { marking, ..Self::default() }
    }

    /// The private key.
    pub fn key(&self) -> Option<&PrivateKey> {
        self.key.as_ref()
    }

    /// The configured port; 0 lets the kernel choose.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The mark of outgoing datagrams; 0 for none.
    pub fn mark(&self) -> u32 {
        self.mark
    }

    /// The peers with their links' numbers and allowed prefixes, in the order of their coming.
    pub fn peers(&self) -> impl Iterator<Item = (LinkId, &Peer, Vec<Prefix>)> {
        let prefixes = |number| self.prefixes.get(number).into_iter().flatten().copied().collect();
        self.peers.iter().map(move |(number, peer)| (LinkId(*number), peer, prefixes(number)))
    }

    /// This configuration with `change` made to it. Nothing in a change that parsed can fail.
    pub fn applied(&self, change: &Change) -> Self {
        let mut next = self.clone();
        if change.replace_peers {
            next.peers.clear();
            next.numbers.clear();
            next.allowed.clear();
            next.prefixes.clear();
        }
        if let Some(key) = &change.key {
            next.rekey(key.as_ref());
        }
        next.port = change.port.unwrap_or(next.port);
        next.mark = change.mark.unwrap_or(next.mark);
        for peer in &change.peers {
            next.change_peer(peer);
        }
        next
    }

    /// A peer with our own key would be ourselves: the kernel removes it too.
    fn rekey(&mut self, key: Option<&PrivateKey>) {
        self.key = key.cloned();
        self.public = key.map(PrivateKey::public);
        if let Some(number) = self.public.and_then(|own| self.numbers.get(&own).copied()) {
            self.remove(number);
        }
    }

    fn change_peer(&mut self, change: &PeerChange) {
        let known = self.numbers.get(&change.key).copied();
        let number = match known {
            Some(number) if change.remove => return self.remove(number),
            Some(number) => number,
            None if change.remove || change.update_only || self.public == Some(change.key) => return,
            None => self.add(change.key),
        };
        let endpoint = change.endpoint.map(|address| self.configured(address));
        if let Some(peer) = self.peers.get_mut(&number) {
            peer.endpoint = endpoint.or(peer.endpoint);
            peer.keepalive = change.keepalive.unwrap_or(peer.keepalive);
            if let Some(preshared) = &change.preshared {
                peer.preshared.clone_from(preshared);
            }
        }
        if change.replace_allowed {
            self.disallow(number);
        }
        for allowed in &change.allowed {
            match *allowed {
                AllowedChange::Add(prefix) => self.allow(prefix, number),
                AllowedChange::Remove(prefix) if self.allowed.get(&prefix) == Some(&number) => {
                    self.allowed.remove(&prefix);
                    self.forget(prefix, number);
                }
                AllowedChange::Remove(_) => {}
            }
        }
    }

    /// Gives a prefix to a peer, and takes it from the one that had it.
    fn allow(&mut self, prefix: Prefix, number: u32) {
        if let Some(former) = self.allowed.insert(prefix, number) {
            self.forget(prefix, former);
        }
        self.prefixes.entry(number).or_default().insert(prefix);
    }

    /// Takes all prefixes from a peer.
    fn disallow(&mut self, number: u32) {
        for prefix in self.prefixes.remove(&number).unwrap_or_default() {
            self.allowed.remove(&prefix);
        }
    }

    fn forget(&mut self, prefix: Prefix, number: u32) {
        if let Some(prefixes) = self.prefixes.get_mut(&number) {
            prefixes.remove(&prefix);
            if prefixes.is_empty() {
                self.prefixes.remove(&number);
            }
        }
    }

    fn configured(&mut self, address: SocketAddr) -> Endpoint {
        self.revision += 1;
        Endpoint { address, revision: self.revision }
    }

    fn add(&mut self, key: PublicKey) -> u32 {
        let number = self.next;
        self.next += 1;
        self.peers.insert(number, Peer { key, preshared: None, endpoint: None, keepalive: 0 });
        self.numbers.insert(key, number);
        number
    }

    fn remove(&mut self, number: u32) {
        if let Some(peer) = self.peers.remove(&number) {
            self.numbers.remove(&peer.key);
        }
        self.disallow(number);
    }

    /// What the data plane shall be.
    pub fn plan(&self) -> Plan {
        Plan {
            sockets: vec![SocketPlan { id: SOCKET, key: self.key.clone(), port: self.port, device: None }],
            sites: self.peers.keys().map(|number| site(*number)).collect(),
            links: self.peers.iter().map(|(number, peer)| peer.link(*number, self.marking)).collect(),
            routes: self.allowed.iter().map(|(prefix, number)| (*prefix, SiteId(*number))).collect(),
            mark: self.mark,
        }
    }
}

fn site(number: u32) -> SitePlan {
    SitePlan { id: SiteId(number), links: vec![LinkId(number)], also_from: Vec::new() }
}

impl Peer {
    fn link(&self, number: u32, marking: Marking) -> LinkPlan {
        LinkPlan {
            id: LinkId(number),
            socket: SOCKET,
            key: self.key,
            preshared: self.preshared.clone(),
            endpoint: self.endpoint,
            keepalive: (self.keepalive > 0).then(|| Duration::from_secs(self.keepalive.into())),
            // A plain WireGuard interface is silent when it has nothing to say.
            warm: false,
            marking,
            mtu: None,
        }
    }
}
