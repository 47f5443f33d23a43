//! A peer of the subject's that lies: it speaks the protocol by itself, over a plain socket.
//!
//! ```text
//!  left: the subject, wg0 10.9.0.1 fd09::1        right: Client at 192.0.2.2:4000, speaks for 10.9.0.2 fd09::2
//! ```
//!
//! What the subject accepts shows by itself: a Client's data messages carry echo requests with a number each, and
//! the kernel behind the subject answers those that come out of the interface.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use turnpike::identity::{PrivateKey, PublicKey};
use turnpike::lab::guard::Namespace;

use crate::bench::{Node, Wire};
use crate::noise::{Attempt, INITIATION, Party, Session};
use crate::rig::Rig;

/// Long enough for an answer on a busy machine.
pub const ANSWER: Duration = Duration::from_secs(3);

/// As long as silence is listened to.
pub const SILENCE: Duration = Duration::from_millis(400);

/// What an echo carries.
const PAYLOAD: &[u8] = b"conformance!";

/// The subject's outer address and port.
pub const SUBJECT: &str = "192.0.2.1:51820";

/// The client's outer address and port.
const CLIENT: &str = "192.0.2.2:4000";

/// A peer with a socket.
pub struct Client {
    pub party: Party,
    pub key: PublicKey,
    pub socket: UdpSocket,
    /// Where the subject is.
    pub to: SocketAddr,
    /// Inner addresses: ours and the subject's.
    pub inner: [(IpAddr, IpAddr); 2],
    /// The receiver index of the next attempt.
    pub index: u32,
}

/// The subject at the left end of the wire, and a client at the right end that it knows as its peer.
pub fn meet<'a>(rig: &'a Rig, wire: &'a Wire) -> (Node<'a>, Client) {
    let node = rig.node(&wire.left, "wg0");
    node.inner("10.9.0.1/24", "fd09::1/64");
    node.set("listen-port 51820");
    let client = Client::new(&node, &wire.right, CLIENT, 2);
    node.set(&format!("peer {} allowed-ips {}", client.key, client.prefixes()));
    (node, client)
}

/// The same, and the subject knows where the client is, so that it can begin; with these words for `wg set` besides.
pub fn meet_known<'a>(rig: &'a Rig, wire: &'a Wire, words: &str) -> (Node<'a>, Client) {
    let node = rig.node(&wire.left, "wg0");
    node.inner("10.9.0.1/24", "fd09::1/64");
    node.set("listen-port 51820");
    let client = Client::new(&node, &wire.right, CLIENT, 2);
    node.set(&format!("peer {} endpoint {CLIENT} {words} allowed-ips {}", client.key, client.prefixes()));
    (node, client)
}

impl Client {
    /// A client of this outer address, that speaks for 10.9.0.NUMBER and fd09::NUMBER. The subject does not know it
    /// yet.
    pub fn new(node: &Node<'_>, at: &Namespace, outer: &str, number: u8) -> Self {
        let outer: SocketAddr = outer.parse().expect("an address");
        let key = PrivateKey::generate().expect("a key");
        let socket = at.enter(|| UdpSocket::bind(outer)).expect("a namespace").expect("a socket");
        let text = |text: String| text.parse().expect("an address");
        Self {
            party: Party::new(&key, &node.key),
            key: key.public(),
            socket,
            to: SUBJECT.parse().expect("an address"),
            inner: [
                (text(format!("10.9.0.{number}")), text("10.9.0.1".into())),
                (text(format!("fd09::{number}")), text("fd09::1".into())),
            ],
            index: 0x0100_0000 * u32::from(number),
        }
    }

    /// What the subject must allow.
    pub fn prefixes(&self) -> String {
        format!("{}/32,{}/128", self.inner[0].0, self.inner[1].0)
    }

    /// Sends a datagram as it is.
    pub fn send(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.to).expect("sent");
    }

    /// The next datagram, if one comes within that time.
    pub fn receive(&self, within: Duration) -> Option<Vec<u8>> {
        let mut octets = vec![0; 65_536];
        self.socket.set_read_timeout(Some(within.max(Duration::from_millis(1)))).expect("a time-out");
        let length = self.socket.recv(&mut octets).ok()?;
        octets.truncate(length);
        Some(octets)
    }

    /// Everything that comes until nothing has come for [`SILENCE`].
    pub fn everything(&self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.receive(SILENCE)).collect()
    }

    /// A new attempt at a handshake with the time as it is; not sent yet.
    pub fn attempt(&mut self) -> Attempt {
        self.index += 1;
        self.party.initiation(self.index, stamp(SystemTime::now()))
    }

    /// The session that the subject's response to this attempt makes, if one comes.
    pub fn response(&self, attempt: &Attempt) -> Option<Session> {
        let until = Instant::now() + ANSWER;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            if let Some(session) = self.receive(left).and_then(|message| self.party.finish(attempt, &message)) {
                return Some(session);
            }
        }
        None
    }

    /// A handshake from here, confirmed by the first echo, whose counter is 0 and number 0.
    pub fn handshake(&mut self) -> Session {
        // Linux and wireguard-go take no two initiations of a peer within 20 and 50 ms.
        std::thread::park_timeout(Duration::from_millis(60));
        let attempt = self.attempt();
        self.send(&attempt.message);
        let session = self.response(&attempt).expect("an answer to an honest initiation");
        self.send(&session.seal(0, &self.echo(0)));
        assert_eq!(self.answered(&session, &[0]), BTreeSet::from([0]), "an honest echo is answered");
        session
    }

    /// Waits for the subject's own initiation, answers it, and waits for its confirmation.
    pub fn accept(&mut self, within: Duration) -> Option<Session> {
        let until = Instant::now() + within;
        loop {
            let left = until.checked_duration_since(Instant::now())?;
            let Some(message) = self.receive(left) else { continue };
            self.index += 1;
            if let Some((response, session, _)) = self.party.answer(&message, self.index) {
                self.send(&response);
                assert!(self.hears(&session), "the initiator is the first to use the session");
                return Some(session);
            }
        }
    }

    /// Whether a message of this session comes. Whoever answered an initiation sends nothing before that.
    pub fn hears(&self, session: &Session) -> bool {
        let until = Instant::now() + ANSWER;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            if self.receive(left).is_some_and(|datagram| session.open(&datagram).is_some()) {
                return true;
            }
        }
        false
    }

    /// An echo request in IPv4 with this number, from our inner address to the subject's.
    pub fn echo(&self, number: u16) -> Vec<u8> {
        let (IpAddr::V4(from), IpAddr::V4(to)) = self.inner[0] else { unreachable!("IPv4 is first") };
        let builder = PacketBuilder::ipv4(from.octets(), to.octets(), 64).icmpv4_echo_request(7, number);
        let mut packet = Vec::new();
        builder.write(&mut packet, PAYLOAD).expect("room");
        packet
    }

    /// The same in IPv6.
    pub fn echo_v6(&self, number: u16) -> Vec<u8> {
        let (IpAddr::V6(from), IpAddr::V6(to)) = self.inner[1] else { unreachable!("IPv6 is second") };
        let builder = PacketBuilder::ipv6(from.octets(), to.octets(), 64).icmpv6_echo_request(7, number);
        let mut packet = Vec::new();
        builder.write(&mut packet, PAYLOAD).expect("room");
        packet
    }

    /// Which echoes are answered. Waits for those that are expected, then for silence.
    pub fn answered(&self, session: &Session, expected: &[u16]) -> BTreeSet<u16> {
        let counts = self.answers(session, expected);
        assert!(counts.values().all(|count| *count == 1), "none is answered twice: {counts:?}");
        counts.into_keys().collect()
    }

    /// How often each echo is answered.
    pub fn answers(&self, session: &Session, expected: &[u16]) -> BTreeMap<u16, usize> {
        let (until, mut counts) = (Instant::now() + ANSWER, BTreeMap::new());
        loop {
            let all = expected.iter().all(|number| counts.contains_key(number));
            let patience = if all { SILENCE } else { until.saturating_duration_since(Instant::now()) };
            let Some(datagram) = self.receive(patience) else { return counts };
            if let Some(number) = session.open(&datagram).and_then(|(_, packet)| answer(&packet)) {
                *counts.entry(number).or_insert(0) += 1;
            }
        }
    }

    /// Whether an honest echo with this counter is answered.
    pub fn reaches(&self, session: &Session, counter: u64, number: u16) -> bool {
        self.send(&session.seal(counter, &self.echo(number)));
        let until = Instant::now() + ANSWER;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            let opened = self.receive(left).and_then(|datagram| session.open(&datagram));
            if opened.and_then(|(_, packet)| answer(&packet)) == Some(number) {
                return true;
            }
        }
        false
    }
}

/// TAI64N (section 5.1 of the paper): seconds since 1970 and 2^62, 10 s ahead of UTC, then nanoseconds.
pub fn stamp(time: SystemTime) -> [u8; 12] {
    let since = time.duration_since(UNIX_EPOCH).expect("after 1970");
    let seconds = (1 << 62) + 10 + since.as_secs();
    let mut stamp = [0; 12];
    stamp[..8].copy_from_slice(&seconds.to_be_bytes());
    stamp[8..].copy_from_slice(&since.subsec_nanos().to_be_bytes());
    stamp
}

/// Whether a datagram is an initiation by its form.
pub fn is_initiation(datagram: &[u8]) -> bool {
    datagram.len() == INITIATION && datagram[0] == 1
}

/// One packet from the subject to the client, for whose answer nobody waits longer than a second.
pub fn poke(node: &Node<'_>) {
    let mut command = node.at.command("ping");
    command.args(["-n", "-c", "1", "-W", "1", "10.9.0.2"]);
    command.stdout(std::process::Stdio::null()).status().expect("ping");
}

/// The number of an echo reply.
pub fn answer(packet: &[u8]) -> Option<u16> {
    let sliced = SlicedPacket::from_ip(packet).ok()?;
    match (sliced.net?, sliced.transport?) {
        (NetSlice::Ipv4(_), TransportSlice::Icmpv4(icmp)) if icmp.type_u8() == 0 => number(icmp.slice()),
        (NetSlice::Ipv6(_), TransportSlice::Icmpv6(icmp)) if icmp.type_u8() == 129 => number(icmp.slice()),
        _ => None,
    }
}

fn number(icmp: &[u8]) -> Option<u16> {
    icmp.get(6..8)?.try_into().ok().map(u16::from_be_bytes)
}
