//! Who is who in the policy in force: names for what the kernel tells by addresses.

use std::collections::HashMap;
use std::net::IpAddr;

use jiff::Timestamp;

use super::{Aim, Event, Flow, Hook, SCHEMA, Tier, Verdict};
use crate::bundle::{Match, Policy, Role, Rule};
use crate::identity::{Id, Name, Qualified};
use crate::net::{Family, Icmp, PortMatch, Prefix, Protocol};
use crate::ruleset::{Cause, marks, segment_device};

/// The names of one policy, indexed: looking up a flow takes some binary searches and hash lookups.
#[derive(Debug)]
pub struct Directory {
    network: Name,
    gateway: Name,
    site: Name,
    generation: u64,
    role: Role,
    tunnel: String,
    /// By prefix; disjoint.
    departments: Vec<(Prefix, Department)>,
    segments: Vec<Segment>,
    services: HashMap<IpAddr, Vec<Service>>,
    agreements: HashMap<u32, (Id, Option<Qualified>)>,
    /// Sorted.
    rules: Vec<Rule>,
    guardrails: Vec<Id>,
}

#[derive(Clone, Debug)]
struct Department {
    number: u32,
    name: Qualified,
}

/// A pair of prefixes at one of our devices.
#[derive(Debug)]
struct Segment {
    device: String,
    real: Prefix,
    overlay: Prefix,
}

#[derive(Clone, Debug)]
struct Service {
    name: Qualified,
    ports: Vec<PortMatch>,
}

/// One end of a flow.
struct End {
    overlay: IpAddr,
    real: Option<IpAddr>,
}

impl Directory {
    /// Indexes a policy of this generation, which is in force with this tunnel device.
    pub fn new(policy: &Policy, generation: u64, tunnel: &str) -> Self {
        let named = |of: &crate::bundle::Department| Department { number: of.number, name: of.name.clone() };
        let prefixes =
            |of: &crate::bundle::Department| of.overlay.iter().map(|&prefix| (prefix, named(of))).collect::<Vec<_>>();
        let mut departments: Vec<_> = policy.departments.iter().flat_map(prefixes).collect();
        departments.sort_unstable_by_key(|(prefix, _)| prefix.address());
        let mut services: HashMap<IpAddr, Vec<Service>> = HashMap::new();
        for service in &policy.services {
            for &host in &service.hosts {
                let entry = Service { name: service.name.clone(), ports: service.ports.clone() };
                services.entry(host).or_default().push(entry);
            }
        }
        let names: HashMap<u32, &Qualified> = policy.services.iter().map(|it| (it.number, &it.name)).collect();
        let service = |number| names.get(&number).map(|&name| name.clone());
        let agreements = policy.agreements.iter().map(|it| (it.number, (it.id.clone(), service(it.service))));
        Self {
            network: policy.network.clone(),
            gateway: policy.gateway.clone(),
            site: policy.site.clone(),
            generation,
            role: policy.role,
            tunnel: tunnel.to_owned(),
            departments,
            segments: segments(policy),
            agreements: agreements.collect(),
            services,
            rules: policy.rules.clone(),
            guardrails: policy.guardrails.iter().map(|guardrail| guardrail.id.clone()).collect(),
        }
    }

    /// An event of this cause that tells of no packet yet.
    pub fn blank(&self, cause: Cause, time: Timestamp) -> Event {
        Event {
            schema: SCHEMA,
            time,
            network: self.network.clone(),
            gateway: self.gateway.clone(),
            site: self.site.clone(),
            generation: self.generation,
            verdict: Verdict::of(cause),
            reason: cause,
            tier: Tier::of(cause),
            direction: None,
            agreement: None,
            guardrail: None,
            service: None,
            source: None,
            source_real: None,
            source_department: None,
            source_port: None,
            destination: None,
            destination_real: None,
            destination_department: None,
            destination_port: None,
            protocol: None,
            icmp_type: None,
            device_in: None,
            device_out: None,
            packets: 0,
            bytes: 0,
            first: None,
            last: None,
            suppressed: 0,
        }
    }

    /// The same with everything that is known of the flow.
    pub fn describe(&self, flow: &Flow, time: Timestamp) -> Event {
        let source = self.end(flow.source, flow.input.as_deref(), flow.hook != Hook::Postrouting);
        let routed = matches!(flow.hook, Hook::Forward | Hook::Postrouting);
        let destination = self.end(flow.destination, flow.output.as_deref(), routed);
        let (from, to) = (self.department(source.overlay), self.department(destination.overlay));
        let allowed = self.rule(flow, from, destination.overlay).and_then(|rule| self.agreements.get(&rule.agreement));
        let is_segment = |device: &str| self.segments.iter().any(|segment| segment.device == device);
        let ours = self.segments.iter().any(|segment| segment.overlay.contains(destination.overlay));
        let (port, kind) = match flow.aim {
            Aim::Port(port) => (Some(port), None),
            Aim::Icmp(kind) => (None, Some(kind)),
            Aim::Nothing => (None, None),
        };
        Event {
            direction: Some(flow.direction(&self.tunnel, is_segment, self.role == Role::Relay && !ours)),
            agreement: allowed.map(|(id, _)| id.clone()),
            guardrail: self.guardrail(flow),
            service: allowed.and_then(|(_, name)| name.clone()).or_else(|| self.service(flow, destination.overlay)),
            source: Some(source.overlay),
            source_real: source.real,
            source_department: from.map(|department| department.name.clone()),
            destination: Some(destination.overlay),
            destination_real: destination.real,
            destination_department: to.map(|department| department.name.clone()),
            destination_port: port,
            protocol: Some(flow.protocol),
            icmp_type: kind,
            device_in: flow.input.clone(),
            device_out: flow.output.clone(),
            ..self.blank(flow.cause, time)
        }
    }

    /// Whether an agreement is known by which this flow passes: not for one that was told of as allowed by another
    /// policy than this.
    pub fn explains(&self, flow: &Flow) -> bool {
        flow.cause != Cause::Opened || self.describe(flow, Timestamp::UNIX_EPOCH).agreement.is_some()
    }

    /// Both names of an address. Which one it is depends on the device that it was seen at: at a segment it is the
    /// real one, if mapping has not been done yet, or has been.
    fn end(&self, address: IpAddr, device: Option<&str>, real_there: bool) -> End {
        let here = self
            .segments
            .iter()
            .find(|segment| real_there && Some(segment.device.as_str()) == device && segment.real.contains(address));
        if let Some(overlay) = here.and_then(|segment| segment.real.translate(address, segment.overlay)) {
            return End { overlay, real: Some(address) };
        }
        let stands = self.segments.iter().find(|segment| segment.overlay.contains(address));
        End { overlay: address, real: stands.and_then(|segment| segment.overlay.translate(address, segment.real)) }
    }

    fn department(&self, address: IpAddr) -> Option<&Department> {
        let after = self.departments.partition_point(|(prefix, _)| prefix.address() <= address);
        let (prefix, department) = self.departments.get(after.checked_sub(1)?)?;
        prefix.contains(address).then_some(department)
    }

    /// The rule by which the kernel let the flow pass: of those that match the first, which is how they are sorted.
    fn rule(&self, flow: &Flow, from: Option<&Department>, to: IpAddr) -> Option<&Rule> {
        let of = (flow.cause == Cause::Opened).then_some((from?.number, to))?;
        let first = self.rules.partition_point(|rule| (rule.department, rule.destination) < of);
        let same = self.rules[first..].iter().take_while(|rule| (rule.department, rule.destination) == of);
        same.into_iter().find(|rule| matches(rule.matching, flow))
    }

    fn guardrail(&self, flow: &Flow) -> Option<Id> {
        let place = usize::try_from(flow.mark & marks::DEPARTMENT).ok()?.checked_sub(1)?;
        self.guardrails.get(place).filter(|_| flow.cause == Cause::Guardrail).cloned()
    }

    fn service(&self, flow: &Flow, at: IpAddr) -> Option<Qualified> {
        let of = |service: &&Service| service.ports.iter().any(|&port| answers(port, flow, Family::of(at)));
        self.services.get(&at)?.iter().find(of).map(|service| service.name.clone())
    }
}

fn segments(policy: &Policy) -> Vec<Segment> {
    let standing = policy.departments.iter().filter_map(|department| department.segment.as_ref());
    let pairs = standing.flat_map(|segment| segment.mappings.iter().map(move |mapping| (segment, mapping)));
    let seen = pairs.map(|(segment, mapping)| Segment {
        device: segment_device(segment),
        real: mapping.real,
        overlay: mapping.overlay,
    });
    seen.collect()
}

fn matches(rule: Match, flow: &Flow) -> bool {
    match (rule, flow.aim) {
        (Match::Port { protocol, port }, Aim::Port(asked)) => protocol == flow.protocol && port == asked,
        (Match::Ports { protocol, first, last }, Aim::Port(asked)) => {
            protocol == flow.protocol && (first..=last).contains(&asked)
        }
        (Match::Icmp { protocol, kind }, Aim::Icmp(asked)) => protocol == flow.protocol && kind == asked,
        (Match::Protocol { protocol }, _) => protocol == flow.protocol,
        (Match::Any, _) => true,
        (Match::Port { .. } | Match::Ports { .. } | Match::Icmp { .. }, _) => false,
    }
}

fn answers(port: PortMatch, flow: &Flow, family: Family) -> bool {
    match (port, flow.aim) {
        (PortMatch::Any, _) => true,
        (PortMatch::Protocol(protocol), _) => protocol == Protocol(flow.protocol),
        (PortMatch::Ports { protocol, first, last }, Aim::Port(asked)) => {
            protocol == Protocol(flow.protocol) && (first..=last).contains(&asked)
        }
        (PortMatch::Icmp(query), Aim::Icmp(asked)) => is_query(query, family, flow.protocol, asked),
        (PortMatch::Ports { .. } | PortMatch::Icmp(_), _) => false,
    }
}

fn is_query(query: Icmp, family: Family, protocol: u8, kind: u8) -> bool {
    query.in_family(family) == Some((Protocol(protocol), kind))
}
