//! The evaluator against the kernel: random networks, packets at the edges of what is allowed, one verdict.
//!
//! ```text
//!  seed ─▶ Model ─┬─▶ policy::evaluate ───────────────────────────────▶ expected ─┐
//!                 └─▶ policy::compile ─▶ ruleset ─▶ nft ─▶ TUN → TUN ─▶ survived ─┴─▶ equal?
//! ```
//!
//! `TURNPIKE_SEED` repeats a run, `TURNPIKE_SECONDS` lengthens it. What connection tracking makes of a first packet
//! is part of the expectation: see [`Case::expected`].

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use turnpike::bundle::{Match, Policy};
use turnpike::identity::Qualified;
use turnpike::lab::guard::skip;
use turnpike::net::{Aim, Family, Flow, Icmp, PortMatch, Prefix, Protocol};
use turnpike::policy::model::{self, Model};
use turnpike::policy::{self, Evaluator, Reason, Verdict};
use turnpike::ruleset;

use crate::packet::{self, ACK, Ends, SYN};
use crate::place::{self, Gateway, origin, parse};
use crate::router::{Router, TUNNEL, compile};

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).expect("a number")).expect("a number")
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
}

const PORTS: [u16; 6] = [1, 80, 443, 5000, 5100, 9000];
const HOSTS: [u128; 5] = [0, 20, 21, 254, 255];
const CANARY: &str = "100.64.3.77";

fn some_ports(random: &mut Random) -> PortMatch {
    let protocol = random.pick(&[Protocol::TCP, Protocol::TCP, Protocol::UDP, Protocol::SCTP]);
    let first = random.pick(&PORTS);
    match random.below(12) {
        0 => PortMatch::Any,
        1 => PortMatch::Protocol(Protocol::ESP),
        2 => PortMatch::Icmp(Icmp::EchoRequest),
        3 => PortMatch::Icmp(Icmp::TimestampRequest),
        4 | 5 => PortMatch::Ports { protocol, first, last: first + 9 },
        6 | 7 => PortMatch::Ports { protocol, first, last: first + 900 },
        _ => PortMatch::Ports { protocol, first, last: first },
    }
}

fn host(prefix: Prefix, at: u128) -> IpAddr {
    match prefix.address() {
        IpAddr::V4(first) => (u32::from(first) | u32::try_from(at).expect("a host")).to_be_bytes().into(),
        IpAddr::V6(first) => (u128::from(first) | at).to_be_bytes().into(),
    }
}

fn service(random: &mut Random, number: u32, of: &model::Department) -> model::Service {
    let (mut hosts, mut overlay_hosts) = (Vec::new(), Vec::new());
    for mapping in &of.mappings {
        let at = random.pick(&HOSTS);
        hosts.push(host(mapping.real, at));
        overlay_hosts.push(host(mapping.overlay, at));
    }
    let mut ports: Vec<PortMatch> = (0..=random.below(3)).map(|_| some_ports(random)).collect();
    ports.sort_unstable();
    ports.dedup();
    let name = parse(&format!("{}/s{number}", of.name.council));
    model::Service { number, name, department: of.name.clone(), hosts, overlay_hosts, ports, origin: origin() }
}

fn agreement(number: u32, service: &model::Service, from: &model::Department) -> model::Agreement {
    model::Agreement {
        number,
        id: parse(&format!("A-{number}")),
        service: service.name.clone(),
        from: vec![from.name.clone()],
        apart: Vec::new(),
        councils: Vec::new(),
        consents: Vec::new(),
        class: parse("routine"),
        not_before: None,
        not_after: None,
        hours: "always".into(),
        reference: None,
        void: Vec::new(),
        origin: origin(),
    }
}

/// Never denies the canary.
fn guardrail(random: &mut Random, number: usize, services: &[model::Service]) -> model::Guardrail {
    let port = |first| PortMatch::Ports { protocol: Protocol::TCP, first, last: first + 1 };
    let deny = match random.below(4) {
        0 => model::Subject::Any,
        1 => model::Subject::Council(parse("leeds")),
        2 => model::Subject::Department(parse("york/a")),
        _ => model::Subject::Prefix(parse("100.64.1.0/25")),
    };
    let to = match random.below(4) {
        0 => model::Object::Port(port(random.pick(&PORTS))),
        1 => model::Object::Service(random.pick(services).name),
        2 => model::Object::Department(parse("leeds/b")),
        _ => model::Object::Prefix(parse("100.64.3.20/32")),
    };
    model::Guardrail { id: parse(&format!("G-{number}")), deny, to, why: None, origin: origin() }
}

fn network(random: &mut Random) -> Model {
    let departments = place::model(Vec::new(), Vec::new(), Vec::new()).departments;
    let mut services: Vec<model::Service> = Vec::new();
    let mut agreements = Vec::new();
    for number in 2..14 {
        let of = random.pick(&departments);
        services.push(service(random, number, &of));
    }
    for number in 2..30 {
        let of = random.pick(&services);
        let from = random.pick(&departments);
        if of.department != from.name {
            agreements.push(agreement(number, &of, &from));
        }
    }
    let guardrails = (1..=random.below(4)).map(|number| guardrail(random, number, &services)).collect();
    let canary = model::Service {
        number: 1,
        name: parse("york/canary"),
        department: parse("york/a"),
        hosts: vec![parse("192.168.1.77")],
        overlay_hosts: vec![parse(CANARY)],
        ports: vec![parse("udp/7")],
        origin: origin(),
    };
    let leeds = departments.iter().find(|department| department.number == 1).expect("Leeds");
    agreements.push(agreement(1, &canary, leeds));
    services.push(canary);
    services.sort_by(|a, b| a.name.cmp(&b.name));
    agreements.sort_by(|a, b| a.id.cmp(&b.id));
    place::model(services, agreements, guardrails)
}

/// Where a packet goes in and where it would come out.
#[derive(Clone, Debug)]
struct Way {
    from: String,
    to: String,
    /// In overlay terms.
    ends: Ends,
    /// As written into `from`.
    written: Ends,
    /// Whether connection tracking sees it.
    tracked: bool,
    /// Whether the source belongs where it comes from.
    genuine: bool,
}

#[derive(Clone, Debug)]
struct Case {
    way: Way,
    protocol: u8,
    /// Source and destination port, or the ICMP type twice.
    ports: (u16, u16),
    flags: u8,
    ttl: u8,
}

impl Case {
    fn is_icmp(&self) -> bool {
        matches!(self.protocol, 1 | 58)
    }

    fn flow(&self) -> Flow {
        let aim = match self.protocol {
            6 | 17 | 132 => Aim::Port(self.ports.1),
            1 | 58 => Aim::Icmp(self.ports.1.to_be_bytes()[1]),
            _ => Aim::Nothing,
        };
        let Ends { source, destination } = self.way.ends;
        Flow { source, destination, protocol: Protocol(self.protocol), aim }
    }

    /// The flow of which this would be the answer.
    fn answered(&self) -> Flow {
        let aim = match self.protocol {
            6 | 17 | 132 => Aim::Port(self.ports.0),
            1 | 58 => Aim::Icmp(match self.ports.1 {
                0 => 8,
                14 => 13,
                129 => 128,
                _ => 255,
            }),
            _ => Aim::Nothing,
        };
        let Ends { source, destination } = self.way.ends.back();
        Flow { source, destination, protocol: Protocol(self.protocol), aim }
    }

    /// What the kernel should do. All flows are new, except those of protocols without ports, which have nothing to
    /// tell one from another: `open` holds what passed before.
    fn expected(&self, evaluator: &Evaluator, open: &HashSet<(Ends, u8)>) -> bool {
        let (there, back) = (evaluator.evaluate(&self.flow()), evaluator.evaluate(&self.answered()).allows());
        let guarded = matches!(there, Verdict::Deny(Reason::Guardrail(_)));
        let there = there.allows();
        if !self.way.genuine || self.ttl <= 1 {
            return false;
        }
        if !self.way.tracked {
            return there || back && !(self.protocol == 6 && self.flags & (SYN | ACK) == SYN);
        }
        match self.protocol {
            // nf_conntrack_proto_tcp.c: of an unknown connection only SYN and ACK are valid; PSH, URG do not count.
            6 if self.flags & 0x17 == SYN => there,
            6 if self.flags & 0x17 == ACK => there || back && !guarded,
            6 => false,
            17 => there,
            // nf_conntrack_proto_icmp.c: only queries begin a connection.
            1 => there && matches!(self.ports.1, 8 | 13 | 15 | 17),
            58 => there && self.ports.1 == 128,
            _ => there || back && open.contains(&(self.way.ends.back(), self.protocol)),
        }
    }

    fn packet(&self, id: u32) -> Vec<u8> {
        let (ends, id) = (self.way.written, id.to_be_bytes());
        let echo = [id[2], id[3], 0, 0];
        match self.protocol {
            6 => packet::tcp(ends, self.ports, self.flags, &id),
            17 => packet::udp_of_ttl(ends, self.ports, &id, self.ttl),
            1 | 58 => packet::icmp(ends, self.ports.1.to_be_bytes()[1], 0, echo, &id),
            132 => {
                let ports = [self.ports.0.to_be_bytes(), self.ports.1.to_be_bytes()].concat();
                packet::bare(ends, 132, &[&ports[..], &[0; 8], &id].concat())
            }
            protocol => packet::bare(ends, protocol, &[&[0; 8][..], &id].concat()),
        }
    }
}

/// First and last address, their neighbours outside, and where services are.
fn some_address(random: &mut Random, prefix: Prefix) -> IpAddr {
    let last: u128 = if prefix.family() == Family::V4 { 255 } else { u128::from(u64::MAX) };
    match random.below(24) {
        0 => step(host(prefix, 0), false),
        1 => step(host(prefix, last), true),
        2 => host(prefix, last),
        3 => host(prefix, 0),
        _ => host(prefix, random.pick(&HOSTS)),
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

/// A packet from one department to another, and what it may be aimed at.
struct Aimed {
    ends: Ends,
    from: model::Department,
    to: model::Department,
    port: Option<PortMatch>,
    /// From the service to its client.
    answers: bool,
}

/// Between any two departments.
fn anywhere(random: &mut Random, model: &Model) -> Option<Aimed> {
    let (from, to) = (random.pick(&model.departments), random.pick(&model.departments));
    let mapping = random.pick(&from.mappings);
    let target = to.mappings.iter().find(|other| other.overlay.family() == mapping.overlay.family())?;
    let source = some_address(random, mapping.overlay);
    let destination = host(target.overlay, random.pick(&HOSTS));
    Some(Aimed { ends: Ends { source, destination }, from, to, port: None, answers: false })
}

/// From an agreement's consumer to its service, or back.
fn at_an_agreement(random: &mut Random, model: &Model) -> Option<Aimed> {
    let agreement = random.pick(&model.agreements);
    let service = model.services.iter().find(|service| service.name == agreement.service)?;
    let named = |name: &Qualified| model.departments.iter().find(|department| department.name == *name).cloned();
    let (client, server) = (named(&agreement.from[0])?, named(&service.department)?);
    let destination = random.pick(&service.overlay_hosts);
    let mapping = client.mappings.iter().find(|mapping| mapping.overlay.family() == Family::of(destination))?;
    let ends = Ends { source: some_address(random, mapping.overlay), destination };
    let port = (!random.one_in(6)).then(|| random.pick(&service.ports));
    Some(if random.one_in(4) {
        Aimed { ends: ends.back(), from: server, to: client, port, answers: true }
    } else {
        Aimed { ends, from: client, to: server, port, answers: false }
    })
}

/// As this gateway meets it; `None` if it does not. A neighbour's service is asked at its `real` or its overlay address.
fn way(aimed: &Aimed, model: &Model, at: Gateway, real_destination: bool) -> Option<Way> {
    let Aimed { ends, from, to, .. } = aimed;
    let here = |department: &model::Department| department.at.as_str() == at.name();
    // A step beside a prefix leads into the next one.
    let home = |address: IpAddr| {
        let has = |of: &&model::Department| of.mappings.iter().any(|mapping| mapping.overlay.contains(address));
        model.departments.iter().find(has).map(|department| &department.at)
    };
    let homes = (home(ends.source), home(ends.destination));
    let neighbours = from.at == to.at || homes.0.is_some() && homes.0 == homes.1;
    let met = here(from) || here(to);
    if from.name == to.name || (at != Gateway::Hub || neighbours) && !met {
        return None;
    }
    let mapping = |of: &model::Department| {
        of.mappings.iter().find(|mapping| mapping.overlay.family() == Family::of(ends.source)).copied()
    };
    let real = mapping(from).and_then(|mapping| mapping.overlay.translate(ends.source, mapping.real));
    let stands_here = |address: IpAddr| {
        let mut own = model.departments.iter().filter(|department| here(department)).flat_map(|own| &own.mappings);
        own.any(|mapping| mapping.overlay.contains(address))
    };
    let elsewhere =
        if here(to) { !mapping(to)?.overlay.contains(ends.destination) } else { stands_here(ends.destination) };
    if elsewhere {
        return None; // a neighbouring prefix, on another wire
    }
    // A subnet's broadcast address, and in IPv6 its routers' anycast address, are no host's.
    let nobody = |of: &model::Department, address: IpAddr| {
        let special = |prefix: Prefix| if address.is_ipv4() { prefix.last() } else { prefix.address() };
        here(of) && mapping(of).is_some_and(|mapping| special(mapping.overlay) == address)
    };
    let asked = mapping(to).filter(|_| neighbours && real_destination);
    let asked = asked.and_then(|mapping| mapping.overlay.translate(ends.destination, mapping.real));
    let written = Ends { destination: asked.unwrap_or(ends.destination), ..*ends };
    let device = |of: &model::Department| if here(of) { of.device.clone() } else { TUNNEL.to_owned() };
    Some(Way {
        from: device(from),
        to: device(to),
        ends: *ends,
        written: if here(from) { Ends { source: real.unwrap_or(ends.source), ..written } } else { written },
        tracked: met,
        genuine: (if here(from) { real.is_some() } else { !stands_here(ends.source) })
            && !nobody(from, ends.source)
            && !nobody(to, ends.destination),
    })
}

/// Protocol and port at the edge of what `port` grants, or anything.
fn kind(random: &mut Random, v4: bool, aimed: &Aimed) -> (u8, u16) {
    let (icmp, echo, reply) = if v4 { (1, 8, 0) } else { (58, 128, 129) };
    match aimed.port {
        Some(PortMatch::Ports { protocol, first, last }) => {
            let protocol = if random.one_in(8) { random.pick(&[6, 17, 132]) } else { protocol.0 };
            (protocol, random.pick(&[first, first, last, last, first - 1, last + 1]))
        }
        Some(PortMatch::Icmp(Icmp::EchoRequest)) => (icmp, if aimed.answers { reply } else { echo }),
        Some(PortMatch::Icmp(Icmp::TimestampRequest)) if v4 => (icmp, if aimed.answers { 14 } else { 13 }),
        Some(PortMatch::Protocol(protocol)) => (protocol.0, 0),
        Some(PortMatch::Icmp(_) | PortMatch::Any) | None => {
            let protocol = random.pick(&[6, 6, 6, 17, 17, icmp, 50, 89, 132]);
            let types: &[u16] = if v4 { &[8, 0, 13, 14, 15, 17] } else { &[128, 129] };
            (protocol, if protocol == icmp { random.pick(types) } else { random.pick(&PORTS) })
        }
    }
}

fn case(random: &mut Random, model: &Model, at: Gateway, fresh: u16) -> Option<Case> {
    let aimed = if random.one_in(4) { anywhere(random, model)? } else { at_an_agreement(random, model)? };
    let (protocol, port) = kind(random, aimed.ends.source.is_ipv4(), &aimed);
    // Where nothing but the addresses tells flows apart, one to the overlay address and one back from the real one are in
    // each other's way: the mapping would make them one.
    let real_destination = !matches!(protocol, 1 | 6 | 17 | 58) || random.one_in(2);
    let way = way(&aimed, model, at, real_destination)?;
    if protocol == 132 && way.tracked {
        return None; // a first packet needs an INIT chunk with a checksum of its own
    }
    let ports = match protocol {
        1 | 58 => (port, port),
        _ if aimed.answers != random.one_in(8) => (port, fresh),
        _ => (fresh, port),
    };
    let flags = random.pick(&[SYN, SYN, SYN, ACK, ACK, SYN | ACK, ACK | 8, 4, 1, 0, SYN | 1, 0x3f]);
    let ttl = if protocol == 17 && random.one_in(16) { 1 } else { 64 };
    Some(Case { way, protocol, ports, flags, ttl })
}

/// Whether the packet with this number came out.
fn survived(router: &Router, case: &Case, id: u32) -> bool {
    router.write(&case.way.from, &case.packet(id));
    let mut found = false;
    while let Some(packet) = router.read(&case.way.to) {
        let ours = packet.ends_with(&id.to_be_bytes());
        let same = packet::read(&packet).is_some_and(|seen| seen.protocol == case.protocol);
        // An ICMP error quotes the packet that it is about.
        let quotes = case.is_icmp() && packet::read(&packet).is_some_and(|seen| matches!(seen.rest[0], 3 | 11));
        found |= ours && same && !quotes;
    }
    found
}

fn canary(at: Gateway, fresh: u16) -> Case {
    let overlay = Ends::new("100.64.1.5", CANARY);
    let written = if at == Gateway::Leeds { Ends::new("192.168.1.5", CANARY) } else { overlay };
    let (from, to) = match at {
        Gateway::Leeds => ("eth1", TUNNEL),
        Gateway::York => (TUNNEL, "eth1"),
        Gateway::Hub => (TUNNEL, TUNNEL),
    };
    let way =
        Way { from: from.into(), to: to.into(), ends: overlay, written, tracked: at != Gateway::Hub, genuine: true };
    Case { way, protocol: 17, ports: (fresh, 7), flags: 0, ttl: 64 }
}

#[derive(Default)]
struct Tally {
    cases: u64,
    passed: u64,
    canaries: u64,
    mismatches: Vec<String>,
}

/// Something to spoil before the kernel gets it, to see whether it is noticed.
struct Mutant {
    policy: fn(&mut Policy),
    script: &'static str,
}

const NONE: Mutant = Mutant { policy: |_| (), script: "" };

fn compiled(model: &Model, at: Gateway, mutant: &Mutant) -> Policy {
    let mut policies = policy::compile(model);
    let mut policy = policies.remove(&parse(at.name())).expect("its policy");
    (mutant.policy)(&mut policy);
    policy
}

/// One network at one gateway: half of the cases, then an agreement is revoked, then the other half.
fn round(seed: u64, at: Gateway, cases: u16, mutant: &Mutant, tally: &mut Tally) {
    let mut random = Random(seed);
    let mut model = network(&mut random);
    let policy = compiled(&model, at, mutant);
    let router = Router::new(&policy);
    if !mutant.script.is_empty() {
        router.shell(mutant.script);
    }
    let mut open = HashSet::new();
    let mut fresh = 20_000;
    for half in 0..2 {
        let evaluator = Evaluator::new(&model);
        for _ in 0..cases / 2 {
            fresh += 1;
            let Some(case) = case(&mut random, &model, at, fresh) else { continue };
            let expected = case.expected(&evaluator, &open);
            let actual = survived(&router, &case, u32::from(fresh));
            tally.cases += 1;
            tally.passed += u64::from(actual);
            if actual && !matches!(case.protocol, 6 | 17 | 1 | 58) {
                open.insert((case.way.ends, case.protocol));
            }
            if actual != expected {
                tally.mismatches.push(format!(
                    "seed {seed} {at:?} expected {expected}, kernel {actual}: {case:?}, there {:?}, back {:?}",
                    evaluator.evaluate(&case.flow()),
                    evaluator.evaluate(&case.answered())
                ));
            }
            if fresh % 64 == 0 {
                assert!(
                    survived(&router, &canary(at, fresh), u32::from(fresh) + 100_000),
                    "seed {seed} {at:?}: the canary died"
                );
                tally.canaries += 1;
            }
        }
        if half == 0 {
            let revoked = random.below(model.agreements.len());
            if model.agreements[revoked].number != 1 {
                model.agreements.remove(revoked);
            }
            let after = compiled(&model, at, mutant);
            router.nft.apply(&ruleset::diff(&compile(&policy), &compile(&after))).expect("a diff");
        }
    }
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time after 1970");
    since.as_secs()
}

#[test]
fn the_kernel_decides_as_the_evaluator_does() {
    if skip("the_kernel_decides_as_the_evaluator_does") {
        return;
    }
    let seed = from_environment("TURNPIKE_SEED").unwrap_or_else(now);
    let until = Instant::now() + Duration::from_secs(from_environment("TURNPIKE_SECONDS").unwrap_or(15));
    let mut tally = Tally::default();
    let mut at = seed.wrapping_mul(1000);
    eprintln!("seed {seed}");
    round(1_795_310_654_000, Gateway::Hub, 3000, &NONE, &mut tally); // a guardrail within a grant of everything
    // Two hosts that each may send the other ESP, until one agreement is revoked: one entry serves both.
    round(1_795_313_112_002, Gateway::Leeds, 3000, &NONE, &mut tally);
    round(1_795_313_112_002, Gateway::Hub, 3000, &NONE, &mut tally);
    while Instant::now() < until && tally.mismatches.is_empty() {
        for gateway in [Gateway::Leeds, Gateway::Hub, Gateway::York] {
            round(at, gateway, 3000, &NONE, &mut tally);
        }
        at += 1;
    }
    eprintln!("seed {seed}: {} cases, {} passed, {} canaries", tally.cases, tally.passed, tally.canaries);
    assert!(
        tally.mismatches.is_empty(),
        "{} of {} cases: {:#?}",
        tally.mismatches.len(),
        tally.cases,
        &tally.mismatches[..tally.mismatches.len().min(5)]
    );
    assert!(tally.cases > 5000 && tally.passed > tally.cases / 20 && tally.canaries > 50);
}

fn each_rule(policy: &mut Policy, change: fn(&mut Match)) {
    policy
        .rules
        .iter_mut()
        .filter(|rule| rule.destination.to_string() != CANARY)
        .for_each(|rule| change(&mut rule.matching));
    policy.rules.sort_unstable();
    policy.rules.dedup_by_key(|rule| (rule.department, rule.destination, rule.matching));
}

#[test]
fn mutants_of_the_compiler_are_found() {
    if skip("mutants_of_the_compiler_are_found") {
        return;
    }
    let script = |script| Mutant { policy: |_| (), script };
    let mutants = [
        (
            "the end of a range is one more",
            Mutant {
                policy: |policy| {
                    each_rule(policy, |matching| {
                        if let Match::Ports { last, .. } = matching {
                            *last += 1
                        }
                    })
                },
                script: "",
            },
        ),
        (
            "the first grant is missing",
            Mutant {
                policy: |policy| {
                    let kept = policy.rules.iter().position(|rule| rule.agreement != 1).unwrap_or_default();
                    policy.rules.remove(kept);
                },
                script: "",
            },
        ),
        (
            "TCP is taken for UDP",
            Mutant {
                policy: |policy| {
                    each_rule(policy, |matching| match matching {
                        Match::Port { protocol, .. } | Match::Ports { protocol, .. } if *protocol == 6 => {
                            *protocol = 17
                        }
                        _ => {}
                    })
                },
                script: "",
            },
        ),
        (
            "a port is one more",
            Mutant {
                policy: |policy| {
                    each_rule(policy, |matching| {
                        if let Match::Port { port, .. } = matching {
                            *port += 1
                        }
                    })
                },
                script: "",
            },
        ),
        (
            "a guardrail is forgotten and its rule granted",
            Mutant {
                policy: |policy| {
                    policy.guardrails.clear();
                    let any: Vec<_> = policy
                        .rules
                        .iter()
                        .map(|rule| turnpike::bundle::Rule { matching: Match::Any, ..*rule })
                        .collect();
                    policy.rules.extend(any);
                    policy.rules.sort_unstable();
                    policy.rules.dedup_by_key(|rule| (rule.department, rule.destination, rule.matching));
                },
                script: "",
            },
        ),
        (
            "the mirror is broken",
            script("nft flush chain inet turnpike c_back4; nft flush chain inet turnpike c_back6"),
        ),
        (
            "the source is not looked at",
            script("nft insert rule inet turnpike c_raw_segment meta mark set 0x80000000 accept"),
        ),
        ("everything between segments passes", script("nft insert rule inet turnpike c_local accept")),
        ("everything tracked passes", script("nft insert rule inet turnpike c_policy meta mark set 0x80000000 accept")),
    ];
    for (name, mutant) in mutants {
        let mut tally = Tally::default();
        for seed in 1..=20 {
            for gateway in [Gateway::Leeds, Gateway::Hub] {
                round(seed, gateway, 1500, &mutant, &mut tally);
            }
            if !tally.mismatches.is_empty() {
                break;
            }
        }
        assert!(!tally.mismatches.is_empty(), "not found in {} cases: {name}", tally.cases);
    }
}
