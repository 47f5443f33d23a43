//! One WireGuard interface, driven by `wg(8)`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use turnpike::identity::{PrivateKey, PublicKey};
use turnpike::lab::guard::{GuardError, Namespace, Process, wait_for, wait_until};

use super::{Bench, SOON};

/// A WireGuard interface in a namespace.
pub struct Node<'a> {
    pub bench: &'a Bench,
    pub at: &'a Namespace,
    pub device: &'static str,
    pub key: PublicKey,
    pub process: Process,
}

impl<'a> Node<'a> {
    /// Starts the interface `device` by the command `words`, with a key of its own, without addresses and peers.
    pub fn start(bench: &'a Bench, at: &'a Namespace, device: &'static str, words: &[&str]) -> Self {
        let process = bench.spawn(at, words);
        let key = PrivateKey::generate().expect("a key");
        let node = Self { bench, at, device, key: key.public(), process };
        assert!(wait_until(SOON, || node.wg("show", "").is_ok()), "{device} does not come up");
        node.private_key(&key);
        node
    }

    /// Runs `wg COMMAND DEVICE WORDS`.
    pub fn wg(&self, command: &str, words: &str) -> Result<String, GuardError> {
        let words: Vec<&str> = ["wg", command, self.device].into_iter().chain(words.split_ascii_whitespace()).collect();
        self.bench.run(self.at, &words)
    }

    /// Runs `wg set` and expects it to succeed.
    pub fn set(&self, words: &str) {
        self.wg("set", words).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Sets the private key.
    pub fn private_key(&self, key: &PrivateKey) {
        let path = self.bench.write(&format!("{}.key", self.device), key.to_base64().as_str());
        self.set(&format!("private-key {path}"));
    }

    /// Gives the device its inner addresses.
    pub fn inner(&self, v4: &str, v6: &str) {
        self.at.ip(&format!("link set {} up", self.device)).expect("a device");
        self.at.address(self.device, v4).expect("an address");
        self.at.address(self.device, v6).expect("an address");
    }

    /// `wg show DEVICE WHAT` for one peer: the last column.
    pub fn shown(&self, what: &str, peer: &PublicKey) -> Option<String> {
        let table = self.wg("show", what).ok()?;
        let peer = peer.to_string();
        table.lines().find(|line| line.starts_with(&peer))?.split_ascii_whitespace().last().map(str::to_owned)
    }

    /// When the last handshake with a peer was, in seconds since 1970; 0 for never.
    pub fn handshake(&self, peer: &PublicKey) -> u64 {
        self.shown("latest-handshakes", peer).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Whether `to` answers to a ping from here within `within`.
    pub fn reaches_within(&self, to: &str, within: Duration) -> bool {
        wait_for(within, || self.at.run("ping", ["-n", "-c", "1", "-W", "1", to]).ok()).is_some()
    }

    /// Whether `to` answers to a ping from here soon.
    pub fn reaches(&self, to: &str) -> bool {
        self.reaches_within(to, SOON)
    }

    /// Whether the one ping that is sent is lost.
    pub fn is_deaf_to(&self, to: &str) -> bool {
        self.at.run("ping", ["-n", "-c", "1", "-W", "1", to]).is_err()
    }
}

impl Drop for Node<'_> {
    /// A test that fails shows the last lines of what the program said.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.process.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(20)..];
            eprintln!("{} ({}) said:\n{}", self.device, self.process.line(), last.join("\n"));
        }
    }
}

/// Makes two interfaces know each other over the right one's outer address; only the left one knows an endpoint, so
/// it must begin. Inner addresses of both families on both.
pub fn introduce(left: &Node<'_>, right: &Node<'_>, outer: IpAddr) {
    left.inner("10.9.0.1/24", "fd09::1/64");
    right.inner("10.9.0.2/24", "fd09::2/64");
    right.set(&format!("listen-port 51820 peer {} allowed-ips 10.9.0.1/32,fd09::1/128", left.key));
    let endpoint = SocketAddr::new(outer, 51820);
    left.set(&format!("peer {} endpoint {endpoint} allowed-ips 10.9.0.2/32,fd09::2/128", right.key));
}
