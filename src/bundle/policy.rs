//! The policy section: departments, services, agreements, mappings and routes as far as one gateway needs them.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Hours;
use crate::identity::{Id, Name, Qualified, Verifier};
use crate::net::{Interface, PortMatch, Prefix};

/// What a gateway does with packets that are for none of its own departments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Carries its own departments' packets alone.
    Edge,
    /// Relays between sites.
    Relay,
}

/// One gateway's policy, all lists sorted, so that the same definition gives the same octets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The overlay network's name.
    pub network: Name,
    /// The gateway that this is for: an edge's or a hub's name.
    pub gateway: Name,
    /// The site at which it stands; a hub is a site of its own name.
    pub site: Name,
    /// Edge or relay.
    pub role: Role,
    /// The overlay's prefixes, one per family.
    pub overlay: Vec<Prefix>,
    /// The prefix of management addresses.
    pub management: Prefix,
    /// This gateway's own management address.
    pub address: IpAddr,
    /// Every prefix allotted to any department of the network: no WAN may carry one.
    pub allotted: Vec<Prefix>,
    /// Departments that stand here, and those that an agreement of a department here names; on a relay, those
    /// that any agreement names. By number.
    pub departments: Vec<Department>,
    /// The services that the rules speak of. By number.
    pub services: Vec<Service>,
    /// The agreements. By number.
    pub agreements: Vec<Agreement>,
    /// An instant that had passed when this was signed: agreements that had begun by then have begun, whatever a gateway's
    /// clock says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_after: Option<Timestamp>,
    /// What is allowed while all agreements are honoured: everything else is denied. Sorted; no two have the same department, destination and match,
    /// and no two ranges of ports for the same department, destination and protocol overlap.
    pub rules: Vec<Rule>,
    /// What further agreements grant of the same flows, with overlaps: not for the kernel, but what remains when
    /// a rule's agreement is not honoured. Sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shadowed: Vec<Rule>,
    /// What the operator denies whatever the rules say.
    pub guardrails: Vec<Guardrail>,
    /// Where overlay prefixes lead from here. Sorted by prefix.
    pub routes: Vec<Route>,
    /// Who may sign notices for the councils that have a part in one of the agreements. Sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signers: Vec<Signatory>,
}

/// A person who may speak for a council.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signatory {
    /// The council.
    pub council: Name,
    /// The person, such as an e-mail address.
    pub by: String,
    /// The person's public key.
    pub key: Verifier,
}

/// How far the notices of one party about an agreement have been taken into account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settled {
    /// The council; absent for the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub council: Option<Name>,
    /// The highest number: 1 to [`super::MAX_NOTICE_NUMBER`]. A notice that is not above it says nothing new.
    pub number: u64,
}

/// A department in overlay terms, and its segment where it stands at this gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Department {
    /// 1 to 2^24 - 1: meta mark bits 0 to 23.
    pub number: u32,
    /// `council/department`.
    pub name: Qualified,
    /// The site that owns its addresses.
    pub site: Name,
    /// Its overlay prefixes, at most one per family.
    pub overlay: Vec<Prefix>,
    /// Its segment, if it stands at this gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<Segment>,
}

/// The LAN by which a department is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// The Linux device.
    pub device: String,
    /// The VLAN on it, 1 to 4094.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// Our addresses on it, one per family.
    pub gateway: Vec<Interface>,
    /// The core switch behind which the real prefixes lie, one per family; empty where they are on the link.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub via: Vec<IpAddr>,
    /// Real and overlay prefix, pair by pair, one per family.
    pub mappings: Vec<Mapping>,
}

/// 1:1 prefix NAT between a real and an overlay prefix of equal length; both may be equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// As the legacy hosts know it.
    pub real: Prefix,
    /// As all others know it.
    pub overlay: Prefix,
}

/// A service, in overlay terms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Its number.
    pub number: u32,
    /// `council/service`.
    pub name: Qualified,
    /// Its department's number.
    pub department: u32,
    /// Its hosts' overlay addresses, sorted.
    pub hosts: Vec<IpAddr>,
    /// What it answers on, sorted.
    pub ports: Vec<PortMatch>,
}

/// An agreement that all councils concerned have consented to, and that had not ended when the policy was signed. Whether it
/// is honoured now, [`super::Moment`] says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agreement {
    /// Its number: the ct mark of its flows.
    pub number: u32,
    /// As people write it.
    pub id: Id,
    /// The service's number.
    pub service: u32,
    /// The consuming departments' numbers, sorted.
    pub from: Vec<u32>,
    /// The class, which sets the lease.
    pub class: Name,
    /// The lease in seconds.
    pub lease_seconds: u64,
    /// From when, if not from ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Until when, that second included, if not for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    /// When in the week, if not always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<Hours>,
    /// What its parties have said of it before, by party, the operator first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settled: Vec<Settled>,
}

/// A flow that `department` may open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The department that opens it, by number.
    pub department: u32,
    /// The overlay address it goes to.
    pub destination: IpAddr,
    /// Protocol and port.
    #[serde(rename = "match")]
    pub matching: Match,
    /// The agreement that allows it, by number. Where several do, the one with the lowest number.
    pub agreement: u32,
}

/// What a rule or guardrail asks of protocol and port, in the order in which the kernel asks: the first
/// kind that matches names the agreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Match {
    /// One destination port of TCP (6), UDP (17) or SCTP (132).
    Port {
        /// IANA protocol number.
        protocol: u8,
        /// 1 to 65,535.
        port: u16,
    },
    /// A range of destination ports, too long to be listed port by port.
    Ports {
        /// IANA protocol number.
        protocol: u8,
        /// First port.
        first: u16,
        /// Last port, included.
        last: u16,
    },
    /// One ICMP (1) or ICMPv6 (58) message type.
    Icmp {
        /// IANA protocol number: 1 or 58.
        protocol: u8,
        /// The message type.
        kind: u8,
    },
    /// Every packet of one protocol.
    Protocol {
        /// IANA protocol number.
        protocol: u8,
    },
    /// Everything.
    Any,
}

/// A denial by the operator that no agreement overrides.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guardrail {
    /// As people write it.
    pub id: Id,
    /// Source prefixes in overlay terms; empty means any.
    pub from: Vec<Prefix>,
    /// Destinations.
    pub to: Destination,
}

/// What a guardrail protects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Destination {
    /// Destination prefixes in overlay terms; empty means any.
    pub prefixes: Vec<Prefix>,
    /// Protocols and ports; empty means any.
    pub ports: Vec<Match>,
}

/// Where an overlay prefix leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The prefix.
    pub prefix: Prefix,
    /// Who has it.
    pub to: NextHop,
}

/// The far end of a route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NextHop {
    /// Whichever relay lives: an edge's only next hop.
    Relays,
    /// One site, by whichever of its links lives.
    Site(Name),
}
