//! A question about the policy, and the flows that stand for it.
//!
//! One from a department to a service is about every address of the one, every host and, unless it names a port, every
//! port of the other. Verdicts only change at the borders of what the definition names, so the flows at those borders
//! stand for all.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::model::{Department, Guardrail, Model, Object, Service, Subject};
use crate::bundle::{self, Match};
use crate::identity::Qualified;
use crate::net::{Aim, Family, Flow, PortMatch, Prefix, Protocol};

/// Whether somebody may reach something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Who asks.
    pub from: From,
    /// For what.
    pub to: To,
    /// The protocol; `None` for each of the service's.
    pub protocol: Option<Protocol>,
    /// The port; `None` for each of the service's.
    pub port: Option<u16>,
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} → {}", self.from, self.to)?;
        match (self.protocol, self.port) {
            (Some(protocol), Some(port)) => write!(f, " {protocol}/{port}"),
            (Some(protocol), None) => write!(f, " {protocol}"),
            (None, _) => Ok(()),
        }
    }
}

/// Who opens the flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// A department: all its addresses.
    Department(Qualified),
    /// An overlay address.
    Address(IpAddr),
}

impl fmt::Display for From {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Department(name) => name.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// To whom the flow goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// A service: all its hosts.
    Service(Qualified),
    /// An overlay address.
    Address(IpAddr),
}

impl fmt::Display for To {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(name) => name.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// The flows that stand for a question.
pub fn flows(model: &Model, question: &Question) -> Vec<Flow> {
    let own = |name: &Qualified| {
        let own = model.department(name).into_iter();
        own.flat_map(|department| department.mappings.iter().map(|it| it.overlay)).collect()
    };
    let services = model.services.iter().map(|it| (&it.name, it.overlay_hosts.as_slice(), it.ports.as_slice()));
    Ground { own: &own, denied: denied(model), ports: ports(model), services: services.collect() }.flows(question)
}

/// The flows at which a guardrail's verdict about a consumer of a service may change. Whose else the hosts are does not
/// matter to them, so that no other services are looked at than those that they name.
pub(super) fn flows_between(model: &Model, consumer: &Department, service: &Service) -> Vec<Flow> {
    let own = |_: &Qualified| consumer.mappings.iter().map(|mapping| mapping.overlay).collect();
    let services = vec![(&service.name, service.overlay_hosts.as_slice(), service.ports.as_slice())];
    let borders = ports(model).into_iter().chain(ports_of_protected(model)).collect();
    let (from, to) = (From::Department(consumer.name.clone()), To::Service(service.name.clone()));
    let question = Question { from, to, protocol: None, port: None };
    Ground { own: &own, denied: denied(model), ports: borders, services }.flows(&question)
}

/// Sources that guardrails name.
fn denied(model: &Model) -> Vec<Prefix> {
    let denied = |guardrail: &Guardrail| match guardrail.deny {
        Subject::Prefix(denied) => Some(denied),
        Subject::Any | Subject::Council(_) | Subject::Department(_) => None,
    };
    model.guardrails.iter().filter_map(denied).collect()
}

/// First and last ports that guardrails name.
fn ports(model: &Model) -> Vec<(u16, u16)> {
    let port = |guardrail: &Guardrail| match guardrail.to {
        Object::Port(PortMatch::Ports { first, last, .. }) => Some((first, last)),
        Object::Port(PortMatch::Any | PortMatch::Protocol(_) | PortMatch::Icmp(_))
        | Object::Any
        | Object::Service(_)
        | Object::Department(_)
        | Object::Prefix(_) => None,
    };
    model.guardrails.iter().filter_map(port).collect()
}

/// The same of what one gateway's bundle knows.
pub fn flows_at(policy: &bundle::Policy, question: &Question) -> Vec<Flow> {
    let own = |name: &Qualified| {
        let own = policy.departments.iter().filter(|department| department.name == *name);
        own.flat_map(|department| department.overlay.iter().copied()).collect()
    };
    let port = |matching: &Match| match *matching {
        Match::Port { port, .. } => Some((port, port)),
        Match::Ports { first, last, .. } => Some((first, last)),
        Match::Icmp { .. } | Match::Protocol { .. } | Match::Any => None,
    };
    let services = policy.services.iter().map(|it| (&it.name, it.hosts.as_slice(), it.ports.as_slice()));
    let ground = Ground {
        own: &own,
        denied: policy.guardrails.iter().flat_map(|guardrail| guardrail.from.iter().copied()).collect(),
        ports: policy.guardrails.iter().flat_map(|it| it.to.ports.iter().filter_map(port)).collect(),
        services: services.collect(),
    };
    ground.flows(question)
}

/// First and last ports of the services that guardrails name. Services are sorted by name.
fn ports_of_protected(model: &Model) -> impl Iterator<Item = (u16, u16)> {
    let service = |guardrail: &Guardrail| match &guardrail.to {
        Object::Service(name) => model.service(name),
        Object::Any | Object::Port(_) | Object::Department(_) | Object::Prefix(_) => None,
    };
    let ports = model.guardrails.iter().filter_map(service).flat_map(|service| &service.ports);
    ports.filter_map(|port| match *port {
        PortMatch::Ports { first, last, .. } => Some((first, last)),
        PortMatch::Any | PortMatch::Protocol(_) | PortMatch::Icmp(_) => None,
    })
}

/// Where verdicts may change, whoever knows it.
struct Ground<'a> {
    /// A department's overlay prefixes.
    own: &'a dyn Fn(&Qualified) -> Vec<Prefix>,
    /// Sources that guardrails name.
    denied: Vec<Prefix>,
    /// First and last ports that guardrails name.
    ports: Vec<(u16, u16)>,
    /// Name, hosts and ports of services.
    services: Vec<(&'a Qualified, &'a [IpAddr], &'a [PortMatch])>,
}

impl Ground<'_> {
    fn flows(&self, question: &Question) -> Vec<Flow> {
        let sources = self.sources(&question.from);
        let (hosts, ports) = match &question.to {
            To::Address(address) => (std::slice::from_ref(address), [].as_slice()),
            To::Service(asked) => match self.services.iter().find(|(name, _, _)| *name == asked) {
                Some((_, hosts, ports)) => (*hosts, *ports),
                None => return Vec::new(),
            },
        };
        let mut flows = Vec::new();
        for &destination in hosts {
            let family = Family::of(destination);
            for (protocol, aim) in self.aims(question, ports, destination) {
                let own = sources.iter().filter(|source| Family::of(**source) == family);
                flows.extend(own.map(|source| Flow { source: *source, destination, protocol, aim }));
            }
        }
        flows
    }

    /// First and last address of each prefix of a department, and those beside a guardrail's borders.
    fn sources(&self, from: &From) -> Vec<IpAddr> {
        let name = match from {
            From::Address(address) => return vec![*address],
            From::Department(name) => name,
        };
        let mut sources = BTreeSet::new();
        for prefix in (self.own)(name) {
            let inner = self.denied.iter().copied().filter(|denied| prefix.covers(*denied));
            for border in inner.chain([prefix]) {
                sources.extend(borders(border).into_iter().filter(|address| prefix.contains(*address)));
            }
        }
        sources.into_iter().collect()
    }

    fn aims(&self, question: &Question, ports: &[PortMatch], destination: IpAddr) -> BTreeSet<(Protocol, Aim)> {
        let family = Family::of(destination);
        match (question.protocol, question.port) {
            (Some(protocol), Some(port)) => return BTreeSet::from([(protocol, Aim::Port(port))]),
            (Some(protocol), None) if ports.is_empty() => return BTreeSet::from([bare(protocol, family)]),
            _ => {}
        }
        let borders = self.port_borders(destination);
        let all = ports.iter().flat_map(|port| aims_of(*port, family, &borders));
        let asked = |protocol: Protocol| match question.protocol {
            None => true,
            Some(Protocol::ICMP | Protocol::ICMPV6) => matches!(protocol, Protocol::ICMP | Protocol::ICMPV6),
            Some(asked) => protocol == asked,
        };
        all.filter(|(protocol, _)| asked(*protocol)).collect()
    }

    /// The ports at which a verdict about a host may change.
    fn port_borders(&self, host: IpAddr) -> BTreeSet<u16> {
        let here = self.services.iter().filter(|(_, hosts, _)| hosts.contains(&host));
        let services = here.flat_map(|(_, _, ports)| ports.iter()).filter_map(|port| match *port {
            PortMatch::Ports { first, last, .. } => Some((first, last)),
            PortMatch::Any | PortMatch::Protocol(_) | PortMatch::Icmp(_) => None,
        });
        let mut borders = BTreeSet::new();
        for (first, last) in services.chain(self.ports.iter().copied()) {
            borders.extend([first.saturating_sub(1).max(1), first, last, last.saturating_add(1)]);
        }
        borders
    }
}

/// First and last address, and their neighbours outside.
fn borders(prefix: Prefix) -> Vec<IpAddr> {
    let step = |address: IpAddr, up: bool| match address {
        IpAddr::V4(v4) => {
            let number = u32::from(v4);
            let next = if up { number.checked_add(1) } else { number.checked_sub(1) };
            next.map(|next| Ipv4Addr::from(next).into())
        }
        IpAddr::V6(v6) => {
            let number = u128::from(v6);
            let next = if up { number.checked_add(1) } else { number.checked_sub(1) };
            next.map(|next| Ipv6Addr::from(next).into())
        }
    };
    let (first, last) = (prefix.address(), prefix.last());
    [Some(first), Some(last), step(first, false), step(last, true)].into_iter().flatten().collect()
}

/// A flow of a protocol of which no port is asked: ICMP stands for an echo request.
fn bare(protocol: Protocol, family: Family) -> (Protocol, Aim) {
    match (protocol, family) {
        (Protocol::ICMP, Family::V4) => (Protocol::ICMP, Aim::Icmp(8)),
        (Protocol::ICMP | Protocol::ICMPV6, _) => (Protocol::ICMPV6, Aim::Icmp(128)),
        (other, _) => (other, Aim::Nothing),
    }
}

fn aims_of(port: PortMatch, family: Family, borders: &BTreeSet<u16>) -> Vec<(Protocol, Aim)> {
    let inside = |protocol: Protocol, first: u16, last: u16| {
        let ports = borders.range(first..=last).copied().chain([first, last]);
        ports.map(|port| (protocol, Aim::Port(port))).collect::<Vec<_>>()
    };
    match port {
        PortMatch::Ports { protocol, first, last } => inside(protocol, first, last),
        PortMatch::Protocol(protocol) => vec![(protocol, Aim::Nothing)],
        PortMatch::Icmp(icmp) => {
            icmp.in_family(family).map(|(protocol, kind)| (protocol, Aim::Icmp(kind))).into_iter().collect()
        }
        PortMatch::Any => {
            let ported = [Protocol::TCP, Protocol::UDP, Protocol::SCTP];
            let mut aims: Vec<_> = ported.into_iter().flat_map(|protocol| inside(protocol, 1, u16::MAX)).collect();
            aims.push(bare(Protocol::ICMP, family));
            aims.extend([Protocol::GRE, Protocol::ESP, Protocol::AH].map(|protocol| (protocol, Aim::Nothing)));
            aims
        }
    }
}
