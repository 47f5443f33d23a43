//! What one `set=1` asks for: its lines, parsed. Lines of a section may come in any order.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use zeroize::Zeroizing;

use super::refusal::{Refusal, Section};
use crate::identity::{PresharedKey, PrivateKey, PublicKey};
use crate::net::{Interface, Prefix};

/// All that one `set=1` asks for. `None` leaves a value as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The private key, clamped (RFC 7748, section 5); `Some(None)` takes it away.
    pub key: Option<Option<PrivateKey>>,
    /// The UDP port; 0 lets the kernel choose.
    pub port: Option<u16>,
    /// The mark of outgoing datagrams; 0 for none.
    pub mark: Option<u32>,
    /// Whether the peers that were there go.
    pub replace_peers: bool,
    /// The peers, in the order given.
    pub peers: Vec<PeerChange>,
}

/// What a `set=1` asks for one peer. `None` leaves a value as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerChange {
    /// Its public key.
    pub key: PublicKey,
    /// Whether it goes: then nothing else of the section counts.
    pub remove: bool,
    /// Whether the section counts only if the peer is there already.
    pub update_only: bool,
    /// The preshared key; `Some(None)` takes it away.
    pub preshared: Option<Option<PresharedKey>>,
    /// Where the peer is found.
    pub endpoint: Option<SocketAddr>,
    /// Persistent keepalive in seconds; 0 for none.
    pub keepalive: Option<u16>,
    /// Whether the allowed prefixes that it has go first.
    pub replace_allowed: bool,
    /// Allowed prefixes, in the order given.
    pub allowed: Vec<AllowedChange>,
}

/// One `allowed_ip`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowedChange {
    /// The prefix becomes this peer's, whosever it was.
    Add(Prefix),
    /// The prefix stops being this peer's: written with a leading `-`.
    Remove(Prefix),
}

/// Finds the number of an interface by its name: for the zone of a link-local endpoint.
pub type ZoneLookup<'a> = &'a dyn Fn(&str) -> Option<u32>;

impl Change {
    /// Takes in one line. A `public_key` begins a peer.
    pub(super) fn line(&mut self, text: &str, line: u64, zone: ZoneLookup<'_>) -> Result<(), Refusal> {
        let (key, value) = text.split_once('=').ok_or(Refusal::NotKeyValue { line })?;
        let value = Value { text: value, line };
        if key == "public_key" {
            let key = PublicKey::from_octets(*value.key("public_key")?);
            self.peers.push(PeerChange::new(key));
            return Ok(());
        }
        match self.peers.last_mut() {
            Some(peer) => peer.line(key, value, zone),
            None => self.interface_line(key, value),
        }
    }

    fn interface_line(&mut self, key: &str, value: Value<'_>) -> Result<(), Refusal> {
        match key {
            "private_key" => self.key = Some(clamped(value.key("private_key")?)),
            "listen_port" => self.port = Some(value.number("listen_port", "a port from 0 to 65535")?),
            "fwmark" => self.mark = Some(value.number("fwmark", "a decimal number from 0 to 4294967295")?),
            "replace_peers" => self.replace_peers = value.holds("replace_peers")?,
            _ => return Err(value.unknown(key, Section::Interface)),
        }
        Ok(())
    }
}

impl PeerChange {
    /// A section that says nothing yet but whose it is.
    pub fn new(key: PublicKey) -> Self {
        Self {
            key,
            remove: false,
            update_only: false,
            preshared: None,
            endpoint: None,
            keepalive: None,
            replace_allowed: false,
            allowed: Vec::new(),
        }
    }

    fn line(&mut self, key: &str, value: Value<'_>, zone: ZoneLookup<'_>) -> Result<(), Refusal> {
        match key {
            "remove" => self.remove = value.holds("remove")?,
            "update_only" => self.update_only = value.holds("update_only")?,
            "preshared_key" => {
                self.preshared = Some(PresharedKey::from_octets(*value.key("preshared_key")?));
            }
            "endpoint" => self.endpoint = Some(value.endpoint(zone)?),
            "persistent_keepalive_interval" => {
                let takes = "seconds from 0 to 65535";
                self.keepalive = Some(value.number("persistent_keepalive_interval", takes)?);
            }
            "replace_allowed_ips" => self.replace_allowed = value.holds("replace_allowed_ips")?,
            "allowed_ip" => self.allowed.push(value.allowed()?),
            "protocol_version" if value.text == "1" => {}
            "protocol_version" => return Err(value.bad("protocol_version", "1")),
            _ => return Err(value.unknown(key, Section::Peer)),
        }
        Ok(())
    }
}

/// The scalar as X25519 uses it; all zeros stands for "none".
fn clamped(mut octets: Zeroizing<[u8; 32]>) -> Option<PrivateKey> {
    if *octets == [0; 32] {
        return None;
    }
    octets[0] &= 248;
    octets[31] = octets[31] & 127 | 64;
    Some(PrivateKey::from_octets(*octets))
}

/// What stands right of the `=`, and where.
#[derive(Clone, Copy)]
struct Value<'a> {
    text: &'a str,
    line: u64,
}

impl Value<'_> {
    fn bad(self, key: &'static str, takes: &'static str) -> Refusal {
        Refusal::BadValue { line: self.line, key, takes }
    }

    fn unknown(self, key: &str, section: Section) -> Refusal {
        Refusal::UnknownKey { line: self.line, key: key.chars().take(64).collect(), section }
    }

    fn key(self, key: &'static str) -> Result<Zeroizing<[u8; 32]>, Refusal> {
        let mut octets = Zeroizing::new([0; 32]);
        hex::decode_to_slice(self.text, &mut *octets).map_err(|_| self.bad(key, "64 hexadecimal digits"))?;
        Ok(octets)
    }

    /// Decimal digits alone: no sign, no blank.
    fn number<T: std::str::FromStr>(self, key: &'static str, takes: &'static str) -> Result<T, Refusal> {
        if !self.text.bytes().all(|octet| octet.is_ascii_digit()) {
            return Err(self.bad(key, takes));
        }
        self.text.parse().map_err(|_| self.bad(key, takes))
    }

    fn holds(self, key: &'static str) -> Result<bool, Refusal> {
        if self.text == "true" { Ok(true) } else { Err(self.bad(key, "true")) }
    }

    /// `ADDRESS/LENGTH`, whose host bits are cleared as the kernel does.
    fn allowed(self) -> Result<AllowedChange, Refusal> {
        let (text, removed) = match self.text.strip_prefix('-') {
            Some(text) => (text, true),
            None => (self.text, false),
        };
        let interface: Interface = text.parse().map_err(|_| self.bad("allowed_ip", "ADDRESS/LENGTH"))?;
        let prefix = interface.prefix();
        Ok(if removed { AllowedChange::Remove(prefix) } else { AllowedChange::Add(prefix) })
    }

    /// `1.2.3.4:51820`, `[2001:db8::1]:51820` or `[fe80::1%eth0]:51820`.
    fn endpoint(self, zone: ZoneLookup<'_>) -> Result<SocketAddr, Refusal> {
        let address = match self.text.strip_prefix('[').and_then(|rest| rest.split_once('%')) {
            Some((address, rest)) => scoped(address, rest, zone),
            None => self.text.parse().ok(),
        };
        // No datagram can be sent to port 0.
        address
            .filter(|address| address.port() != 0)
            .ok_or_else(|| self.bad("endpoint", "ADDRESS:PORT or [ADDRESS]:PORT, without a name to look up"))
    }
}

fn scoped(address: &str, rest: &str, zone: ZoneLookup<'_>) -> Option<SocketAddr> {
    let IpAddr::V6(address) = address.parse().ok()? else { return None };
    let (name, port) = rest.split_once("]:")?;
    let digits = |text: &str| text.bytes().all(|octet| octet.is_ascii_digit());
    let scope = if !name.is_empty() && digits(name) { name.parse().ok()? } else { zone(name)? };
    let port = if digits(port) { port.parse().ok()? } else { return None };
    Some(SocketAddr::V6(SocketAddrV6::new(address, port, 0, scope)))
}
