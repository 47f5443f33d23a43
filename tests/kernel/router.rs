//! A gateway without tunnels: its kernel half in a namespace, with a TUN device in the place of every wire.
//!
//! What is written into `tp0` comes from the tunnel, what is read from it would be sealed. The kernel forwards a
//! packet before `write` returns, so whatever it lets through can be read at once.

use std::collections::BTreeMap;
use std::io::IoSlice;

use turnpike::bundle::Policy;
use turnpike::gateway::routing;
use turnpike::lab::guard::Namespace;
use turnpike::net::Family;
use turnpike::reconcile::{Address, State};
use turnpike::ruleset::{Counters, Devices, Ruleset};
use turnpike::sys::netns::Handle;
use turnpike::sys::nftables::Nft;
use turnpike::sys::tun::{HEADER, ROOM, Tun};

use super::packet::{self, Seen};

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
        let state = routing::desired(policy, TUNNEL, &[Family::V4, Family::V6]);
        router.shell(&addresses(policy, &state));
        router.shell(&routes(&state));
        router.nft.load(&compile(policy)).expect("a load");
        router
    }

    pub fn shell(&self, script: &str) {
        self.space.run("sh", ["-e", "-c", script]).expect("a script");
    }

    /// Whether it has this device.
    pub fn has(&self, device: &str) -> bool {
        self.wires.contains_key(device)
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

/// The devices of every gateway here.
pub fn devices() -> Devices {
    Devices { tunnel: TUNNEL.into(), mtu: 1420, wans: vec![WAN.into()] }
}

pub fn compile(policy: &Policy) -> Ruleset {
    Ruleset::compile(policy, &devices()).expect("it compiles")
}

fn addresses(policy: &Policy, state: &State) -> String {
    let mut script = String::from(
        "echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter; echo 0 > /proc/sys/net/ipv4/conf/default/rp_filter
         echo 0 > /proc/sys/net/ipv4/conf/all/send_redirects
         for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $f; done\n",
    );
    let segments = policy.departments.iter().filter_map(|department| department.segment.as_ref());
    let mut wires: Vec<&str> = segments.map(|segment| segment.device.as_str()).chain([TUNNEL, WAN]).collect();
    wires.sort_unstable();
    wires.dedup();
    let mut words = String::new();
    for device in wires {
        script += &format!("echo 1 > /proc/sys/net/ipv6/conf/{device}/addr_gen_mode\n");
        let mtu = if device == TUNNEL { devices().mtu } else { 1500 };
        words += &format!("link set {device} mtu {mtu} up txqueuelen 4000\n");
    }
    words += &format!("addr add 203.0.113.2/24 dev {WAN}\nroute add default dev {WAN}\nroute add ::/0 dev {WAN}\n");
    for Address { device, address } in &state.addresses {
        let nodad = if Family::of(address.address()) == Family::V6 { "nodad" } else { "" };
        words += &format!("addr add {address} dev {device} {nodad}\n");
    }
    script += &format!("ip -batch - <<'.'\n{words}.\n");
    script += "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding";
    script
}

/// What the gateway would ask of the kernel, in the words of `ip`, which are those in which it is told.
fn routes(state: &State) -> String {
    let batch = |family: Family| {
        let rules = state.rules.iter().filter(|rule| rule.family == family).map(|rule| {
            let text = rule.to_string();
            let (priority, rest) = text.split_once(": ").expect("a priority");
            format!("rule add pref {priority} {}\n", rest.trim_end_matches(" (IPv6)"))
        });
        let routes = state.routes.iter().filter(|route| route.prefix.family() == family);
        let routes = routes.map(|route| format!("route add {route} metric 4000\n"));
        format!("ip {} -batch - <<'.'\n{}.\n", option(family), rules.chain(routes).collect::<String>())
    };
    batch(Family::V4) + &batch(Family::V6)
}

fn option(family: Family) -> &'static str {
    match family {
        Family::V4 => "-4",
        Family::V6 => "-6",
    }
}
