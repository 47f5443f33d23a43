//! From the resolved definition to one [`Policy`] per gateway: pure and deterministic.
//!
//! ```text
//!  agreements told of  ─▶ grants        (consumer, service)
//!                          │
//!                          ├─ those that begin or end there, and at a hub all that pass tunnels
//!                          ▼
//!                 department × host × match ─▶ minus guardrails ─▶ settled ─▶ rules
//! ```
//!
//! What cannot be granted in this version compiles to nothing. A gateway is told of no department and no
//! agreement that it has no part in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use jiff::Timestamp;

use super::guardrails::{self, Denial};
use super::model::{self, Model};
use super::parallel;
use crate::bundle::{
    Agreement, Department, Match, NextHop, Policy, Role, Route, Rule, Segment, Service, Settled, Signatory, settle,
};
use crate::identity::{Name, Qualified};
use crate::net::{Family, PortMatch, Prefix};

/// Ranges up to this length stand port by port in the exact map; longer ones in the map of ranges, which is held small.
pub const LISTED_PORTS: u16 = 64;

/// The policy of every gateway, hubs and edges, by name: with what begins later, and at all hours. [`Policy::at`] says what of it
/// is in force at a time.
pub fn compile(model: &Model) -> BTreeMap<Name, Policy> {
    let compiler = Compiler::new(model, |_| true);
    let gateways: Vec<Gateway<'_>> = gateways(model).collect();
    let policies = parallel::map(&gateways, |gateway| compiler.policy(gateway));
    policies.into_iter().map(|policy| (policy.gateway.clone(), policy)).collect()
}

/// The policies of some gateways, as far as flows that `source` opens are judged by them: what they say of those is what
/// the whole ones say, at a small part of the work. For a source that is no department's, nothing is allowed.
pub(super) fn compile_for(model: &Model, source: Option<&Qualified>, names: &[&Name]) -> Vec<Policy> {
    let has_part = |agreement: &model::Agreement| {
        source.is_some_and(|source| {
            let provides = |service: &model::Service| service.department == *source;
            let own = agreement.service.council == source.council;
            agreement.from.contains(source) || (own && model.service(&agreement.service).is_some_and(provides))
        })
    };
    let compiler = Compiler::new(model, has_part);
    let named = |name: &&Name| gateways(model).find(|gateway| gateway.name == *name);
    names.iter().filter_map(named).map(|gateway| compiler.policy(&gateway)).collect()
}

fn gateways(model: &Model) -> impl Iterator<Item = Gateway<'_>> {
    let hubs = model.hubs.iter().map(|hub| Gateway {
        name: &hub.name,
        site: &hub.name,
        role: Role::Relay,
        address: hub.management,
    });
    let edges = model.edges.iter().map(|edge| Gateway {
        name: &edge.name,
        site: &edge.site,
        role: Role::Edge,
        address: edge.management,
    });
    hubs.chain(edges)
}

/// What a service's port asks of a packet to a host of this family, as the kernel asks it: a short range port by
/// port, ICMP by the family's type. Empty where the family lacks it.
pub fn matches(port: PortMatch, family: Family) -> Vec<Match> {
    match port {
        PortMatch::Any => vec![Match::Any],
        PortMatch::Protocol(protocol) => vec![Match::Protocol { protocol: protocol.0 }],
        PortMatch::Ports { protocol, first, last } if last.saturating_sub(first) < LISTED_PORTS => {
            (first..=last).map(|port| Match::Port { protocol: protocol.0, port }).collect()
        }
        PortMatch::Ports { protocol, first, last } => vec![Match::Ports { protocol: protocol.0, first, last }],
        PortMatch::Icmp(icmp) => icmp
            .in_family(family)
            .map(|(protocol, kind)| Match::Icmp { protocol: protocol.0, kind })
            .into_iter()
            .collect(),
    }
}

struct Gateway<'a> {
    name: &'a Name,
    site: &'a Name,
    role: Role,
    address: IpAddr,
}

/// That a department may reach a service.
#[derive(Clone, Copy)]
pub(super) struct Grant<'a> {
    pub(super) agreement: &'a model::Agreement,
    pub(super) consumer: &'a model::Department,
    pub(super) provider: &'a model::Department,
    pub(super) service: &'a model::Service,
}

impl<'a> Grant<'a> {
    /// The gateways that its flows pass. One within a gateway passes no other.
    pub(super) fn gateways(&self, hubs: &'a [model::Hub]) -> impl Iterator<Item = &'a Name> {
        let (from, to) = (&self.consumer.at, &self.provider.at);
        let far = (from != to).then_some(to);
        let relays = hubs.iter().map(|hub| &hub.name).filter(move |&hub| from != to && hub != from && hub != to);
        [from].into_iter().chain(far).chain(relays)
    }

    pub(super) fn rules(&self, denials: &[Denial]) -> Vec<Rule> {
        let mut rules = Vec::new();
        for &destination in &self.service.overlay_hosts {
            let family = Family::of(destination);
            let Some(source) = overlay(self.consumer).into_iter().find(|prefix| prefix.family() == family) else {
                continue;
            };
            for matching in self.service.ports.iter().flat_map(|&port| matches(port, family)) {
                let left = guardrails::remainder(denials, source, destination, matching);
                rules.extend(left.into_iter().map(|matching| Rule {
                    department: self.consumer.number,
                    destination,
                    matching,
                    agreement: self.agreement.number,
                }));
            }
        }
        rules
    }
}

/// What all policies are made from, by the gateway that it concerns: each is looked at once, however many gateways
/// there are.
struct Compiler<'a> {
    model: &'a Model,
    grants: HashMap<&'a Name, Vec<Grant<'a>>>,
    departments: HashMap<&'a Name, Vec<&'a model::Department>>,
    denials: Vec<Denial>,
    allotted: Vec<Prefix>,
}

impl<'a> Compiler<'a> {
    /// Of the agreements told of that are chosen.
    fn new(model: &'a Model, chosen: impl Fn(&model::Agreement) -> bool) -> Self {
        let mut allotted: Vec<Prefix> = model.departments.iter().flat_map(overlay).collect();
        allotted.sort_unstable();
        let mut departments: HashMap<&Name, Vec<&model::Department>> = HashMap::new();
        for department in &model.departments {
            departments.entry(&department.at).or_default().push(department);
        }
        let mut by_gateway: HashMap<&Name, Vec<Grant<'_>>> = HashMap::new();
        for grant in grants(model, |agreement| agreement.is_told(model.at) && chosen(agreement)) {
            for gateway in grant.gateways(&model.hubs) {
                by_gateway.entry(gateway).or_default().push(grant);
            }
        }
        Self { model, grants: by_gateway, departments, denials: guardrails::denials(model), allotted }
    }

    fn policy(&self, gateway: &Gateway<'_>) -> Policy {
        let grants = self.grants.get(gateway.name).map(Vec::as_slice).unwrap_or_default();
        let own = self.departments.get(gateway.name).map(Vec::as_slice).unwrap_or_default();
        let (rules, shadowed) = settle(grants.iter().flat_map(|grant| grant.rules(&self.denials)));
        let local: Vec<Prefix> = own.iter().flat_map(|department| overlay(department)).collect();
        let concerned = |denial: &&Denial| gateway.role == Role::Relay || denial.concerns(&local);
        Policy {
            network: self.model.network.clone(),
            gateway: gateway.name.clone(),
            site: gateway.site.clone(),
            role: gateway.role,
            overlay: sorted(self.model.overlay.clone()),
            management: self.model.management,
            address: gateway.address,
            allotted: self.allotted.clone(),
            departments: departments(own, grants, gateway.name),
            services: services(grants),
            agreements: self.agreements(grants),
            signed_after: self.begun(grants),
            rules,
            shadowed,
            guardrails: sorted(self.denials.iter().filter(concerned).map(|denial| denial.guardrail.clone()).collect()),
            routes: self.routes(gateway),
            signers: self.signers(grants),
        }
    }

    /// Each agreement with those of its consumers that have a part in it here.
    fn agreements(&self, grants: &[Grant<'_>]) -> Vec<Agreement> {
        let mut consumers: BTreeMap<u32, (Grant<'_>, BTreeSet<u32>)> = BTreeMap::new();
        for grant in grants {
            let entry = consumers.entry(grant.agreement.number).or_insert_with(|| (*grant, BTreeSet::new()));
            entry.1.insert(grant.consumer.number);
        }
        let lease =
            |class: &Name| self.model.classes.iter().find(|known| known.name == *class).map(|found| found.lease);
        consumers
            .into_iter()
            .map(|(number, (Grant { agreement, service, .. }, from))| Agreement {
                number,
                id: agreement.id.clone(),
                service: service.number,
                from: from.into_iter().collect(),
                class: agreement.class.clone(),
                // A class that does not exist would be a lease that has ended.
                lease_seconds: lease(&agreement.class).map_or(0, |lease| lease.as_secs()),
                not_before: agreement.not_before,
                not_after: agreement.not_after,
                hours: agreement.hours.clone(),
                settled: settled(agreement),
            })
            .collect()
    }

    /// The last beginning that has passed.
    fn begun(&self, grants: &[Grant<'_>]) -> Option<Timestamp> {
        let beginnings = grants.iter().filter_map(|grant| grant.agreement.not_before);
        beginnings.filter(|begin| *begin <= self.model.at).max()
    }

    /// Who may speak for the councils that have a part in what is granted here.
    fn signers(&self, grants: &[Grant<'_>]) -> Vec<Signatory> {
        let councils: BTreeSet<&Name> = grants.iter().flat_map(|grant| &grant.agreement.councils).collect();
        let known = |name: &&&Name| self.model.councils.binary_search_by(|council| council.name.cmp(name)).ok();
        let found = councils.iter().filter_map(|name| self.model.councils.get(known(&name)?));
        let of = |council: &'a model::Council| {
            let signatory = |signer: &model::CouncilSigner| Signatory {
                council: council.name.clone(),
                by: signer.by.clone(),
                key: signer.key,
            };
            let mut signers: Vec<Signatory> = council.signers.iter().map(signatory).collect();
            signers.sort_by_cached_key(|signer| (signer.by.clone(), signer.key.to_string()));
            signers.dedup();
            signers
        };
        found.flat_map(of).collect()
    }

    fn routes(&self, gateway: &Gateway<'_>) -> Vec<Route> {
        sorted(match gateway.role {
            Role::Edge => self.model.overlay.iter().map(|&prefix| Route { prefix, to: NextHop::Relays }).collect(),
            Role::Relay => {
                let elsewhere = self.model.departments.iter().filter(|department| department.at != *gateway.name);
                elsewhere
                    .flat_map(|department| {
                        let to = NextHop::Site(department.site.clone());
                        overlay(department).into_iter().map(move |prefix| Route { prefix, to: to.clone() })
                    })
                    .collect()
            }
        })
    }
}

fn settled(agreement: &model::Agreement) -> Vec<Settled> {
    agreement.settled().into_iter().map(|(council, number)| Settled { council, number }).collect()
}

/// Everything that the agreements chosen allow.
pub(super) fn grants<'a>(
    model: &'a Model,
    chosen: impl Fn(&model::Agreement) -> bool,
) -> impl Iterator<Item = Grant<'a>> {
    model.agreements.iter().filter(move |agreement| chosen(agreement)).flat_map(move |agreement| {
        let service = model.service(&agreement.service);
        let provided = service.and_then(|service| Some((service, model.department(&service.department)?)));
        provided.into_iter().flat_map(move |(service, provider)| {
            let consumers = agreement.from.iter().filter_map(|name| model.department(name));
            consumers.map(move |consumer| Grant { agreement, consumer, provider, service })
        })
    })
}

pub(super) fn overlay(department: &model::Department) -> Vec<Prefix> {
    department.mappings.iter().map(|mapping| mapping.overlay).collect()
}

/// Those that stand here and those at the far ends of `grants`, by number.
fn departments(own: &[&model::Department], grants: &[Grant<'_>], gateway: &Name) -> Vec<Department> {
    let far = grants.iter().flat_map(|grant| [grant.consumer, grant.provider]);
    let all: BTreeMap<u32, &model::Department> = own.iter().copied().chain(far).map(|d| (d.number, d)).collect();
    let told = |department: &model::Department| Department {
        number: department.number,
        name: department.name.clone(),
        site: department.site.clone(),
        overlay: sorted(overlay(department)),
        segment: (department.at == *gateway).then(|| segment(department)),
    };
    all.into_values().map(told).collect()
}

fn segment(department: &model::Department) -> Segment {
    Segment {
        device: department.device.clone(),
        vlan: department.vlan,
        gateway: sorted(department.gateway.clone()),
        via: sorted(department.via.clone()),
        mappings: department.mappings.clone(),
    }
}

fn services(grants: &[Grant<'_>]) -> Vec<Service> {
    let all: BTreeMap<u32, Grant<'_>> = grants.iter().map(|grant| (grant.service.number, *grant)).collect();
    let told = |Grant { service, provider, .. }: Grant<'_>| Service {
        number: service.number,
        name: service.name.clone(),
        department: provider.number,
        hosts: sorted(service.overlay_hosts.clone()),
        ports: sorted(service.ports.clone()),
    };
    all.into_values().map(told).collect()
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort_unstable();
    items
}
