//! Answers as they stand on the wire.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use zeroize::Zeroizing;

use super::config::{Config, Peer, SOCKET};
use crate::dataplane::{LinkId, LinkSnapshot, Snapshot};
use crate::net::Prefix;

/// An answer that tells no more than an errno: 0, or negative as `wg(8)` reads it.
pub fn status(outcome: Result<(), Errno>) -> Zeroizing<String> {
    let number = outcome.err().map_or(0, |errno| -(errno as i32));
    Zeroizing::new(format!("errno={number}\n\n"))
}

/// The answer to `get=1`. It holds the private key.
pub fn state(config: &Config, snapshot: &Snapshot) -> Zeroizing<String> {
    let mut text = Text(Zeroizing::new(String::with_capacity(4096)));
    if let Some(key) = config.key() {
        text.key("private_key", key.octets());
    }
    let port = snapshot.sockets.iter().find(|socket| socket.id == SOCKET).map_or(config.port(), |socket| socket.port);
    if port != 0 {
        text.line("listen_port", port);
    }
    if config.mark() != 0 {
        text.line("fwmark", config.mark());
    }
    let links: std::collections::HashMap<LinkId, &LinkSnapshot> =
        snapshot.links.iter().map(|link| (link.id, link)).collect();
    for (id, peer, prefixes) in config.peers() {
        text.peer(peer, links.get(&id).copied(), &prefixes);
    }
    text.0.push_str(&status(Ok(())));
    text.0
}

struct Text(Zeroizing<String>);

impl Text {
    fn line(&mut self, key: &str, value: impl std::fmt::Display) {
        // Writing to a String cannot fail.
        if writeln!(self.0, "{key}={value}").is_err() {
            self.0.clear();
        }
    }

    fn key(&mut self, key: &str, octets: &[u8; 32]) {
        let mut digits = Zeroizing::new([0; 64]);
        let written = hex::encode_to_slice(octets, &mut *digits).is_ok();
        if let (true, Ok(digits)) = (written, std::str::from_utf8(&*digits)) {
            self.line(key, digits);
        }
    }

    fn peer(&mut self, peer: &Peer, link: Option<&LinkSnapshot>, prefixes: &[Prefix]) {
        self.key("public_key", peer.key.octets());
        self.key("preshared_key", peer.preshared.as_ref().map_or(&[0; 32], |key| key.octets()));
        self.line("protocol_version", 1);
        let configured = peer.endpoint.map(|endpoint| endpoint.address);
        if let Some(endpoint) = link.and_then(|link| link.endpoint).or(configured) {
            self.line("endpoint", endpoint);
        }
        let handshake = since_epoch(link.and_then(|link| link.last_handshake));
        self.line("last_handshake_time_sec", handshake.as_secs());
        self.line("last_handshake_time_nsec", handshake.subsec_nanos());
        self.line("tx_bytes", link.map_or(0, |link| link.sent_bytes));
        self.line("rx_bytes", link.map_or(0, |link| link.received_bytes));
        self.line("persistent_keepalive_interval", peer.keepalive);
        for prefix in prefixes {
            self.line("allowed_ip", prefix);
        }
    }
}

fn since_epoch(time: Option<SystemTime>) -> Duration {
    time.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default()
}
