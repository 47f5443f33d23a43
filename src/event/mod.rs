//! Denied and allowed flows as events: one schema, whatever they are written as. Pure.
//!
//! ```text
//!  nflog record ─▶ Packet (etherparse) ─▶ Flow ─▶ Gatherer: per flow and window of 10 s, bounded
//!                                          │          │
//!                          Directory ──────┴──▶ Event ┴─▶ JSON line · journald fields
//!                          names of the policy in force
//! ```
//!
//! An event tells of all packets of one flow (without the port of whoever opened it) in one window. What no event
//! tells of is counted by cause and told by the next one's `suppressed`, so that over any whole number of windows
//!
//! ```text
//!  packets refused, flows opened  =  sum of packets  +  sum of suppressed  +  what was lost on the way
//! ```
//!
//! Flow logs are personal data: an event has addresses and ports and nothing that was said.

mod directory;
mod gather;
mod packet;
mod render;

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::identity::{Id, Name, Qualified};
use crate::net;
use crate::ruleset::Cause;

pub use directory::Directory;
pub use gather::{Flushed, Gatherer, WINDOW};
pub use packet::{Aim, Flow, Hook, Packet};

/// The form of events. Later ones may add fields, and get another number if a field changes its meaning.
pub const SCHEMA: u32 = 1;

/// What happened to the packets of one flow in one window. A field that is not known is absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The form: [`SCHEMA`].
    pub schema: u32,
    /// When the window ended.
    pub time: Timestamp,
    /// The network's name.
    pub network: Name,
    /// The gateway that saw it.
    pub gateway: Name,
    /// Its site.
    pub site: Name,
    /// The generation of the policy by which names were looked up.
    pub generation: u64,
    /// Whether the packets passed.
    pub verdict: Verdict,
    /// Why: `agreement`, or the metric label of the refusal.
    #[serde(serialize_with = "label", deserialize_with = "labelled")]
    pub reason: Cause,
    /// What decided.
    pub tier: Tier,
    /// Which way the packets went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// The agreement that let the flow pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<Id>,
    /// The guardrail that was met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guardrail: Option<Id>,
    /// The service at the destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Qualified>,
    /// Who sent, in overlay terms; as seen where it has no overlay address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// The same as its own network knows it, where it stands at this gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_real: Option<IpAddr>,
    /// The department that has the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_department: Option<Qualified>,
    /// The source's port, if it was the same in all packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// To whom, in overlay terms; as seen where it has no overlay address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<IpAddr>,
    /// The same as its own network knows it, where it stands at this gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_real: Option<IpAddr>,
    /// The department that has the destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_department: Option<Qualified>,
    /// The destination's port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<u16>,
    /// IANA protocol number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u8>,
    /// The type of an ICMP or ICMPv6 message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    /// The device that the packets came by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_in: Option<String>,
    /// The device that they would have left by, where that was known already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_out: Option<String>,
    /// Packets refused in the window; of a flow that passed the packets that opened it, one for each time.
    pub packets: u64,
    /// Octets of these packets, with IP header.
    pub bytes: u64,
    /// When the first of them was told of; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Timestamp>,
    /// When the last of them was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// Packets of this reason of which no event tells, since the last event whose number was not 0. Of any flow.
    pub suppressed: u64,
}

impl Event {
    /// Who talked to whom, in overlay terms, as far as the event says.
    pub fn flow(&self) -> Option<net::Flow> {
        let protocol = net::Protocol(self.protocol?);
        let aim = match (self.destination_port, self.icmp_type) {
            (Some(port), _) if protocol.has_ports() => net::Aim::Port(port),
            (_, Some(kind)) if matches!(protocol, net::Protocol::ICMP | net::Protocol::ICMPV6) => net::Aim::Icmp(kind),
            (_, _) if protocol.has_ports() => return None,
            (_, _) => net::Aim::Nothing,
        };
        Some(net::Flow { source: self.source?, destination: self.destination?, protocol, aim })
    }
}

/// Whether packets passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// They passed.
    Allowed,
    /// They were dropped.
    Denied,
}

/// What decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// The gateway's own protection, before any policy.
    Protection,
    /// The operator's denial.
    Guardrail,
    /// An agreement.
    Agreement,
    /// Nothing allows it.
    Default,
}

/// Which way packets went, as the gateway sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Came by the tunnel.
    Inbound,
    /// From a segment, or about to leave by the tunnel.
    Outbound,
    /// From tunnel to tunnel, at a relay.
    Transit,
    /// From segment to segment.
    Local,
    /// To the gateway itself.
    Input,
    /// From the gateway itself.
    Output,
    /// By a device that is neither tunnel nor segment.
    Outside,
}

impl Verdict {
    /// What a cause says about it.
    pub fn of(cause: Cause) -> Self {
        match cause {
            Cause::Opened => Self::Allowed,
            Cause::NoAgreement | Cause::Guardrail | Cause::Dropped(_) => Self::Denied,
        }
    }
}

impl Tier {
    /// What a cause says about it.
    pub fn of(cause: Cause) -> Self {
        use crate::ruleset::Reason;
        match cause {
            Cause::Opened => Self::Agreement,
            Cause::NoAgreement | Cause::Dropped(Reason::UnknownSource) => Self::Default,
            Cause::Guardrail | Cause::Dropped(Reason::Guarded) => Self::Guardrail,
            Cause::Dropped(
                Reason::NotAlive
                | Reason::Spoofed
                | Reason::Foreign
                | Reason::Leak
                | Reason::NotForwarded
                | Reason::Input
                | Reason::Output
                | Reason::Invalid,
            ) => Self::Protection,
        }
    }
}

fn label<S: Serializer>(cause: &Cause, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(cause.label())
}

fn labelled<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Cause, D::Error> {
    let label = String::deserialize(deserializer)?;
    Cause::labelled(&label).ok_or_else(|| serde::de::Error::custom(format!("no reason is called '{label}'")))
}

#[cfg(test)]
mod tests;
