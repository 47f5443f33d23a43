//! The definition, resolved: every name found, every number known, every prefix checked.
//!
//! A `Model` is only made by `resolve`, so whoever holds one need not check again.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use jiff::Timestamp;

use crate::bundle::{Hours, Notice};
use crate::identity::{Id, Name, Qualified, Verifier};
use crate::net::{Interface, PortMatch, Prefix};

pub use super::state::{Lacking, State, StateError, Void};

/// Where in the definition something stands. Lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The file, relative to the definition's folder.
    pub file: String,
    /// Line.
    pub line: u32,
    /// Column, in characters.
    pub column: u32,
}

/// The whole network, as of one instant. Lists are sorted by name or number.
#[derive(Clone, Debug)]
pub struct Model {
    /// The network's name.
    pub network: Name,
    /// The overlay's prefixes, at most one per family.
    pub overlay: Vec<Prefix>,
    /// The prefix of management addresses.
    pub management: Prefix,
    /// Prefixes that are never allotted.
    pub reserved: Vec<Prefix>,
    /// Where gateways find the controller: URLs.
    pub controller_urls: Vec<String>,
    /// Where gateways find the controller without DNS.
    pub controller_addresses: Vec<SocketAddr>,
    /// The hubs, by name.
    pub hubs: Vec<Hub>,
    /// The classes of agreements, by name.
    pub classes: Vec<Class>,
    /// The operator's denials, by id.
    pub guardrails: Vec<Guardrail>,
    /// The councils, by name.
    pub councils: Vec<Council>,
    /// The edges, by name. Edge and hub names share one set.
    pub edges: Vec<Edge>,
    /// The departments, by name.
    pub departments: Vec<Department>,
    /// The services, by name.
    pub services: Vec<Service>,
    /// All agreements, by id, whatever their standing.
    pub agreements: Vec<Agreement>,
    /// The numbers of links, `edge/uplink/hub`.
    pub links: Vec<Link>,
    /// The instant at which the agreements' standing was judged.
    pub at: Timestamp,
}

impl Model {
    /// The department of this name.
    pub fn department(&self, name: &Qualified) -> Option<&Department> {
        let at = self.departments.binary_search_by(|department| department.name.cmp(name)).ok()?;
        self.departments.get(at)
    }

    /// The service of this name.
    pub fn service(&self, name: &Qualified) -> Option<&Service> {
        let at = self.services.binary_search_by(|service| service.name.cmp(name)).ok()?;
        self.services.get(at)
    }
}

/// A hub: a gateway that relays. Its site is its own name.
#[derive(Clone, Debug)]
pub struct Hub {
    /// Its name.
    pub name: Name,
    /// Literal addresses with ports.
    pub endpoints: Vec<SocketAddr>,
    /// The WAN device, where the operator names one.
    pub device: Option<String>,
    /// Its management address.
    pub management: IpAddr,
}

/// A class of agreements.
#[derive(Clone, Debug)]
pub struct Class {
    /// Its name.
    pub name: Name,
    /// How long a gateway honours it without a heartbeat.
    pub lease: Duration,
}

/// A denial by the operator.
#[derive(Clone, Debug)]
pub struct Guardrail {
    /// Its id.
    pub id: Id,
    /// Who is denied.
    pub deny: Subject,
    /// What is denied.
    pub to: Object,
    /// Why, in the operator's words.
    pub why: Option<String>,
    /// Where it stands.
    pub origin: Origin,
}

/// Whom a guardrail denies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Everyone.
    Any,
    /// All departments of a council.
    Council(Name),
    /// One department.
    Department(Qualified),
    /// Overlay addresses.
    Prefix(Prefix),
}

/// What a guardrail protects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// Everything.
    Any,
    /// A protocol and port, everywhere.
    Port(PortMatch),
    /// One service: its hosts on its ports.
    Service(Qualified),
    /// One department: all its addresses.
    Department(Qualified),
    /// Overlay addresses.
    Prefix(Prefix),
}

/// A council.
#[derive(Clone, Debug)]
pub struct Council {
    /// Its number.
    pub number: u32,
    /// Its name.
    pub name: Name,
    /// Its title for people; the name where none is given.
    pub title: String,
    /// Its region.
    pub region: Option<Name>,
    /// Who may consent for it.
    pub signers: Vec<CouncilSigner>,
}

/// Who may consent for a council.
#[derive(Clone, Debug)]
pub struct CouncilSigner {
    /// The person, such as an e-mail address.
    pub by: String,
    /// The person's public key.
    pub key: Verifier,
}

/// An edge of a council.
#[derive(Clone, Debug)]
pub struct Edge {
    /// Its name.
    pub name: Name,
    /// Its council.
    pub council: Name,
    /// The site at which it stands.
    pub site: Name,
    /// Its ways out.
    pub uplinks: Vec<Uplink>,
    /// Its management address.
    pub management: IpAddr,
}

/// A way out of an edge.
#[derive(Clone, Debug)]
pub struct Uplink {
    /// Its name, unique at its edge.
    pub name: Name,
    /// The Linux device.
    pub device: String,
    /// Whether traffic costs money.
    pub metered: bool,
    /// The lower, the sooner used; 1 where none is given.
    pub priority: u32,
}

/// A department.
#[derive(Clone, Debug)]
pub struct Department {
    /// Its number, of 24 bits.
    pub number: u32,
    /// `council/department`.
    pub name: Qualified,
    /// The edge or hub at which it stands.
    pub at: Name,
    /// The site of that gateway.
    pub site: Name,
    /// The device of its segment.
    pub device: String,
    /// The VLAN on it.
    pub vlan: Option<u16>,
    /// Our addresses on the segment, one per family.
    pub gateway: Vec<Interface>,
    /// The core switch in front of the real prefixes, one per family; empty where they are on the link.
    pub via: Vec<IpAddr>,
    /// Real and overlay prefix, one pair per family.
    pub mappings: Vec<crate::bundle::Mapping>,
    /// Its tags.
    pub tags: Vec<Name>,
    /// Where it stands.
    pub origin: Origin,
}

/// A service.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its number.
    pub number: u32,
    /// `council/service`.
    pub name: Qualified,
    /// Its department.
    pub department: Qualified,
    /// Its hosts' real addresses, sorted.
    pub hosts: Vec<IpAddr>,
    /// Its hosts' overlay addresses, sorted.
    pub overlay_hosts: Vec<IpAddr>,
    /// What it answers on, sorted.
    pub ports: Vec<PortMatch>,
    /// Where it stands.
    pub origin: Origin,
}

/// An agreement, in force or not.
#[derive(Clone, Debug)]
pub struct Agreement {
    /// Its number.
    pub number: u32,
    /// Its id.
    pub id: Id,
    /// The service.
    pub service: Qualified,
    /// The consuming departments whose flows pass when it is in force, those that bear one of its tags among them. Sorted.
    pub from: Vec<Qualified>,
    /// The consuming departments for which it compiles to nothing, since they stand on a VLAN. Sorted.
    pub apart: Vec<Qualified>,
    /// The councils whose consent it takes, sorted.
    pub councils: Vec<Name>,
    /// The consents that hold, one of each council at most, by council.
    pub consents: Vec<Consent>,
    /// The councils whose consent it lacks, and why, by council.
    pub lacking: Vec<Lacking>,
    /// What its councils and the operator have said since, in the order of the file: all of it is signed right.
    pub notices: Vec<Notice>,
    /// Its class.
    pub class: Name,
    /// From when.
    pub not_before: Option<Timestamp>,
    /// Until when.
    pub not_after: Option<Timestamp>,
    /// When in the week it may be used, if not always.
    pub hours: Option<Hours>,
    /// The data-sharing agreement in law.
    pub reference: Option<String>,
    /// Why it compiles to nothing; empty when it is in force.
    pub void: Vec<Void>,
    /// Where it stands.
    pub origin: Origin,
}

/// A council's consent to an agreement's terms as they stand, with a signature that verifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    /// The council.
    pub council: Name,
    /// Who gave it, such as an e-mail address.
    pub by: String,
    /// When, as the consent itself says.
    pub at: Option<Timestamp>,
}

/// A link's number: one uplink of an edge to one hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub number: u32,
    /// The edge.
    pub edge: Name,
    /// The edge's uplink.
    pub uplink: Name,
    /// The hub.
    pub hub: Name,
}
