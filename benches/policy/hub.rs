//! A hub's kernel half in a namespace: its table, its tunnel's device, and flows by agreements of its policy.
//!
//! ```text
//!  write ─▶ tunnel ─ prerouting ─ forward: POLICY ─ postrouting ─▶ tunnel ─▶ read
//! ```
//!
//! What is written into the device comes from one site, what is read from it would go to another. The kernel forwards
//! before `write` returns, so what it lets through can be read at once, and what cannot is dropped.

use std::io::{IoSlice, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};

use etherparse::PacketBuilder;
use turnpike::bundle::{Match, Policy, Rule};
use turnpike::lab::guard::Namespace;
use turnpike::ruleset::{Batch, Devices, Ruleset};
use turnpike::sys::netns::Handle;
use turnpike::sys::nftables::Nft;
use turnpike::sys::tun::{HEADER, ROOM, Tun};

const TUNNEL: &str = "tp0";
const MTU: u16 = 1420;

/// The hub. Fields are dropped in this order.
pub struct Hub {
    /// Its tunnel's device.
    pub tunnel: Tun,
    /// nft in its namespace.
    pub nft: Nft,
    space: Namespace,
}

fn said(error: impl ToString) -> String {
    error.to_string()
}

impl Hub {
    /// Raises one that has no table yet.
    ///
    /// # Errors
    /// In words.
    pub fn raise(policy: &Policy) -> Result<Self, String> {
        let space = Namespace::new("hub").map_err(said)?;
        let nft = Nft::new().within(Handle::open(&space.path()).map_err(said)?);
        let tunnel = space.enter(|| Tun::create(TUNNEL)).map_err(said)?.map_err(said)?;
        for (name, value) in [
            ("net.ipv4.conf.all.rp_filter", "0"),
            ("net.ipv4.conf.tp0.rp_filter", "0"),
            ("net.ipv4.conf.all.send_redirects", "0"),
            ("net.ipv6.conf.tp0.disable_ipv6", "1"),
            ("net.ipv4.ip_forward", "1"),
        ] {
            space.sysctl(name, value).map_err(said)?;
        }
        let overlay = policy.overlay.first().ok_or("a network without overlay")?;
        for words in [
            format!("link set {TUNNEL} mtu {MTU} up txqueuelen 4000"),
            format!("addr add {}/32 dev {TUNNEL}", policy.address),
            "rule add pref 2000 fwmark 0x80000000/0x80000000 lookup 200".to_owned(),
            format!("rule add pref 2001 iif {TUNNEL} fwmark 0/0x80000000 unreachable"),
            format!("route add {overlay} dev {TUNNEL} table 200"),
            format!("route add unreachable {overlay} metric 4000"),
        ] {
            space.ip(&words).map_err(said)?;
        }
        Ok(Self { tunnel, nft, space })
    }

    /// Carries out a transaction by nft(8) alone.
    ///
    /// # Errors
    /// In words.
    pub fn by_nft(&self, batch: &Batch) -> Result<(), String> {
        let json = batch.to_json().map_err(said)?;
        let mut command = Command::new("nft");
        self.space.handle().within(command.args(["-j", "-f", "-"]).stdin(Stdio::piped()));
        let mut child = command.spawn().map_err(said)?;
        let written = child.stdin.take().ok_or("nft without a way in")?.write_all(json.as_bytes());
        let status = child.wait().map_err(said)?;
        written.map_err(said)?;
        if status.success() { Ok(()) } else { Err(format!("nft: {status}")) }
    }

    /// Writes a packet and tells how many of this length came out: one, or none. Others are the kernel's own.
    pub fn passes(&self, packet: &[u8], room: &mut [u8]) -> Result<usize, String> {
        self.tunnel.write(&[0; HEADER], &[IoSlice::new(packet)]).map_err(said)?;
        let mut seen = 0;
        while let Ok(length) = self.tunnel.read(room) {
            // Source, destination and all that follows; the time to live and the checksum of the header have changed.
            seen += usize::from(length == packet.len() && room.get(HEADER + 12..HEADER + length) == packet.get(12..));
        }
        Ok(seen)
    }
}

/// What a packet from the device is read into.
pub fn room() -> Vec<u8> {
    vec![0; ROOM]
}

/// Compiles what a hub would load.
///
/// # Errors
/// In words.
pub fn compile(policy: &Policy) -> Result<Ruleset, String> {
    let devices = Devices { tunnel: TUNNEL.to_owned(), mtu: MTU, wans: Vec::new() };
    Ruleset::compile(policy, &devices).map_err(said)
}

/// A hub's policy without an agreement's rules.
pub fn without(policy: &Policy, number: u32) -> Policy {
    let mut policy = policy.clone();
    policy.agreements.retain(|agreement| agreement.number != number);
    policy.rules.retain(|rule| rule.agreement != number);
    policy
}

/// A hub's policy with its first agreements alone, as many as have so many rules.
pub fn first(policy: &Policy, rules: usize) -> Policy {
    let mut policy = policy.clone();
    policy.rules.truncate(rules);
    policy.agreements.retain(|agreement| policy.rules.iter().any(|rule| rule.agreement == agreement.number));
    policy
}

/// Two packets of an agreement: to a port of the service, and the answer.
#[derive(Clone, Debug)]
pub struct Flow {
    /// The agreement's number.
    pub agreement: u32,
    /// From the consumer's department.
    pub there: Vec<u8>,
    /// From the service.
    pub back: Vec<u8>,
}

/// The flow of a rule about a port, with so many octets in each packet; `None` for other rules.
pub fn flow(policy: &Policy, rule: &Rule, payload: usize) -> Option<Flow> {
    let Match::Port { protocol, port } = rule.matching else { return None };
    let at = policy.departments.binary_search_by_key(&rule.department, |department| department.number).ok()?;
    let (IpAddr::V4(consumer), IpAddr::V4(service)) =
        (policy.departments.get(at)?.overlay.first()?.last(), rule.destination)
    else {
        return None;
    };
    // The last address but one: a host's.
    let consumer = Ipv4Addr::from(u32::from(consumer) - 1);
    let packet = |from: Ipv4Addr, to: Ipv4Addr, ports: (u16, u16)| {
        let ip = PacketBuilder::ipv4(from.octets(), to.octets(), 64);
        let mut packet = Vec::new();
        let octets = vec![0x5a; payload];
        match protocol {
            6 => ip.tcp(ports.0, ports.1, 1, 65_000).ack(1).write(&mut packet, &octets).ok()?,
            17 => ip.udp(ports.0, ports.1).write(&mut packet, &octets).ok()?,
            _ => return None,
        }
        Some(packet)
    };
    Some(Flow {
        agreement: rule.agreement,
        there: packet(consumer, service, (40_000, port))?,
        back: packet(service, consumer, (port, 40_000))?,
    })
}

/// The same to a port that no rule names.
pub fn forbidden(flow: &Flow) -> Option<Flow> {
    let other = |packet: &[u8], at: usize| {
        let mut packet = packet.to_vec();
        // A port of the dynamic range, which no service has; the transport's checksum does not matter to a router.
        packet.get_mut(at..at + 2)?.copy_from_slice(&64_999_u16.to_be_bytes());
        Some(packet)
    };
    Some(Flow { agreement: 0, there: other(&flow.there, 22)?, back: other(&flow.back, 20)? })
}
