//! A gateway without tunnels: its kernel half in a namespace, with a TUN device in the place of every wire.
//!
//! What is written into `tp0` comes from the tunnel, what is read from it would be sealed. The kernel forwards a
//! packet before `write` returns, so whatever it lets through can be read at once.

use std::collections::BTreeMap;
use std::io::IoSlice;

use turnpike::bundle::Policy;
use turnpike::lab::guard::Namespace;
use turnpike::net::{Family, Prefix};
use turnpike::ruleset::{Counters, Ruleset};
use turnpike::sys::netns::Handle;
use turnpike::sys::nftables::Nft;
use turnpike::sys::tun::{HEADER, ROOM, Tun};

use crate::packet::{self, Seen};
use crate::place::{OVERLAY, devices};

pub const TUNNEL: &str = "tp0";
pub const WAN: &str = "wan0";

pub struct Router {
    pub space: Namespace,
    pub nft: Nft,
    wires: BTreeMap<String, Tun>,
}

impl Router {
    /// With devices, addresses, routes and rules as the gateway would set them, and this policy loaded.
    pub fn new(policy: &Policy) -> Self {
        let space = Namespace::new(policy.gateway.as_str()).expect("a namespace");
        let nft = Nft::new().within(Handle::open(&space.path()).expect("the namespace"));
        let mut segments: Vec<String> =
            policy.departments.iter().filter_map(|d| d.segment.as_ref()).map(|s| s.device.clone()).collect();
        segments.sort();
        segments.dedup();
        segments.extend([TUNNEL.to_owned(), WAN.to_owned()]);
        let wires =
            space.enter(|| segments.iter().map(|name| (name.clone(), Tun::create(name).expect(name))).collect());
        let router = Self { space, nft, wires: wires.expect("the namespace") };
        router.shell(&addresses(policy));
        router.shell(&routes(policy));
        router.nft.load(&compile(policy)).expect("a load");
        router
    }

    pub fn shell(&self, script: &str) {
        self.space.run("sh", ["-e", "-c", script]).expect("a script");
    }

    /// Writes a packet into a device without looking at what becomes of it.
    pub fn write(&self, device: &str, packet: &[u8]) {
        self.wires[device].write(&[0; HEADER], &[IoSlice::new(packet)]).expect("a packet is taken");
    }

    /// Reads the next whole packet that left by a device.
    pub fn read(&self, device: &str) -> Option<Vec<u8>> {
        let mut room = vec![0; ROOM];
        let length = self.wires[device].read(&mut room).ok()?;
        Some(room[HEADER..][..length].to_vec())
    }

    /// Writes a packet into a device and gives what left by another, the kernel's own noise left out.
    pub fn through(&self, from: &str, to: &str, packet: &[u8]) -> Vec<Seen> {
        while self.read(to).is_some() {}
        self.write(from, packet);
        std::iter::from_fn(|| self.read(to)).filter_map(|packet| packet::read(&packet)).filter(is_no_noise).collect()
    }

    /// The one packet that left by `to`.
    ///
    /// # Panics
    /// Unless it is exactly one.
    #[track_caller]
    pub fn passes(&self, from: &str, to: &str, packet: &[u8]) -> Seen {
        let mut seen = self.through(from, to, packet);
        if seen.len() != 1 {
            let counters: Vec<_> = self.counters().into_iter().filter(|(_, count)| count.packets > 0).collect();
            panic!("{from} → {to}: {:?} came out as {seen:?}; counted so far: {counters:?}", packet::read(packet));
        }
        seen.remove(0)
    }

    /// # Panics
    /// If anything left by `to`.
    #[track_caller]
    pub fn blocks(&self, from: &str, to: &str, packet: &[u8]) {
        let seen = self.through(from, to, packet);
        assert!(seen.is_empty(), "{from} → {to}: {:?} came out as {seen:?}", packet::read(packet));
    }

    pub fn counters(&self) -> Counters {
        self.nft.listing().map(|listing| listing.counters()).unwrap_or_default()
    }
}

/// Multicast of the kernel's own: router solicitations and listener reports.
fn is_no_noise(seen: &Seen) -> bool {
    !seen.ends.destination.is_multicast()
}

pub fn compile(policy: &Policy) -> Ruleset {
    Ruleset::compile(policy, &devices()).expect("it compiles")
}

fn addresses(policy: &Policy) -> String {
    let mut script = String::from(
        "echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter; echo 0 > /proc/sys/net/ipv4/conf/default/rp_filter
         echo 0 > /proc/sys/net/ipv4/conf/all/send_redirects
         for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $f; done\n",
    );
    let up = |device: &str| {
        format!(
            "echo 1 > /proc/sys/net/ipv6/conf/{device}/addr_gen_mode
             ip link set {device} mtu {} up txqueuelen 4000\n",
            if device == TUNNEL { devices().mtu } else { 1500 }
        )
    };
    script += &up(TUNNEL);
    script += &up(WAN);
    script += &format!("ip addr add {}/32 dev {TUNNEL}; ip addr add 203.0.113.2/24 dev {WAN}\n", policy.address);
    script += "ip route add default dev wan0; ip -6 route add default dev wan0\n";
    for segment in policy.departments.iter().filter_map(|department| department.segment.as_ref()) {
        script += &up(&segment.device);
        for gateway in &segment.gateway {
            let nodad = if Family::of(gateway.address()) == Family::V6 { "nodad" } else { "" };
            script += &format!("ip addr add {gateway} dev {} {nodad}\n", segment.device);
        }
    }
    script += "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding";
    script
}

fn routes(policy: &Policy) -> String {
    let mut script = String::new();
    for family in ["-4", "-6"] {
        script += &format!(
            "ip {family} rule add pref 100 fwmark 0x80000000/0x80000000 lookup 200
             ip {family} rule add pref 110 iif {TUNNEL} fwmark 0/0x80000000 unreachable\n"
        );
    }
    for segment in policy.departments.iter().filter_map(|department| department.segment.as_ref()) {
        for family in ["-4", "-6"] {
            let device = &segment.device;
            script += &format!("ip {family} rule add pref 110 iif {device} fwmark 0/0x80000000 unreachable\n");
        }
    }
    script += &format!("ip rule add pref 120 iif lo to {} lookup 200\n", policy.management);
    script += &format!("ip route add {} dev {TUNNEL} table 200 src {}\n", policy.management, policy.address);
    for prefix in OVERLAY {
        let family = if prefix.contains(':') { "-6" } else { "-4" };
        script += &format!("ip {family} route add unreachable {prefix} metric 4000\n");
    }
    let away = policy.departments.iter().filter(|department| department.segment.is_none());
    let prefixes: Vec<Prefix> = away.flat_map(|department| department.overlay.clone()).collect();
    for prefix in prefixes {
        let family = if prefix.family() == Family::V6 { "-6" } else { "-4" };
        script += &format!("ip {family} route add {prefix} dev {TUNNEL} table 200\n");
    }
    script
}
