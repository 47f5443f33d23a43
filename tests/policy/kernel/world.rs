//! Two edges and the hub between them as kernels of their own, with the test in the place of every wire.
//!
//! ```text
//!  eth1 eth2        tp0    tp0        tp0    tp0        eth1 eth2
//!     └─ e0 ──────────┴─────┴── hub ───┴──────┴────────── e1 ─┘
//!                               eth1 (gov)
//! ```
//!
//! A packet is carried from wire to wire as far as it gets: a batch goes through the first gateways of all its ways, then
//! what came out through the second ones, then through the third.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use turnpike::bundle::Policy;
use turnpike::policy::{self, model::Model};
use turnpike::ruleset::{self, Ruleset};

use super::case::{Part, Shot};
use super::packet::{self, Ends, Seen};
use super::router::{Router, TUNNEL, WAN, compile};

/// The gateways that are real here.
pub const NAMES: [&str; 3] = ["e0", "hub", "e1"];

/// Something to spoil before the kernel gets it, to see whether it is noticed.
pub struct Mutant {
    pub policy: fn(&mut Policy),
    pub script: &'static str,
}

/// Spoils nothing.
pub const NONE: Mutant = Mutant { policy: |_| (), script: "" };

/// What came of a shot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Addresses of each packet that came out where the way ends.
    pub arrived: Vec<Ends>,
    /// The addresses in what an ICMP error quotes.
    pub quoted: Option<Ends>,
    /// Where else something of it came out.
    pub astray: Vec<String>,
}

pub struct World<'a> {
    gateways: Vec<(Router, Ruleset)>,
    /// Addresses from which the kernels speak themselves.
    own: BTreeSet<IpAddr>,
    mutant: &'a Mutant,
}

/// Packets on their way: which gateway, by which device, of which shot.
type Carried = Vec<(usize, String, usize, Vec<u8>)>;

impl<'a> World<'a> {
    pub fn new(model: &Model, mutant: &'a Mutant) -> Self {
        let policies = compiled(model, mutant);
        let own = policies.iter().flat_map(|policy| {
            let segments = policy.departments.iter().filter_map(|department| department.segment.as_ref());
            let gateways = segments.flat_map(|segment| segment.gateway.iter().map(|gateway| gateway.address()));
            gateways.chain([policy.address, [203, 0, 113, 2].into()]).collect::<Vec<_>>()
        });
        let own = own.collect();
        let gateways = policies.into_iter().map(|policy| (Router::new(&policy), compile(&policy))).collect();
        let world = Self { gateways, own, mutant };
        for (router, _) in &world.gateways {
            router.shell("for f in udp generic icmp icmpv6; do echo 3600 > /proc/sys/net/netfilter/nf_conntrack_${f}_timeout; done");
            if !mutant.script.is_empty() {
                router.shell(mutant.script);
            }
        }
        world
    }

    /// Brings the gateways from one definition to the next, by what differs.
    pub fn change(&mut self, model: &Model) {
        for ((router, before), policy) in self.gateways.iter_mut().zip(compiled(model, self.mutant)) {
            let after = compile(&policy);
            router.nft.apply(&ruleset::diff(before, &after)).expect("a diff");
            *before = after;
        }
    }

    /// Sends a batch on its ways.
    pub fn run(&self, shots: &[Shot]) -> Vec<Outcome> {
        let mut outcomes = vec![Outcome::default(); shots.len()];
        let first = shots[0].id;
        let mut carried: Carried = Vec::new();
        for (number, shot) in shots.iter().enumerate() {
            let stop = &shot.way.stops[0];
            let packets = shot.packets().into_iter();
            carried.extend(packets.map(|packet| (stop.gateway, stop.enter.clone(), number, packet)));
        }
        for hop in 0..NAMES.len() {
            for (gateway, device, _, packet) in carried.drain(..) {
                self.gateways[gateway].0.write(&device, &packet);
            }
            for (gateway, device, packet) in self.drain() {
                let tail = packet.last_chunk::<4>().map_or(0, |tail| u32::from_be_bytes(*tail));
                let number = usize::try_from(tail.wrapping_sub(first)).expect("a number");
                let (Some(shot), Some(seen)) = (shots.get(number), packet::read(&packet)) else { continue };
                if self.own.contains(&seen.ends.source) || expired(shot, &device, &seen) {
                    continue; // an error of the gateway's own quotes the packet that it is about
                }
                match shot.way.stops.get(hop) {
                    Some(stop) if (stop.gateway, &stop.leave) == (gateway, &device) => {
                        match shot.way.stops.get(hop + 1) {
                            Some(next) => carried.push((next.gateway, next.enter.clone(), number, packet)),
                            None => {
                                outcomes[number].arrived.push(seen.ends);
                                if matches!(shot.part, Part::Error { .. }) {
                                    outcomes[number].quoted = quoted(&seen.rest);
                                }
                            }
                        }
                    }
                    Some(_) | None => {
                        outcomes[number].astray.push(format!("{} at {}: {:?}", device, NAMES[gateway], seen.ends))
                    }
                }
            }
        }
        outcomes
    }

    /// Everything that waits at any wire.
    fn drain(&self) -> Vec<(usize, String, Vec<u8>)> {
        let mut found = Vec::new();
        for (gateway, (router, _)) in self.gateways.iter().enumerate() {
            for device in ["eth1", "eth2", TUNNEL, WAN].into_iter().filter(|device| router.has(device)) {
                let packets = std::iter::from_fn(|| router.read(device));
                found.extend(packets.map(|packet| (gateway, device.to_owned(), packet)));
            }
        }
        found
    }
}

/// Whether it tells the sender that the time to live was over. A mapped destination shows the error as its own.
fn expired(shot: &Shot, device: &str, seen: &Seen) -> bool {
    let back = shot.way.stops.iter().any(|stop| stop.enter == device);
    back && shot.case.ttl < 64 && matches!((seen.protocol, seen.rest[0]), (1, 11) | (58, 3))
}

fn quoted(error: &[u8]) -> Option<Ends> {
    packet::read(error.get(8..)?).map(|seen| seen.ends)
}

fn compiled(model: &Model, mutant: &Mutant) -> Vec<Policy> {
    let mut policies: BTreeMap<String, Policy> =
        policy::compile(model).into_iter().map(|(name, policy)| (name.to_string(), policy.at(model.at))).collect();
    let mut policies: Vec<Policy> = NAMES.iter().map(|name| policies.remove(*name).expect("its policy")).collect();
    policies.iter_mut().for_each(|policy| (mutant.policy)(policy));
    policies
}
