//! The decision, as a pure function in overlay terms: what `test`, `explain` and `diff` say and the kernel does.
//!
//! ```text
//!  source ─▶ department? ─▶ guardrail? ─▶ best match of (department, destination) ─▶ agreement
//!             unknown: deny   hit: deny    none: deny
//! ```
//! The best match is the most exact kind (see [`crate::bundle::Match`]) and, within a kind, the agreement with the
//! lowest number.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use jiff::Timestamp;

use super::model::{Department, Guardrail, Model, Object, Subject};
use crate::identity::{Id, Name, Qualified};
use crate::net::{Family, Flow, PortMatch, Prefix};

/// The answer to every flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passes.
    Allow {
        /// The number of the agreement by which it passes.
        agreement: u32,
        /// The entry of the service's ports by which it does.
        port: PortMatch,
    },
    /// It does not.
    Deny(Reason),
}

impl Verdict {
    /// The number of the agreement by which it passes.
    pub fn agreement(&self) -> Option<u32> {
        match self {
            Self::Allow { agreement, .. } => Some(*agreement),
            Self::Deny(_) => None,
        }
    }

    /// What was decisive.
    pub fn tier(&self) -> Tier {
        match self {
            Self::Allow { .. } => Tier::Agreement,
            Self::Deny(Reason::Guardrail(_)) => Tier::Guardrail,
            Self::Deny(Reason::UnknownSource | Reason::UnknownDestination | Reason::NoAgreement) => Tier::Default,
        }
    }

    /// Whether the flow passes.
    pub fn allows(&self) -> bool {
        match self {
            Self::Allow { .. } => true,
            Self::Deny(_) => false,
        }
    }
}

/// The tiers of a decision, the first of which decides what it speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// The operator's denials.
    Guardrail,
    /// What councils have agreed on.
    Agreement,
    /// All else is denied.
    Default,
}

impl Tier {
    /// Its name, as it is printed and in JSON.
    pub fn label(self) -> &'static str {
        match self {
            Self::Guardrail => "guardrail",
            Self::Agreement => "agreement",
            Self::Default => "default",
        }
    }
}

/// Why a flow does not pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The source is no department's.
    #[error("the source is no department's")]
    UnknownSource,
    /// The operator denies it.
    #[error("guardrail {0}")]
    Guardrail(Id),
    /// The destination is no host of any service.
    #[error("no service is at the destination")]
    UnknownDestination,
    /// No agreement in force allows it.
    #[error("no agreement in force allows it")]
    NoAgreement,
}

/// Decides one flow. For many, make an [`Evaluator`] once.
pub fn evaluate(model: &Model, flow: &Flow) -> Verdict {
    Evaluator::new(model).evaluate(flow)
}

/// A model, indexed: a decision takes a binary search and one hash lookup.
#[derive(Debug)]
pub struct Evaluator {
    /// Disjoint, sorted.
    sources: Vec<(Prefix, Source)>,
    rules: HashMap<(u32, IpAddr), Vec<Rule>>,
    destinations: HashSet<IpAddr>,
    guardrails: Vec<Denial>,
}

#[derive(Clone, Debug)]
struct Source {
    number: u32,
    name: Qualified,
}

impl Source {
    fn of(department: &Department) -> Self {
        Self { number: department.number, name: department.name.clone() }
    }
}

/// Ordered by what decides: the kind of match, then the agreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rule {
    kind: Kind,
    agreement: u32,
    port: PortMatch,
}

/// In the order in which the kernel asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Port,
    Ports,
    Icmp,
    Protocol,
    Any,
}

impl Kind {
    fn of(port: PortMatch) -> Self {
        match port {
            PortMatch::Ports { first, last, .. } if last.saturating_sub(first) < super::LISTED_PORTS => Self::Port,
            PortMatch::Ports { .. } => Self::Ports,
            PortMatch::Icmp(_) => Self::Icmp,
            PortMatch::Protocol(_) => Self::Protocol,
            PortMatch::Any => Self::Any,
        }
    }
}

/// A guardrail with its names looked up.
#[derive(Debug)]
struct Denial {
    id: Id,
    from: From,
    to: To,
}

#[derive(Debug)]
enum From {
    Any,
    Council(Name),
    Department(Qualified),
    Prefix(Prefix),
}

#[derive(Debug)]
enum To {
    Any,
    Port(PortMatch),
    Hosts(Vec<IpAddr>, Vec<PortMatch>),
    Prefixes(Vec<Prefix>),
}

impl Evaluator {
    /// Indexes a model as of the instant at which it was resolved.
    pub fn new(model: &Model) -> Self {
        Self::at(model, model.at)
    }

    /// Indexes a model as of another instant: agreements begin and end, consents stay as they are.
    pub fn at(model: &Model, at: Timestamp) -> Self {
        let source = |department: &Department| {
            let source = Source::of(department);
            let prefixes: Vec<_> = department.mappings.iter().map(|mapping| mapping.overlay).collect();
            prefixes.into_iter().map(move |prefix| (prefix, source.clone()))
        };
        let mut sources: Vec<_> = model.departments.iter().flat_map(source).collect();
        sources.sort_by_key(|(prefix, _)| *prefix);
        Self {
            sources,
            rules: rules(model, at),
            destinations: model.services.iter().flat_map(|service| &service.overlay_hosts).copied().collect(),
            guardrails: model.guardrails.iter().map(|guardrail| denial(model, guardrail)).collect(),
        }
    }

    /// Decides a flow.
    pub fn evaluate(&self, flow: &Flow) -> Verdict {
        let Some(source) = self.source(flow.source) else { return Verdict::Deny(Reason::UnknownSource) };
        if let Some(denial) = self.guardrails.iter().find(|denial| denial.hits(source, flow)) {
            return Verdict::Deny(Reason::Guardrail(denial.id.clone()));
        }
        let rules = self.rules.get(&(source.number, flow.destination)).map(Vec::as_slice).unwrap_or_default();
        if let Some(rule) = rules.iter().find(|rule| flow.is(rule.port)) {
            return Verdict::Allow { agreement: rule.agreement, port: rule.port };
        }
        let known = self.destinations.contains(&flow.destination);
        Verdict::Deny(if known { Reason::NoAgreement } else { Reason::UnknownDestination })
    }

    fn source(&self, address: IpAddr) -> Option<&Source> {
        let after = self.sources.partition_point(|(prefix, _)| prefix.address() <= address);
        let (prefix, source) = self.sources.get(after.checked_sub(1)?)?;
        prefix.contains(address).then_some(source)
    }
}

fn rules(model: &Model, at: Timestamp) -> HashMap<(u32, IpAddr), Vec<Rule>> {
    let departments: HashMap<_, _> =
        model.departments.iter().map(|department| (&department.name, department)).collect();
    let services: HashMap<_, _> = model.services.iter().map(|service| (&service.name, service)).collect();
    let mut rules: HashMap<(u32, IpAddr), Vec<Rule>> = HashMap::new();
    for agreement in model.agreements.iter().filter(|agreement| agreement.in_force_at(at)) {
        let Some(service) = services.get(&agreement.service) else { continue };
        for consumer in agreement.from.iter().filter_map(|name| departments.get(name)) {
            let families: Vec<_> = consumer.mappings.iter().map(|mapping| mapping.overlay.family()).collect();
            let hosts = service.overlay_hosts.iter().filter(|host| families.contains(&Family::of(**host)));
            for host in hosts {
                let entry = rules.entry((consumer.number, *host)).or_default();
                let rule = |&port: &PortMatch| Rule { kind: Kind::of(port), agreement: agreement.number, port };
                entry.extend(service.ports.iter().map(rule));
            }
        }
    }
    rules.values_mut().for_each(|rules| rules.sort());
    rules
}

/// Every guardrail that denies a flow which a department opens.
pub(super) fn guardrails_against(model: &Model, source: &Department, flow: &Flow) -> Vec<Id> {
    let source = Source::of(source);
    let denies = |guardrail: &&Guardrail| denial(model, guardrail).hits(&source, flow);
    model.guardrails.iter().filter(denies).map(|guardrail| guardrail.id.clone()).collect()
}

/// Every guardrail that denies a service, whatever it answers on, to the department that opens a flow.
pub(super) fn guardrails_around(model: &Model, source: &Department, flow: &Flow, service: &Qualified) -> Vec<Id> {
    let source = Source::of(source);
    let about = model.guardrails.iter().filter(|guardrail| guardrail.to == Object::Service(service.clone()));
    let denying = about.filter(|guardrail| denial(model, guardrail).concerns(&source, flow));
    denying.map(|guardrail| guardrail.id.clone()).collect()
}

fn denial(model: &Model, guardrail: &Guardrail) -> Denial {
    let from = match &guardrail.deny {
        Subject::Any => From::Any,
        Subject::Council(name) => From::Council(name.clone()),
        Subject::Department(name) => From::Department(name.clone()),
        Subject::Prefix(prefix) => From::Prefix(*prefix),
    };
    let to = match &guardrail.to {
        Object::Any => To::Any,
        Object::Port(port) => To::Port(*port),
        Object::Prefix(prefix) => To::Prefixes(vec![*prefix]),
        Object::Service(name) => model.service(name).map_or(To::Hosts(Vec::new(), Vec::new()), |service| {
            To::Hosts(service.overlay_hosts.clone(), service.ports.clone())
        }),
        Object::Department(name) => {
            let mappings = model.department(name).into_iter().flat_map(|department| &department.mappings);
            To::Prefixes(mappings.map(|mapping| mapping.overlay).collect())
        }
    };
    Denial { id: guardrail.id.clone(), from, to }
}

impl Denial {
    /// Whether its subject opens the flow.
    fn concerns(&self, source: &Source, flow: &Flow) -> bool {
        match &self.from {
            From::Any => true,
            From::Council(name) => source.name.council == *name,
            From::Department(name) => source.name == *name,
            From::Prefix(prefix) => prefix.contains(flow.source),
        }
    }

    fn hits(&self, source: &Source, flow: &Flow) -> bool {
        self.concerns(source, flow)
            && match &self.to {
                To::Any => true,
                To::Port(port) => flow.is(*port),
                To::Hosts(hosts, ports) => hosts.contains(&flow.destination) && ports.iter().any(|port| flow.is(*port)),
                To::Prefixes(prefixes) => prefixes.iter().any(|prefix| prefix.contains(flow.destination)),
            }
    }
}
