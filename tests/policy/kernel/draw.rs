//! What to send: first packets at the edges of what is allowed, and strays that belong nowhere.

use std::net::IpAddr;

use turnpike::identity::Qualified;
use turnpike::net::{Family, Icmp, PortMatch};
use turnpike::policy::model::{Department, Model};

use super::case::{Case, Shape};
use super::network::{CANARY_PORT, PORTS, host};
use super::packet::{ACK, Ends, SYN};
use super::random::Random;
use super::router::{TUNNEL, WAN};
use super::way::{Map, Stop, Way, of_family};
use super::world::NAMES;

/// A packet from one department to another, and what it may be aimed at.
struct Aimed<'a> {
    ends: Ends,
    from: &'a Department,
    to: &'a Department,
    port: Option<PortMatch>,
    /// From the service to its client.
    answers: bool,
}

/// A first packet, through one gateway or all of its way; `fresh` is a port that no flow has had.
pub fn first(random: &mut Random, model: &Model, fresh: u16) -> Option<(Way, Case)> {
    let aimed = if random.one_in(4) { anywhere(random, model)? } else { at_an_agreement(random, model)? };
    let (protocol, port) = kind(random, &aimed);
    // Where nothing but the addresses tells flows apart, one to the overlay address and one back from the real one are in
    // each other's way: the mapping would make them one.
    let at_real = !matches!(protocol, 1 | 6 | 17 | 58) || random.one_in(2);
    let Aimed { ends, from, to, answers, .. } = aimed;
    let map = Map { model };
    let way = match random.below(5) {
        0 | 1 => map.whole(ends, from, to, at_real)?,
        gateway => map.alone(gateway - 2, ends, from, to, at_real)?,
    };
    let ports = match protocol {
        1 | 58 => (port, port),
        _ if answers != random.one_in(8) => (port, fresh),
        _ => (fresh, port),
    };
    let flags = random.pick(&[SYN, SYN, SYN, SYN, ACK, ACK, SYN | ACK, ACK | 8, 4, 1, 0, SYN | 1, 0x3f]);
    let ttl = if random.one_in(16) { random.pick(&[1, 2, 3, 4]) } else { 64 };
    let shape = match random.below(32) {
        0 if protocol == 17 => Shape::Fragments { reversed: random.one_in(2) },
        1 if protocol == 17 => Shape::Incomplete,
        2 => Shape::Options,
        _ => Shape::Whole,
    };
    Some((way, Case { protocol, ports, flags, ttl, exchange: fresh, shape }))
}

/// The canary's packet: from its client to its service, by the whole way or one gateway of it.
pub fn canary(random: &mut Random, model: &Model, fresh: u16) -> (Way, Case) {
    let ports = &PortMatch::Ports { protocol: turnpike::net::Protocol::UDP, first: CANARY_PORT, last: CANARY_PORT };
    let service = model.services.iter().find(|service| service.ports.first() == Some(ports)).expect("the canary's");
    let destination = *service.overlay_hosts.iter().find(|host| host.is_ipv4()).expect("in IPv4");
    let map = Map { model };
    let to = map.home(destination).expect("its department");
    let from = model.departments.iter().find(|department| department.number == 1).expect("its client");
    let prefix = of_family(from, Family::V4).expect("in IPv4").overlay;
    let ends = Ends { source: host(prefix, 5), destination };
    let way = match random.below(4) {
        0 => map.whole(ends, from, to, false),
        gateway => map.alone(gateway - 1, ends, from, to, false),
    };
    let case = Case { protocol: 17, ports: (fresh, CANARY_PORT), flags: 0, ttl: 64, exchange: 0, shape: Shape::Whole };
    (way.expect("a way"), case)
}

/// Between any two departments.
fn anywhere<'a>(random: &mut Random, model: &'a Model) -> Option<Aimed<'a>> {
    let from = &model.departments[random.below(model.departments.len())];
    let to = &model.departments[random.below(model.departments.len())];
    let mapping = random.pick(&from.mappings);
    let target = of_family(to, mapping.overlay.family())?;
    let source = some_address(random, mapping.overlay);
    let destination = host(target.overlay, random.pick(&[2, 3, 9, -1, -2, -3]));
    (from.name != to.name).then_some(Aimed { ends: Ends { source, destination }, from, to, port: None, answers: false })
}

/// From an agreement's consumer to its service, or back.
fn at_an_agreement<'a>(random: &mut Random, model: &'a Model) -> Option<Aimed<'a>> {
    let agreement = &model.agreements[random.below(model.agreements.len())];
    let service = model.services.iter().find(|service| service.name == agreement.service)?;
    let named = |name: &Qualified| model.departments.iter().find(|department| department.name == *name);
    let (client, server) =
        (named(agreement.from.get(random.below(agreement.from.len().max(1)))?)?, named(&service.department)?);
    let destination = random.pick(&service.overlay_hosts);
    let mapping = of_family(client, Family::of(destination))?;
    let ends = Ends { source: some_address(random, mapping.overlay), destination };
    let port = (!random.one_in(6)).then(|| random.pick(&service.ports));
    if client.name == server.name {
        return None;
    }
    Some(if random.one_in(4) {
        Aimed { ends: ends.back(), from: server, to: client, port, answers: true }
    } else {
        Aimed { ends, from: client, to: server, port, answers: false }
    })
}

/// First and last address, their neighbours outside, and where services are.
fn some_address(random: &mut Random, prefix: turnpike::net::Prefix) -> IpAddr {
    match random.below(24) {
        0 => host(prefix, -1),
        1 => step(host(prefix, 0), false),
        2 => step(host(prefix, -1), true),
        3 => host(prefix, 0),
        _ => host(prefix, random.pick(&[2, 3, 4, 9, -2, -3])),
    }
}

fn step(address: IpAddr, up: bool) -> IpAddr {
    match (address, up) {
        (IpAddr::V4(a), true) => (u32::from(a) + 1).to_be_bytes().into(),
        (IpAddr::V4(a), false) => (u32::from(a) - 1).to_be_bytes().into(),
        (IpAddr::V6(a), true) => (u128::from(a) + 1).to_be_bytes().into(),
        (IpAddr::V6(a), false) => (u128::from(a) - 1).to_be_bytes().into(),
    }
}

/// Protocol and port at the edge of what `port` grants, or anything.
fn kind(random: &mut Random, aimed: &Aimed) -> (u8, u16) {
    let v4 = aimed.ends.source.is_ipv4();
    let (icmp, echo, reply) = if v4 { (1, 8, 0) } else { (58, 128, 129) };
    match aimed.port {
        Some(PortMatch::Ports { protocol, first, last }) => {
            let protocol = if random.one_in(8) { random.pick(&[6, 17, 132]) } else { protocol.0 };
            (protocol, random.pick(&[first, first, last, last, first - 1, last.wrapping_add(1)]))
        }
        Some(PortMatch::Icmp(Icmp::EchoRequest)) => (icmp, if aimed.answers { reply } else { echo }),
        Some(PortMatch::Icmp(Icmp::TimestampRequest)) if v4 => (icmp, if aimed.answers { 14 } else { 13 }),
        Some(PortMatch::Protocol(protocol)) => (protocol.0, 0),
        Some(PortMatch::Icmp(_) | PortMatch::Any) | None => {
            let protocol = random.pick(&[6, 6, 6, 17, 17, icmp, 47, 50, 51, 89, 132]);
            let types: &[u16] = if v4 { &[8, 0, 13, 14, 15, 17] } else { &[128, 129] };
            (protocol, if protocol == icmp { random.pick(types) } else { random.pick(&PORTS) })
        }
    }
}

/// What no definition can allow: sources and destinations that have no business where they are.
pub fn stray(random: &mut Random, model: &Model, fresh: u16) -> Option<(Way, Case)> {
    let gateway = random.below(NAMES.len());
    let here = |department: &&Department| department.at.as_str() == NAMES[gateway];
    let locals: Vec<&Department> = model.departments.iter().filter(here).collect();
    let enter = match random.below(4) {
        0 => WAN.to_owned(),
        1 => TUNNEL.to_owned(),
        _ => locals[random.below(locals.len())].device.clone(),
    };
    let services: Vec<_> =
        model.services.iter().flat_map(|service| service.hosts.iter().zip(&service.overlay_hosts)).collect();
    let (real, overlay) = random.pick(&services);
    let from = locals.iter().find(|department| department.device == enter);
    let inside =
        |address: IpAddr| from.is_some_and(|from| from.mappings.iter().any(|mapping| mapping.real.contains(address)));
    let genuine = from.and_then(|from| of_family(from, Family::of(*overlay))).map(|mapping| host(mapping.real, 3));
    let ends = if random.one_in(2) {
        let source: IpAddr = random.pick(nowhere(overlay.is_ipv4())).parse().expect("an address");
        Ends { source, destination: *overlay }
    } else {
        let far = if enter == TUNNEL && !random.one_in(3) {
            *real
        } else {
            random.pick(nowhere(overlay.is_ipv4())).parse().expect("an address")
        };
        // From the tunnel, what is real to nobody: an overlay address is no one's real one.
        let hidden = far != *real || real != overlay;
        let source = genuine.or_else(|| (enter == TUNNEL).then_some(*overlay)).filter(|_| hidden)?;
        Ends { source, destination: far }
    };
    if inside(ends.source) && inside(ends.destination)
        || enter != WAN && inside(ends.source) && ends.destination == *overlay
    {
        return None;
    }
    let protocol = random.pick(&[6, 17]);
    let case =
        Case { protocol, ports: (fresh, random.pick(&PORTS)), flags: SYN, ttl: 64, exchange: 0, shape: Shape::Whole };
    let stop = Stop { gateway, enter, leave: String::new(), tracked: true, genuine: false };
    Some((Way { stops: vec![stop], ends, written: ends, shown: ends }, case))
}

/// Addresses that belong to no department: of this host, of nobody, of groups, of the world, of gateways.
fn nowhere(v4: bool) -> &'static [&'static str] {
    if v4 {
        &[
            "127.0.0.1",
            "0.0.0.0",
            "224.0.0.5",
            "255.255.255.255",
            "203.0.113.2",
            "198.51.100.7",
            "100.127.0.9",
            "100.127.0.1",
            "192.168.0.1",
            "10.1.2.3",
            "100.64.0.1",
            "169.254.1.1",
        ]
    } else {
        &["::1", "::", "ff02::5", "fe80::1", "2001:db8::7", "fd64::ffff:0:0:0:1", "fd00:1::1"]
    }
}
