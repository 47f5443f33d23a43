//! One side of a difference: a definition, or what one gateway's bundle says of it, as who reaches what and when.
//!
//! ```text
//!  Model  ─┐            grants: host ← source prefix, flows, window     sorted by host and source
//!          ├─▶ Side ─┬─ denials
//!  Policy ─┘         └─ departments, services, agreements               to say why
//! ```
//!
//! A bundle knows no consents: whatever it holds is granted at its time.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;

use super::space::Space;
use crate::bundle::{self, Guardrail, Hours, Match};
use crate::identity::{Id, Qualified};
use crate::net::{Family, PortMatch, Prefix};
use crate::policy::model::{self, Model};
use crate::policy::{Origin, guardrails, matches};

/// From when, and until when no more: whole seconds since 1970, in which the definition's dates are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// The first second.
    pub from: i64,
    /// The first one that is not in it.
    pub until: i64,
}

impl Window {
    /// At all times.
    pub const ALWAYS: Self = Self { from: i64::MIN, until: i64::MAX };

    fn of(not_before: Option<Timestamp>, not_after: Option<Timestamp>) -> Self {
        // Both dates belong to the agreement's time.
        let until = not_after.map_or(i64::MAX, |end| end.as_second().saturating_add(1));
        Self { from: not_before.map_or(i64::MIN, Timestamp::as_second), until }
    }

    /// Whether all of `other` lies in it.
    pub fn covers(self, other: Self) -> bool {
        self.from <= other.from && other.until <= self.until
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instant =
            |second: i64| Timestamp::from_second(second).map_or_else(|_| second.to_string(), |at| at.to_string());
        let last = || instant(self.until.saturating_sub(1));
        match *self {
            Self::ALWAYS => f.write_str("at all times"),
            Self { from, until: i64::MAX } => write!(f, "from {}", instant(from)),
            Self { from: i64::MIN, .. } => write!(f, "until {}", last()),
            Self { from, .. } => write!(f, "from {} until {}", instant(from), last()),
        }
    }
}

/// That who has an address of `source` may open flows to `host`.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The service's host.
    pub host: IpAddr,
    /// The consumer's overlay prefix.
    pub source: Prefix,
    /// Which flows.
    pub space: Arc<Space>,
    /// When.
    pub window: Window,
    /// At which hours, if not at all.
    pub hours: Option<Hours>,
    /// Its place in [`Side::agreements`].
    pub agreement: usize,
    /// The consumer's place in [`Side::departments`].
    pub consumer: usize,
    /// The service's place in [`Side::services`].
    pub service: usize,
}

impl Grant {
    /// What of it decides.
    fn same(&self, other: &Self) -> bool {
        (self.source, self.window, &self.hours) == (other.source, other.window, &other.hours)
            && self.space == other.space
    }
}

/// A department.
#[derive(Clone, Debug)]
pub struct Party {
    /// `council/department`.
    pub name: Qualified,
    /// Its overlay prefixes.
    pub overlay: Vec<Prefix>,
    /// The real prefix behind each overlay prefix, as far as this side knows.
    pub real: Vec<bundle::Mapping>,
    /// Where it stands.
    pub origin: Option<Origin>,
}

/// A service.
#[derive(Clone, Debug)]
pub struct Offer {
    /// `council/service`.
    pub name: Qualified,
    /// Its department.
    pub department: Option<Qualified>,
    /// Its hosts' overlay addresses.
    pub hosts: Vec<IpAddr>,
    /// What it answers on.
    pub ports: Vec<PortMatch>,
    /// Where it stands.
    pub origin: Option<Origin>,
}

/// An agreement, in force or not.
#[derive(Clone, Debug)]
pub struct Deal {
    /// Its number, by which the first of several is found.
    pub number: u32,
    /// Its id.
    pub id: Id,
    /// The service.
    pub service: Option<Qualified>,
    /// The consumers.
    pub from: Vec<Qualified>,
    /// When it is in force.
    pub window: Window,
    /// At which hours, if not at all.
    pub hours: Option<Hours>,
    /// Why it is not, whatever the time.
    pub void: Vec<String>,
    /// Where it stands.
    pub origin: Option<Origin>,
}

/// A guardrail that denies something.
#[derive(Clone, Debug)]
pub struct Denial {
    /// In overlay terms.
    pub guardrail: Guardrail,
    /// Where it stands.
    pub origin: Option<Origin>,
}

impl Denial {
    /// Whether it denies flows from this address to that.
    pub fn concerns(&self, source: IpAddr, host: IpAddr) -> bool {
        let Guardrail { from, .. } = &self.guardrail;
        self.protects(host) && (from.is_empty() || from.iter().any(|prefix| prefix.contains(source)))
    }

    /// Whether it denies anybody anything at this address.
    pub fn protects(&self, host: IpAddr) -> bool {
        let prefixes = &self.guardrail.to.prefixes;
        prefixes.is_empty() || prefixes.iter().any(|prefix| prefix.contains(host))
    }

    /// The flows that it denies.
    pub fn space(&self, family: Family) -> Space {
        match self.guardrail.to.ports.as_slice() {
            [] => Space::all(family),
            ports => Space::of_any(ports, family),
        }
    }
}

/// One side of a difference.
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// By host, then source.
    pub grants: Vec<Grant>,
    /// By id.
    pub denials: Vec<Denial>,
    /// By name.
    pub departments: Vec<Party>,
    /// By name.
    pub services: Vec<Offer>,
    /// By id.
    pub agreements: Vec<Deal>,
}

impl Side {
    /// A definition, whenever its agreements begin and end.
    pub fn of_model(model: &Model) -> Self {
        let mut side = Self {
            departments: model.departments.iter().map(party).collect(),
            services: model.services.iter().map(offer).collect(),
            agreements: model.agreements.iter().map(deal).collect(),
            ..Self::default()
        };
        let origins: BTreeMap<&Id, &Origin> = model.guardrails.iter().map(|it| (&it.id, &it.origin)).collect();
        for denial in guardrails::denials(model) {
            let origin = origins.get(&denial.guardrail.id).map(|origin| (*origin).clone());
            side.denials.push(Denial { guardrail: denial.guardrail, origin });
        }
        let mut spaces = Spaces::default();
        for agreement in 0..side.agreements.len() {
            side.grant(agreement, &mut spaces);
        }
        side.sort();
        side
    }

    /// What a gateway's bundle says.
    pub fn of_policy(policy: &bundle::Policy) -> Self {
        let name = |number: u32| {
            let found = policy.departments.iter().find(|department| department.number == number);
            found.map(|department| department.name.clone())
        };
        let service = |number: u32| policy.services.iter().find(|service| service.number == number);
        let mut side = Self::default();
        for department in &policy.departments {
            let real = department.segment.iter().flat_map(|segment| segment.mappings.clone()).collect();
            let (name, overlay) = (department.name.clone(), department.overlay.clone());
            side.departments.push(Party { name, overlay, real, origin: None });
        }
        for service in &policy.services {
            side.services.push(Offer {
                name: service.name.clone(),
                department: name(service.department),
                hosts: service.hosts.clone(),
                ports: service.ports.clone(),
                origin: None,
            });
        }
        for agreement in &policy.agreements {
            side.agreements.push(Deal {
                number: agreement.number,
                id: agreement.id.clone(),
                service: service(agreement.service).map(|service| service.name.clone()),
                from: agreement.from.iter().filter_map(|&number| name(number)).collect(),
                window: Window::of(agreement.not_before, agreement.not_after),
                hours: agreement.hours.clone(),
                void: Vec::new(),
                origin: None,
            });
        }
        side.sort_names();
        side.denials = policy.guardrails.iter().map(|it| Denial { guardrail: it.clone(), origin: None }).collect();
        side.rules(policy);
        side.sort();
        side
    }

    fn rules(&mut self, policy: &bundle::Policy) {
        let mut spaces: BTreeMap<(Match, Family), Arc<Space>> = BTreeMap::new();
        // A hub has very many rules.
        let departments: BTreeMap<u32, _> = policy.departments.iter().map(|it| (it.number, it)).collect();
        let services: BTreeMap<u32, _> = policy.services.iter().map(|it| (it.number, it)).collect();
        let agreements: BTreeMap<u32, _> = policy.agreements.iter().map(|it| (it.number, it)).collect();
        // What further agreements grant of the same counts at times at which the first is not in force.
        for rule in policy.rules.iter().chain(&policy.shadowed) {
            let family = Family::of(rule.destination);
            let (department, agreement) = (departments.get(&rule.department), agreements.get(&rule.agreement));
            let (Some(department), Some(agreement)) = (department, agreement) else { continue };
            let place = (
                self.agreement_at(&agreement.id),
                self.department_at(&department.name),
                services.get(&agreement.service).and_then(|service| self.service_at(&service.name)),
            );
            let (Some(agreement), Some(consumer), Some(service)) = place else { continue };
            let space =
                spaces.entry((rule.matching, family)).or_insert_with(|| Arc::new(Space::of(rule.matching, family)));
            for &source in department.overlay.iter().filter(|prefix| prefix.family() == family) {
                self.grants.push(Grant {
                    host: rule.destination,
                    source,
                    space: Arc::clone(space),
                    window: self.agreements[agreement].window,
                    hours: self.agreements[agreement].hours.clone(),
                    agreement,
                    consumer,
                    service,
                });
            }
        }
    }

    fn grant(&mut self, agreement: usize, spaces: &mut Spaces) {
        let deal = &self.agreements[agreement];
        let place = deal.service.as_ref().and_then(|name| self.service_at(name));
        let (true, Some(service)) = (deal.void.is_empty(), place) else { return };
        let offer = &self.services[service];
        let mut grants = Vec::new();
        for consumer in deal.from.iter().filter_map(|name| self.department_at(name)) {
            for &host in &offer.hosts {
                let family = Family::of(host);
                let overlay = self.departments[consumer].overlay.iter().filter(|prefix| prefix.family() == family);
                for &source in overlay {
                    let space = spaces.of(&offer.ports, family);
                    let (window, hours) = (deal.window, deal.hours.clone());
                    grants.push(Grant { host, source, space, window, hours, agreement, consumer, service });
                }
            }
        }
        self.grants.extend(grants);
    }

    fn sort(&mut self) {
        self.grants.sort_unstable_by_key(|grant| (grant.host, grant.source, grant.agreement));
    }

    fn sort_names(&mut self) {
        self.departments.sort_by(|one, other| one.name.cmp(&other.name));
        self.services.sort_by(|one, other| one.name.cmp(&other.name));
        self.agreements.sort_by(|one, other| one.id.cmp(&other.id));
    }

    /// The place of a department.
    pub fn department_at(&self, name: &Qualified) -> Option<usize> {
        self.departments.binary_search_by(|party| party.name.cmp(name)).ok()
    }

    /// The place of a service.
    pub fn service_at(&self, name: &Qualified) -> Option<usize> {
        self.services.binary_search_by(|offer| offer.name.cmp(name)).ok()
    }

    /// The place of an agreement.
    pub fn agreement_at(&self, id: &Id) -> Option<usize> {
        self.agreements.binary_search_by(|deal| deal.id.cmp(id)).ok()
    }
}

/// Whether both grant the same, by whatever agreements.
pub fn same(old: &[Grant], new: &[Grant]) -> bool {
    old.len() == new.len() && old.iter().zip(new).all(|(old, new)| old.same(new))
}

/// The flows of lists of ports, each made once.
#[derive(Default)]
struct Spaces(BTreeMap<(Vec<PortMatch>, Family), Arc<Space>>);

impl Spaces {
    fn of(&mut self, ports: &[PortMatch], family: Family) -> Arc<Space> {
        // A key is made for each look-up, which is little beside the grants that it is for.
        Arc::clone(self.0.entry((ports.to_vec(), family)).or_insert_with(|| Arc::new(space(ports, family))))
    }
}

/// What an entry list of a service's ports asks of flows of this family.
pub fn space(ports: &[PortMatch], family: Family) -> Space {
    let all: Vec<Match> = ports.iter().flat_map(|&port| matches(port, family)).collect();
    Space::of_any(&all, family)
}

fn party(department: &model::Department) -> Party {
    Party {
        name: department.name.clone(),
        overlay: department.mappings.iter().map(|mapping| mapping.overlay).collect(),
        real: department.mappings.clone(),
        origin: Some(department.origin.clone()),
    }
}

fn offer(service: &model::Service) -> Offer {
    Offer {
        name: service.name.clone(),
        department: Some(service.department.clone()),
        hosts: service.overlay_hosts.clone(),
        ports: service.ports.clone(),
        origin: Some(service.origin.clone()),
    }
}

fn deal(agreement: &model::Agreement) -> Deal {
    Deal {
        number: agreement.number,
        id: agreement.id.clone(),
        service: Some(agreement.service.clone()),
        from: agreement.from.clone(),
        window: Window::of(agreement.not_before, agreement.not_after),
        hours: agreement.hours.clone(),
        void: agreement.lasting_void().map(ToString::to_string).collect(),
        origin: Some(agreement.origin.clone()),
    }
}
