//! What the data plane is told and what it tells: plain data, no descriptors.
//!
//! A route leads to a *site*, a site has *links*, a link has a session on a *socket*. `turnpike tunnel` uses the
//! same words: each WireGuard peer is a site with one link, all links share one socket.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use crate::dataplane::{Offload, OffloadState, SchedulingState};
use crate::identity::{PresharedKey, PrivateKey, PublicKey};
use crate::net::Prefix;
use crate::tunnel::Marking;

/// Names a socket, chosen by the planner, stable over plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u32);

/// Names a site, chosen by the planner, stable over plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteId(pub u32);

/// Names a link, chosen by the planner, stable over plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u32);

/// The whole desired state of a data plane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The UDP sockets and their key pairs.
    pub sockets: Vec<SocketPlan>,
    /// The sites.
    pub sites: Vec<SitePlan>,
    /// The links.
    pub links: Vec<LinkPlan>,
    /// Which site owns which prefix: where packets to it go, and from where packets of it may come. The longest
    /// match decides over all sites, so a prefix stands once.
    pub routes: Vec<(Prefix, SiteId)>,
    /// Mark of the datagrams sent (`SO_MARK`); 0 for none.
    pub mark: u32,
}

/// A UDP port with the private key that its links use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketPlan {
    /// Its name.
    pub id: SocketId,
    /// The key pair; `None` while the configuration protocol has set none: nothing is sent or received.
    pub key: Option<PrivateKey>,
    /// The port, the same for IPv4 and IPv6; 0 lets the kernel choose.
    pub port: u16,
    /// The device that it is bound to (`SO_BINDTODEVICE`).
    pub device: Option<String>,
}

/// A place that owns prefixes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SitePlan {
    /// Its name.
    pub id: SiteId,
    /// Its own links, best first: packets to it leave by the first that lives.
    pub links: Vec<LinkId>,
    /// Links of other sites that may also carry packets from it: relays.
    pub also_from: Vec<LinkId>,
}

/// A WireGuard peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkPlan {
    /// Its name.
    pub id: LinkId,
    /// The socket it uses.
    pub socket: SocketId,
    /// The peer's public key. Another key is another peer.
    pub key: PublicKey,
    /// The preshared key.
    pub preshared: Option<PresharedKey>,
    /// Where the peer is found at first; roaming moves it.
    pub endpoint: Option<Endpoint>,
    /// WireGuard's persistent keepalive.
    pub keepalive: Option<Duration>,
    /// Whether to send authenticated keepalives every 10 s of silence while a session exists, so that an idle
    /// link makes no needless handshake.
    pub warm: bool,
    /// How its datagrams are marked for the routers outside (DSCP).
    pub marking: Marking,
    /// How long packets inside may be on this link, in octets, 68 to 65,535; `None` for as long as the device allows. An
    /// IPv6 packet may always have 1,280.
    pub mtu: Option<u16>,
}

/// An endpoint that was configured, as opposed to learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Address and port.
    pub address: SocketAddr,
    /// Another number than before asks to return to this address even if it has not changed.
    pub revision: u64,
}

/// What an applied plan came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Links that are new.
    pub added: Vec<LinkId>,
    /// Links that are gone.
    pub removed: Vec<LinkId>,
    /// Links that were there and began anew: another key, preshared key or socket key.
    pub remade: Vec<LinkId>,
}

/// The state of a data plane at one instant.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The sockets.
    pub sockets: Vec<SocketSnapshot>,
    /// The links.
    pub links: Vec<LinkSnapshot>,
    /// Packets dropped so far, by reason: every reason, also those at 0.
    pub drops: Vec<(&'static str, u64)>,
    /// What the kernel takes off us.
    pub offloads: Vec<(Offload, OffloadState)>,
    /// The workers, in the order of their numbers.
    pub workers: Vec<WorkerSnapshot>,
}

/// A worker as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerSnapshot {
    /// How many links it serves.
    pub links: usize,
    /// What it handed over to others so far.
    pub handed: Handed,
    /// How it competes for processors.
    pub scheduling: SchedulingState,
}

/// What was handed over to other workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handed {
    /// Packets and superpackets from the TUN device: one worker reads it for all.
    pub packets: u64,
    /// Initiations: they name no worker, so one admits them all.
    pub initiations: u64,
    /// All other datagrams: the kernel knows whose they are, but a run of datagrams goes where its first one does.
    pub datagrams: u64,
}

#[cfg(test)]
impl LinkPlan {
    /// A link on the socket 1 whose peer's key is made of its number.
    pub(super) fn sample(id: u32) -> Self {
        Self {
            id: LinkId(id),
            socket: SocketId(1),
            key: PublicKey::from_octets([id.to_le_bytes()[0]; 32]),
            preshared: None,
            endpoint: None,
            keepalive: None,
            warm: false,
            marking: Marking::default(),
            mtu: None,
        }
    }
}

impl Snapshot {
    /// Adds what another worker says.
    pub(super) fn join(&mut self, other: Self) {
        self.links.extend(other.links);
        self.links.sort_by_key(|link| link.id);
        for ((_, number), (_, more)) in self.drops.iter_mut().zip(other.drops) {
            *number += more;
        }
        for ((_, state), (_, worse)) in self.offloads.iter_mut().zip(other.offloads) {
            *state = (*state).max(worse);
        }
        self.workers.extend(other.workers);
    }
}

impl Receipt {
    /// Adds what became of another worker's part. A link that went from one worker to another began anew.
    pub(super) fn join(&mut self, other: Self) {
        self.added.extend(other.added);
        self.removed.extend(other.removed);
        self.remade.extend(other.remade);
        let moved: Vec<LinkId> = self.removed.iter().copied().filter(|link| self.added.contains(link)).collect();
        self.added.retain(|link| !moved.contains(link));
        self.removed.retain(|link| !moved.contains(link));
        self.remade.extend(moved);
        for links in [&mut self.added, &mut self.removed, &mut self.remade] {
            links.sort_unstable();
        }
    }
}

/// A socket as it is.
#[derive(Clone, Debug)]
pub struct SocketSnapshot {
    /// Its name.
    pub id: SocketId,
    /// The port it has.
    pub port: u16,
}

/// A link as it is.
#[derive(Clone, Debug)]
pub struct LinkSnapshot {
    /// Its name.
    pub id: LinkId,
    /// Where the peer is now.
    pub endpoint: Option<SocketAddr>,
    /// When the last handshake was completed; `None` for never.
    pub last_handshake: Option<SystemTime>,
    /// The last handshake's round trip.
    pub handshake_rtt: Option<Duration>,
    /// Whether the current session could carry a packet now (one exists and is younger than 180 s: WireGuard paper, section 6.1).
    pub alive: bool,
    /// Octets received in authenticated datagrams, WireGuard's overhead and handshakes included.
    pub received_bytes: u64,
    /// Octets sent in datagrams, WireGuard's overhead and handshakes included.
    pub sent_bytes: u64,
    /// Authenticated datagrams received.
    pub received_packets: u64,
    /// Datagrams sent.
    pub sent_packets: u64,
    /// Handshakes completed.
    pub handshakes: u64,
    /// Times that the peer was found at another address.
    pub endpoint_changes: u64,
    /// boringtun's estimate of the share of packets lost towards us, 0 to 1.
    pub estimated_loss: f32,
    /// Whether datagrams go to it in trains, where several are to be sent: not without [`Offload::UdpGso`], nor for
    /// 10 minutes after its path refused one.
    pub trains: bool,
}
