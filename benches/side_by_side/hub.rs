//! A hub of very many peers, all of which are one crowd in a namespace beside it.
//!
//! ```text
//!  hub 192.0.2.1 ════ 192.0.2.2 crowd: 198.18.0.0/15 is local to it
//!   └ device, 10.128.0.0/9, ruleset with all pairs
//! ```

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use turnpike::identity::PrivateKey;
use turnpike::lab::guard::{Namespace, veth};

use crate::bed::{HUB, Node, PORT, Peer, Room, forward, ruleset};
use crate::crowd::{CROWD_OUTER, Crowd, HUB_OUTER, INNER, address};
use crate::failure::Failure;
use crate::process::Interrupt;
use crate::subject::Subject;

/// A subject with very many peers. Fields are dropped in this order.
#[derive(Debug)]
pub struct Hub {
    /// The subject.
    pub node: Node,
    /// How long `wg setconf` took to give it all peers.
    pub configured_in: Duration,
    _room: Room,
    _at: Namespace,
    crowd: Namespace,
    keys: Vec<PrivateKey>,
}

/// The inner address of a peer of the crowd.
pub fn inner(number: usize) -> Ipv4Addr {
    address(INNER, number)
}

impl Hub {
    /// Raises it with so many peers, none of which has a session. Peers `2 i` may reach peers `2 i + 1`, for the first
    /// `pairs` of them.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn raise(subject: Subject, peers: usize, pairs: usize, interrupt: &Interrupt) -> Result<Self, Failure> {
        let (at, crowd) = (Namespace::new("hub")?, Namespace::new("crowd")?);
        veth(&at, "eth0", &crowd, "eth0")?;
        at.address("eth0", &format!("{HUB_OUTER}/30"))?;
        crowd.address("eth0", &format!("{CROWD_OUTER}/30"))?;
        at.route("198.18.0.0/15", &format!("via {CROWD_OUTER}"))?;
        crowd.ip("route add local 198.18.0.0/15 dev lo")?;
        let allowed: Vec<_> = (0..pairs).map(|pair| (inner(2 * pair), inner(2 * pair + 1))).collect();
        forward(&at, &ruleset(&allowed))?;
        // What is lost on purpose is not sent again: connection tracking must not miss it.
        at.sysctl("net.netfilter.nf_conntrack_tcp_be_liberal", "1")?;
        let keys = (0..peers).map(|_| PrivateKey::generate()).collect::<Result<Vec<_>, _>>()?;
        let room = Room::new(interrupt)?;
        let node = Node::start(&room, &at, subject, "benchhub", interrupt)?;
        let peer = |(number, key): (usize, &PrivateKey)| Peer {
            key: key.public(),
            allowed: format!("{}/32", inner(number)),
            endpoint: None,
        };
        let peers: Vec<Peer> = keys.iter().enumerate().map(peer).collect();
        let began = Instant::now();
        node.set(&room, &at, &peers)?;
        let configured_in = began.elapsed();
        node.raise(&at, &format!("{HUB}/24"))?;
        at.route("10.128.0.0/9", "dev benchhub")?;
        Ok(Self { node, configured_in, _room: room, _at: at, crowd, keys })
    }

    /// The first `number` of its peers, which have no sessions yet.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn crowd(&self, number: usize) -> Result<Crowd, Failure> {
        Crowd::new(&self.crowd, &self.keys[..number.min(self.keys.len())], self.node.key(), PORT)
    }
}
